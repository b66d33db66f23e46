//! G1 and G2 when the buffers and messages a session relies on are gone: pages that were evicted,
//! and more invalidation messages than the server keeps for a session.

use std::thread;

use crate::support::keys::{create, set_plan, verify};
use crate::support::known::{Answers, INVALID, PLAN, VALID, assert_healthy, run};
use crate::support::usage::start_flushing_hourly;
use crate::support::{Client, pid, value, wait_for_lock};

/// The least memory that a server starts with: sixteen pages.
const LEAST: (&str, &str) = ("shared_buffers", "128kB");

/// Pages of keys in constant use are not the first to make room for others: they count as used,
/// though they are looked at where they are.
#[test]
fn pages_of_keys_in_use_count_as_used() {
    let cluster = start_flushing_hourly(&[("autovacuum", "off")]);
    let mut admin = cluster.client();
    run(&mut admin, "CREATE EXTENSION pg_buffercache");
    let key = create(&mut admin, "in constant use");
    run(&mut admin, "VACUUM (FREEZE) vpk.keys");
    let used = "SELECT max(usagecount)::text FROM pg_buffercache
                 WHERE relfilenode = pg_relation_filenode('vpk.keys') AND relforknumber = 0";
    drop(admin);
    // Nobody has used the page since.
    cluster.down();
    cluster.up();
    let mut client = cluster.client();
    assert_eq!(verify(&mut client, &key.token), "VALID");
    let before: i32 = value(&mut client, used, &[]).parse().expect("a number");
    assert!(before < 3, "used {before} times already");
    let many = "SELECT count(*)::text FROM generate_series(1, 5000) WHERE vpk_verify($1) = 'VALID'";
    assert_eq!(value(&mut client, many, &[&key.token]), "5000");
    assert_eq!(value(&mut client, used, &[]), "5");
}

/// A verification of a key in use waits for no lock on the tables, however often it is verified.
#[test]
fn a_locked_table_holds_up_no_key_in_use() {
    let cluster = start_flushing_hourly(&[]);
    let (mut admin, mut client) = (cluster.client(), cluster.client());
    let key = create(&mut admin, "in use");
    run(&mut client, "SET statement_timeout = '10min'");
    assert_eq!(verify(&mut client, &key.token), "VALID");
    let many = "SELECT count(*)::text FROM generate_series(1, 2000) WHERE vpk_verify($1) = 'VALID'";
    for table in ["vpk.keys", "vpk.accounts", "vpk.plans"] {
        run(&mut admin, &format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"));
        assert_eq!(value(&mut client, many, &[&key.token]), "2000", "{table} is locked");
        run(&mut admin, "COMMIT");
    }
}

/// G1, G2: between two verifications of a key its page made room for pages of other tables, and for
/// other pages of its own; it may also be back, elsewhere.
#[test]
fn evicted_pages_change_no_answer() {
    let cluster = start_flushing_hourly(&[
        LEAST,
        ("autovacuum", "off"),
        ("max_connections", "10"),
        ("lock_timeout", "10min"),
    ]);
    let mut admin = cluster.client();
    // Made like the keys' table, so that a page of it would pass for one of those at first sight.
    run(&mut admin, "CREATE TABLE big (LIKE vpk.keys)");
    let mut answers = Answers::of_every_kind(&mut admin, 3);
    let mut sessions = [cluster.client(), cluster.client()];
    // Apart from each other, so that each key is in a block of its own.
    for _ in 0..20 {
        let filler = "INSERT INTO vpk.keys (id, key_hash, account, environment, name, created_at)
                      SELECT gen_random_uuid(), sha256(random()::text::bytea), 'acme', 'live', '', now()
                        FROM generate_series(1, 60)";
        run(&mut admin, filler);
        answers.add(&mut admin, "acme");
    }
    sessions.iter_mut().for_each(|session| answers.remember(session));
    // The keys themselves, with what would let every one of them in.
    run(
        &mut admin,
        "INSERT INTO big SELECT k.* FROM vpk.keys AS k, generate_series(1, 2);
         UPDATE big SET revoked_at = NULL, disabled_at = NULL, account = 'default';
         CREATE TABLE accounts AS TABLE vpk.accounts; UPDATE accounts SET plan = 'Pro'",
    );
    for round in 0..6 {
        for (scan, when) in [
            ("SELECT count(*), max(name) FROM big", "another table's pages"),
            ("SELECT count(*), max(name) FROM vpk.keys", "other pages of the table"),
            ("SELECT sum(length(relname)) FROM pg_class", "the catalogue's pages"),
            ("SELECT count(*) FROM accounts, vpk.accounts, vpk.plans", "small tables"),
        ] {
            run(&mut admin, scan);
            answers.check(&mut sessions[round % 2], when);
            // Now and then at once, while the page may still be there.
            if round % 3 == 1 {
                answers.check(&mut sessions[0], when);
            }
            answers.change(&mut admin);
            run(&mut admin, scan);
            sessions.iter_mut().for_each(|session| answers.check(session, when));
        }
    }
    run(&mut admin, "TRUNCATE vpk.keys");
    let gone = answers.when_all(INVALID);
    for session in &mut sessions {
        gone.check(session, "empty");
        run(&mut admin, "SELECT count(*), max(name) FROM big");
        gone.check(session, "empty, and another table's pages");
    }
    assert_healthy(&cluster);
}

/// Makes tens of thousands of invalidation messages: each column of a table makes several.
fn storm(client: &mut Client) {
    let columns: Vec<String> = (0..1000).map(|column| format!("column_{column} int")).collect();
    for _ in 0..8 {
        run(client, &format!("CREATE TABLE storm ({})", columns.join(", ")));
        run(client, "ALTER TABLE storm SET (autovacuum_enabled = off); DROP TABLE storm");
    }
}

/// G1, G2: a session that missed invalidation messages, because there were too many while it was
/// idle or in the middle of a statement, looks everything up again.
#[test]
fn a_session_that_lost_invalidation_messages_answers_correctly() {
    let cluster = start_flushing_hourly(&[("autovacuum", "off"), ("lock_timeout", "10min")]);
    let (mut admin, mut busy) = (cluster.client(), cluster.client());
    let mut sessions = [cluster.client(), cluster.client()];
    run(&mut sessions[1], "BEGIN ISOLATION LEVEL REPEATABLE READ");
    let mut answers = Answers::of_every_kind(&mut admin, 3);
    for session in sessions.iter_mut().chain([&mut busy]) {
        answers.remember(session);
    }
    // In the middle of a statement nothing is received, and what comes first is lost.
    run(&mut admin, "SELECT pg_advisory_lock(4)");
    let busy_pid = pid(&mut busy);
    let before = answers.clone();
    let tokens: Vec<String> = answers.0.iter().map(|known| known.key.token.clone()).collect();
    let number = tokens.len();
    let statement = thread::spawn(move || -> Vec<String> {
        let sql = "SELECT vpk_verify(($1::text[])[1 + g % cardinality($1::text[])])::text,
                          pg_advisory_lock(CASE g WHEN cardinality($1::text[]) - 1 THEN 4 END)::text
                     FROM generate_series(0, 3 * cardinality($1::text[]) - 1) AS g";
        let rows = busy.query(sql, &[&tokens]).expect("rows");
        rows.iter().map(|row| row.get(0)).collect()
    });
    wait_for_lock(&mut admin, busy_pid);
    run(&mut admin, "VACUUM FULL vpk.keys");
    answers.change(&mut admin);
    set_plan(&mut admin, "acme", "Free");
    run(&mut admin, "CLUSTER vpk.accounts USING accounts_pkey");
    let closed = answers.when(|known| if known.answer == VALID { PLAN } else { known.answer });
    storm(&mut admin);
    run(&mut admin, "SELECT pg_advisory_unlock(4)");
    let found = statement.join().expect("the rows");
    assert_eq!(found.len(), number * 3);
    for (at, found) in found.iter().enumerate() {
        let expected = if at < number { &before } else { &closed };
        assert_eq!(found, expected.0[at % number].answer, "row {at}");
    }
    for session in &mut sessions {
        closed.check(session, "after a storm");
    }
    set_plan(&mut admin, "acme", "Plus");
    // Statistics are news too.
    for round in 0..100 {
        run(&mut admin, "ANALYZE vpk.keys, vpk.accounts, vpk.plans");
        if round % 25 == 0 {
            answers.change(&mut admin);
        }
        let session = &mut sessions[round % 2];
        let known = &answers.0[round % answers.0.len()];
        let found = verify(session, &known.key.token);
        assert_eq!(found, known.answer, "{}", known.name);
    }
    run(&mut sessions[1], "COMMIT");
    run(&mut sessions[1], "DISCARD ALL");
    for session in &mut sessions {
        answers.check(session, "at the end");
    }
    assert_healthy(&cluster);
}
