//! G4: uses in several databases, which no setting names, and which are created and dropped
//! meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::keys::{Key, create};
use crate::support::usage::{
    ALL_AT_EACH_FLUSH, Done, counter, flush_every, start_flushing_hourly, stats, use_key, uses,
    wait_for_flushes, wait_for_rest, wait_for_uses, wait_until_flushed,
};
use crate::support::{Cluster, value, wait_until};

const OFTEN: &[(&str, &str)] =
    &[("autovacuum", "off"), ("vibepeak_keys.usage_flush_interval", "100ms"), ALL_AT_EACH_FLUSH];

/// A key of a database, used so many times.
fn used(cluster: &Cluster, database: &str, times: i32) -> Key {
    let mut client = cluster.connect(database, "postgres");
    let key = create(&mut client, "used");
    use_key(&mut client, &key, times);
    key
}

fn arrives(cluster: &Cluster, database: &str, key: &Key, number: i64) {
    wait_for_uses(&mut cluster.connect(database, "postgres"), key, number);
}

fn no_error_in_the_log(cluster: &Cluster) {
    no_error_in_the_log_but(cluster, "no message has this text");
}

fn no_error_in_the_log_but(cluster: &Cluster, allowed: &str) {
    let log = cluster.log();
    let bad = |line: &&str| {
        ["ERROR:", "FATAL:", "PANIC:"].iter().any(|word| line.contains(word))
            && !line.contains(allowed)
    };
    assert_eq!(log.lines().find(bad), None, "{log}");
}

/// Uses a key of the database `postgres` until the work is done; returns the number of uses.
fn beside_uses(cluster: &Cluster, key: &Key, work: impl FnOnce()) -> i64 {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let user = scope.spawn(|| {
            let mut client = cluster.client();
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                use_key(&mut client, key, 1);
                number += 1;
            }
            number
        });
        let end = Done(&done);
        work();
        drop(end);
        user.join().expect("the user")
    })
}

/// G4: each database is served without being named; and one in which no key is used is not
/// connected to, so that it can be copied, renamed and removed while others are flushed.
#[test]
fn every_database_in_use_is_flushed_and_no_other_is_connected_to() {
    let cluster = Cluster::start(OFTEN);
    cluster.database("second", "UTF8");
    cluster.database("idle", "UTF8");
    let mut client = cluster.client();
    let (first, second) = (create(&mut client, "used"), used(&cluster, "second", 3));
    arrives(&cluster, "second", &second, 3);
    let transactions = "SELECT (xact_commit + xact_rollback)::text
                          FROM pg_stat_database WHERE datname = 'idle'";
    // The session that created the extension there has reported its transactions when it is gone.
    let mut before = String::new();
    wait_until("nobody is there", || {
        let sql = "SELECT count(*)::text FROM pg_stat_activity WHERE datname = 'idle'";
        let gone = value(&mut client, sql, &[]) == "0";
        std::mem::replace(&mut before, value(&mut client, transactions, &[])) == before && gone
    });
    let number = beside_uses(&cluster, &first, || {
        wait_for_flushes(&mut client, 5);
        assert_eq!(value(&mut client, transactions, &[]), before);
        for _ in 0..3 {
            for sql in [
                "CREATE DATABASE copy TEMPLATE idle",
                "ALTER DATABASE copy RENAME TO renamed",
                "DROP DATABASE renamed",
            ] {
                client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
        }
    });
    wait_until_flushed(&mut client);
    assert_eq!(uses(&mut client, &first), number);
    no_error_in_the_log(&cluster);
}

/// G4: a database whose keys are in use can be renamed and copied all the same, as soon as its
/// sessions are gone; and its uses arrive.
#[test]
fn a_database_in_use_is_renamed_and_copied() {
    let cluster = Cluster::start(OFTEN);
    cluster.database("one", "UTF8");
    let mut client = cluster.client();
    let key = used(&cluster, "one", 1);
    let (mut name, mut other) = ("one", "two");
    for _ in 0..10 {
        use_key(&mut cluster.connect(name, "postgres"), &key, 1);
        let sql = format!("ALTER DATABASE {name} RENAME TO {other}");
        client.batch_execute(&sql).expect("another name");
        (name, other) = (other, name);
        use_key(&mut cluster.connect(name, "postgres"), &key, 1);
        let sql = format!("CREATE DATABASE copy TEMPLATE {name}");
        client.batch_execute(&sql).expect("a copy");
        client.batch_execute("DROP DATABASE copy").expect("its end");
    }
    arrives(&cluster, name, &key, 21);
    // While it connects, a flusher waits 1.5 seconds for the end of a copy. A slow machine copies
    // for longer.
    no_error_in_the_log_but(&cluster, "canceling statement due to lock timeout");
}

/// G4: uses that are pending follow their database to its new name, and a copy does not get them.
#[test]
fn uses_follow_a_renamed_database() {
    let cluster = start_flushing_hourly(&[]);
    cluster.database("old", "UTF8");
    let mut client = cluster.client();
    let key = used(&cluster, "old", 4);
    client.batch_execute("CREATE DATABASE copy TEMPLATE old").expect("a copy");
    client.batch_execute("ALTER DATABASE old RENAME TO new").expect("another name");
    flush_every(&mut client, "100ms");
    arrives(&cluster, "new", &key, 4);
    let mut copy = cluster.connect("copy", "postgres");
    assert_eq!(uses(&mut copy, &key), 0);
    use_key(&mut copy, &key, 2);
    wait_for_uses(&mut copy, &key, 2);
    assert_eq!(uses(&mut cluster.connect("new", "postgres"), &key), 4);
    no_error_in_the_log(&cluster);
}

/// G4: the extension is dropped while uses are pending: they are forgotten, others are flushed, and
/// a new extension starts from zero.
#[test]
fn dropping_the_extension_forgets_its_pending_uses() {
    let cluster = start_flushing_hourly(&[]);
    cluster.database("second", "UTF8");
    used(&cluster, "postgres", 3);
    let second = used(&cluster, "second", 2);
    let mut client = cluster.client();
    client.batch_execute("DROP EXTENSION vibepeak_keys").expect("its end");
    flush_every(&mut client, "100ms");
    // The databases are visited in the order of their OIDs.
    arrives(&cluster, "second", &second, 2);
    client.batch_execute("CREATE EXTENSION vibepeak_keys").expect("the extension");
    let mut client = cluster.client();
    assert_eq!(counter(&mut client, "uses_pending"), 0);
    let key = create(&mut client, "used");
    use_key(&mut client, &key, 4);
    wait_for_uses(&mut client, &key, 4);
    let sql = "SELECT sum(uses)::text FROM vpk.key_usage";
    assert_eq!(value(&mut client, sql, &[]), "4");
    no_error_in_the_log(&cluster);
}

/// G4: a database is dropped while uses are pending: others are flushed, and the slots of its uses
/// are free again.
#[test]
fn dropping_a_database_frees_the_slots_of_its_uses() {
    let cluster = start_flushing_hourly(&[("vibepeak_keys.usage_slots", "64")]);
    cluster.database("third", "UTF8");
    let mut client = cluster.client();
    // Fewer than make a flush begin early.
    let used_once = "SELECT count(vpk_verify(token))::text
                       FROM generate_series(1, $1::text::int) AS g, vpk_create('key ' || g)";
    let mut third = cluster.connect("third", "postgres");
    assert_eq!(value(&mut third, used_once, &[&"30"]), "30");
    assert_eq!(counter(&mut third, "uses_pending"), 30);
    drop(third);
    let key = used(&cluster, "postgres", 2);
    client.batch_execute("DROP DATABASE third").expect("its end");
    flush_every(&mut client, "100ms");
    wait_for_uses(&mut client, &key, 2);
    // The slots are free when that round has ended, and so when the next one has flushed a use.
    use_key(&mut client, &key, 1);
    wait_for_uses(&mut client, &key, 3);
    wait_until_flushed(&mut client);
    flush_every(&mut client, "1h");
    wait_for_rest(&mut client);
    // As many as there are slots; the lock keeps any from becoming free.
    let mut holder = cluster.client();
    holder.batch_execute("BEGIN; LOCK TABLE vpk.key_usage").expect("a lock");
    assert_eq!(value(&mut client, used_once, &[&"64"]), "64");
    assert_eq!(counter(&mut client, "uses_dropped"), 0);
    assert_eq!(counter(&mut client, "uses_pending"), 64);
    holder.batch_execute("COMMIT").expect("its end");
    wait_until_flushed(&mut client);
    assert_eq!(counter(&mut client, "uses_flushed"), 67);
}

/// G4: uses of a database that may not be connected to wait until it may, and hinder no others.
#[test]
fn uses_of_a_database_without_connections_wait() {
    let cluster = start_flushing_hourly(&[]);
    cluster.database("closed", "UTF8");
    let mut client = cluster.client();
    let (key, closed) = (create(&mut client, "used"), used(&cluster, "closed", 3));
    client.batch_execute("ALTER DATABASE closed ALLOW_CONNECTIONS false").expect("closed");
    flush_every(&mut client, "100ms");
    for number in 1..=3 {
        use_key(&mut client, &key, 1);
        wait_for_uses(&mut client, &key, number);
    }
    no_error_in_the_log(&cluster);
    client.batch_execute("ALTER DATABASE closed ALLOW_CONNECTIONS true").expect("open");
    arrives(&cluster, "closed", &closed, 3);
    no_error_in_the_log(&cluster);
}

/// G4: databases that nobody can connect to, since their owners hold them in an open transaction,
/// fail once each. From then on at most one of them is tried before the others are flushed.
#[test]
fn databases_that_fail_delay_the_flushes_of_others_once() {
    const HELD: [&str; 3] = ["first", "second", "third"];
    let cluster = start_flushing_hourly(&[]);
    let held = HELD.map(|name| {
        cluster.database(name, "UTF8");
        used(&cluster, name, 3)
    });
    // The databases are visited in the order of their OIDs: this one comes last.
    cluster.database("other", "UTF8");
    let key = used(&cluster, "other", 1);
    let mut other = cluster.connect("other", "postgres");
    let mut holder = cluster.client();
    let renamed = HELD.map(|name| format!("ALTER DATABASE {name} RENAME TO {name}_renamed"));
    holder.batch_execute(&format!("BEGIN; {}", renamed.join(";"))).expect("open transactions");
    let failures = || cluster.log().matches("canceling statement due to lock timeout").count();
    assert_eq!(failures(), 0);
    flush_every(&mut cluster.client(), "100ms");
    wait_until("each of them has failed", || failures() >= HELD.len());
    wait_for_uses(&mut other, &key, 1);
    for number in 2..=6 {
        let before = failures();
        use_key(&mut other, &key, 1);
        wait_for_uses(&mut other, &key, number);
        let tried = failures() - before;
        assert!(tried <= 1, "{tried} failures before the flush");
    }
    holder.batch_execute("ROLLBACK").expect("its end");
    for (name, key) in HELD.iter().zip(&held) {
        arrives(&cluster, name, key, 3);
    }
}

/// G4: what a database sets for its sessions does not hinder the worker.
#[test]
fn settings_of_a_database_do_not_hinder_the_flush() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = used(&cluster, "postgres", 3);
    client
        .batch_execute(
            "CREATE ROLE nobody;
             CREATE SCHEMA evil;
             CREATE FUNCTION evil.greatest(anyelement, anyelement) RETURNS anyelement
                 LANGUAGE sql AS 'SELECT NULL';
             CREATE TABLE evil.key_usage (key_id uuid);
             CREATE VIEW evil.kept AS
                 SELECT concat_ws(' ', uses, last_used_at > now() - interval '1 day')
                   FROM vpk.key_usage",
        )
        .expect("a bad neighbourhood");
    for setting in [
        "search_path = evil, pg_catalog",
        "role = nobody",
        "default_transaction_read_only = on",
        "default_transaction_isolation = serializable",
        "default_transaction_deferrable = on",
        "session_replication_role = replica",
        "synchronous_commit = off",
        "statement_timeout = '1ms'",
        "lock_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "row_security = off",
        "DateStyle = 'German'",
        "IntervalStyle = 'sql_standard'",
        "client_encoding = 'LATIN1'",
        "client_min_messages = 'debug5'",
        "plan_cache_mode = force_generic_plan",
        "bytea_output = 'escape'",
    ] {
        client.batch_execute(&format!("ALTER DATABASE postgres SET {setting}")).expect("a setting");
    }
    flush_every(&mut client, "100ms");
    wait_for_uses(&mut client, &key, 3);
    wait_until_flushed(&mut client);
    assert_eq!(value(&mut client, "TABLE evil.kept", &[]), "3 t");
    assert_eq!(stats(&mut client)["last_error"], serde_json::Value::Null);
    no_error_in_the_log(&cluster);
}
