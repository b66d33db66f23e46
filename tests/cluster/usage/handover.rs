//! G4 and G9: uses that a standby has counted reach the table of the primary; if a step fails on
//! the way, none is lost.

use std::fs;
use std::thread;

use crate::support::keys::{Key, create, create_for, set_plan, verify};
use crate::support::known::run;
use crate::support::recipes::recipe;
use crate::support::usage::{FLUSH_EVERY_200MS, counter, stats, use_key, uses, wait_for_uses};
use crate::support::{Client, Cluster, caught_up, pid, report, sqlstate, value, wait_until};

/// A primary and a standby that has replayed what it has.
pub struct Servers {
    pub primary: Cluster,
    pub standby: Cluster,
    pub admin: Client,
    pub reader: Client,
}

impl Servers {
    pub fn start(settings: &[(&str, &str)]) -> Servers {
        // The functions are in the schema of the documentation's examples.
        let path: &[_] = &[("search_path", "public, keys")];
        let primary = Cluster::start(&[FLUSH_EVERY_200MS, path, settings].concat());
        let own_schema = "DROP EXTENSION vibepeak_keys; CREATE SCHEMA keys;
                          CREATE EXTENSION vibepeak_keys SCHEMA keys";
        run(&mut primary.client(), own_schema);
        let standby = primary.standby();
        let (admin, reader) = (primary.client(), standby.client());
        Servers { primary, standby, admin, reader }
    }

    /// A key that the standby has too.
    fn key(&mut self, name: &str) -> Key {
        let key = create(&mut self.admin, name);
        self.catch_up();
        key
    }

    pub fn catch_up(&mut self) {
        caught_up(&mut self.admin, &mut self.reader);
    }

    /// Makes the procedure of the documentation.
    pub fn install_recipe(&mut self) {
        run(&mut self.admin, &recipe("replication.md", "handover.rs", "CREATE EXTENSION dblink"));
    }

    /// Runs it as the documentation says.
    fn bring(&mut self) -> Result<(), postgres::Error> {
        let call = recipe("replication.md", "handover.rs", "CALL");
        let sql = call.replace("host=standby1 dbname=app user=key_admin", &self.standby.address());
        assert_ne!(sql, call);
        self.admin.batch_execute(&sql)
    }

    pub fn brought(&mut self) {
        self.bring().unwrap_or_else(|error| panic!("{}", report(&error)));
    }
}

/// The keys and uses that a standby reports as pending.
fn told(client: &mut Client) -> Vec<(String, i64)> {
    let sql = "SELECT key_id::text, uses FROM vpk_pending_uses()";
    let rows = client.query(sql, &[]).unwrap_or_else(|error| panic!("{}", report(&error)));
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn add(client: &mut Client, key: &Key, uses: i64) {
    let sql = "SELECT vpk_add_uses($1::text::uuid, clock_timestamp(), $2)::text";
    assert_eq!(value(client, sql, &[&key.id, &uses]), "true");
}

fn settle(client: &mut Client, key: &Key, uses: i64) -> i64 {
    let sql = "SELECT vpk_settle_uses($1::text::uuid, $2)";
    client.query_one(sql, &[&key.id, &uses]).expect("uses are settled").get(0)
}

/// The documented recipe, run repeatedly, counts each use of each server once, with the time of the
/// last.
#[test]
fn the_documented_handover_counts_each_use_once() {
    let mut servers = Servers::start(&[]);
    servers.install_recipe();
    let [one, two] = ["one", "two"].map(|name| servers.key(name));
    servers.brought();

    use_key(&mut servers.admin, &one, 7);
    wait_for_uses(&mut servers.admin, &one, 7);
    for round in 1..=2 {
        use_key(&mut servers.reader, &one, 3);
        let before = value(&mut servers.reader, "SELECT clock_timestamp()::text", &[]);
        assert_eq!(verify(&mut servers.reader, &two.token), "VALID");
        let after = value(&mut servers.reader, "SELECT clock_timestamp()::text", &[]);
        assert_eq!(counter(&mut servers.reader, "uses_pending"), 4);
        servers.brought();
        assert_eq!(uses(&mut servers.admin, &one), 7 + 3 * round);
        assert_eq!(uses(&mut servers.admin, &two), round);
        let sql =
            "SELECT (last_used_at BETWEEN $2::text::timestamptz AND $3::text::timestamptz)::text
                     FROM vpk_list(id => $1::text::uuid)";
        assert_eq!(value(&mut servers.admin, sql, &[&two.id, &before, &after]), "true");
        let stats = stats(&mut servers.reader);
        assert_eq!(
            (&stats["uses_pending"], &stats["uses_flushed"]),
            (&0.into(), &(4 * round).into())
        );
    }
    // What it has given up is in its own copy of the table.
    assert_eq!(uses(&mut servers.reader, &one), 13);
}

/// More keys than one batch of the recipe, while the standby continues to count: not one use more
/// or less.
#[test]
fn many_keys_are_handed_over_exactly_while_verifications_go_on() {
    const KEYS: i32 = 10_500;
    let mut servers = Servers::start(&[]);
    servers.install_recipe();
    let tokens = "SELECT array_agg(token) FROM generate_series(1, $1) AS g, vpk_create('k' || g)";
    let tokens: Vec<String> = servers.admin.query_one(tokens, &[&KEYS]).expect("keys").get(0);
    servers.catch_up();
    let verify_all =
        "SELECT count(*) FILTER (WHERE vpk_verify(t) = 'VALID') FROM unnest($1::text[]) AS t";
    let valid: i64 = servers.reader.query_one(verify_all, &[&tokens]).expect("answers").get(0);
    assert_eq!(valid, i64::from(KEYS));
    let (few, rounds) = (&tokens[..100], 50);
    let mut others = [servers.standby.client(), servers.standby.client()];
    thread::scope(|scope| {
        let users: Vec<_> = others
            .iter_mut()
            .map(|client| {
                scope.spawn(move || {
                    for _ in 0..rounds {
                        client.query_one(verify_all, &[&few]).expect("answers");
                    }
                })
            })
            .collect();
        while users.iter().any(|user| !user.is_finished()) {
            servers.brought();
        }
        users.into_iter().for_each(|user| user.join().expect("a user"));
    });
    servers.brought();
    let sql = "SELECT sum(uses)::bigint, count(*), max(uses) FROM vpk.key_usage";
    let row = servers.admin.query_one(sql, &[]).expect("the uses");
    let keys = i64::from(KEYS);
    let found: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(found, (keys + 2 * 100 * rounds, keys, 1 + 2 * rounds));
    assert_eq!(counter(&mut servers.reader, "uses_pending"), 0);
}

/// What fails before the commit on the primary has changed nothing; what fails between commit and
/// settling counts twice; a crash of the standby between them does not.
#[test]
fn a_failed_handover_loses_no_use() {
    let mut servers = Servers::start(&[]);
    servers.install_recipe();
    let key = servers.key("used");
    use_key(&mut servers.reader, &key, 5);
    let five = [(key.id.clone(), 5)];

    // Read, and no more.
    let mut bringer = servers.standby.client();
    run(&mut bringer, "BEGIN");
    assert_eq!(told(&mut bringer), five);
    drop(bringer);
    wait_until("the reader's session is gone", || {
        let sql = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'";
        value(&mut servers.reader, sql, &[]) == "0"
    });
    // Added, and not committed.
    run(&mut servers.admin, "BEGIN");
    add(&mut servers.admin, &key, 5);
    run(&mut servers.admin, "ROLLBACK");
    assert_eq!((told(&mut servers.reader), uses(&mut servers.admin, &key)), (five.to_vec(), 0));
    // The recipe is stopped while it waits for the standby, after its commit: these count twice.
    run(&mut servers.reader, "SELECT pg_wal_replay_pause()");
    wait_until("replay is paused", || {
        value(&mut servers.reader, "SELECT pg_get_wal_replay_pause_state()", &[]) == "paused"
    });
    let process = pid(&mut servers.admin);
    let mut observer = servers.primary.client();
    thread::scope(|scope| {
        let bringing = scope.spawn(|| servers.bring().is_err());
        wait_for_uses(&mut observer, &key, 5);
        let sql = "SELECT pg_terminate_backend($1)";
        observer.execute(sql, &[&process]).expect("the end of a session");
        assert!(bringing.join().expect("an error"), "a run that was ended");
    });
    servers.admin = servers.primary.client();
    run(&mut servers.reader, "SELECT pg_wal_replay_resume()");
    servers.catch_up();
    wait_until("the session on the standby is gone", || {
        let sql = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'";
        value(&mut servers.reader, sql, &[]) == "0"
    });
    assert_eq!(told(&mut servers.reader), five);
    servers.brought();
    assert_eq!(uses(&mut servers.admin, &key), 10);
    assert_eq!(told(&mut servers.reader), []);

    // A crash of the standby: what was committed counts once, and what it had been started with is
    // not found again.
    use_key(&mut servers.reader, &key, 2);
    servers.standby.down();
    servers.standby.up();
    servers.reader = servers.standby.client();
    assert_eq!(told(&mut servers.reader), [(key.id.clone(), 2)]);
    servers.brought();
    assert_eq!(uses(&mut servers.admin, &key), 12);
    use_key(&mut servers.reader, &key, 1);
    let process = pid(&mut servers.reader);
    servers.standby.crash(process);
    servers.reader = servers.standby.client();
    assert_eq!(told(&mut servers.reader), []);
    servers.brought();
    assert_eq!(uses(&mut servers.admin, &key), 12);
}

/// G8 and G4: uses that a release before 0.4.0 left in a file without a shutdown point are handed
/// over once, also if the standby crashes after that.
#[test]
fn uses_in_a_file_of_an_earlier_release_are_handed_over_once() {
    let mut servers = Servers::start(&[]);
    let key = servers.key("used");
    let sql = "SELECT oid::text FROM pg_database WHERE datname = current_database()";
    let database: u32 = value(&mut servers.reader, sql, &[]).parse().expect("an OID");
    servers.standby.down();
    // Version 1: the counters of each database, here of none, and the uses.
    let id = hex::decode(key.id.replace('-', "")).expect("an id");
    let used_at = 700_000_000_000_000_i64;
    let mut body = [0_u32, 1, database].map(u32::to_le_bytes).concat();
    body.extend([&id[..], &used_at.to_le_bytes(), &5_u64.to_le_bytes()].concat());
    let (checksum, length) = (crc32fast::hash(&body).to_le_bytes(), body.len().to_le_bytes());
    let older = [b"VPKUSAGE", &1_u32.to_le_bytes()[..], &checksum, &length, &body].concat();
    let path = servers.standby.data().join("pg_stat/vibepeak_keys.usage");
    fs::write(&path, older).expect("the file");
    servers.standby.up();
    let mut bringer = servers.standby.client();
    run(&mut bringer, "BEGIN");
    assert_eq!(told(&mut bringer), [(key.id.clone(), 5)]);
    assert_eq!(settle(&mut bringer, &key, 5), 5);
    run(&mut bringer, "COMMIT");
    let process = pid(&mut bringer);
    servers.standby.crash(process);
    assert_eq!(told(&mut servers.standby.client()), []);
}

/// One session at a time can read the pending uses, until its transaction or savepoint ends. Only
/// uses that it has read can be settled; uses that are counted meanwhile stay.
#[test]
fn only_the_session_that_read_pending_uses_can_settle_them() {
    let mut servers = Servers::start(&[]);
    let [key, other] = ["used", "also used"].map(|name| servers.key(name));
    use_key(&mut servers.reader, &key, 5);
    use_key(&mut servers.reader, &other, 1);
    let refused = |client: &mut Client, sql: &str| {
        let code = sqlstate(sql, client.batch_execute(sql));
        // The server sends an error before it ends the transaction, and with it the lock.
        run(client, "");
        code
    };
    let settling = format!("SELECT vpk_settle_uses('{}', 5)", key.id);

    assert_eq!(refused(&mut servers.reader, &settling), "55000");
    run(&mut servers.reader, "SELECT FROM vpk_pending_uses()");
    assert_eq!(refused(&mut servers.reader, &settling), "55000");
    let mut bringer = servers.standby.client();
    run(
        &mut bringer,
        "BEGIN; SAVEPOINT s; SELECT FROM vpk_pending_uses(); ROLLBACK TO s; SAVEPOINT t",
    );
    assert_eq!(refused(&mut bringer, &settling), "55000");
    run(&mut bringer, "ROLLBACK TO t");
    let mut both = [(key.id.clone(), 5), (other.id.clone(), 1)];
    both.sort();
    assert_eq!(told(&mut bringer), both);
    for sql in ["SELECT FROM vpk_pending_uses()", &settling] {
        let expected = if sql == settling { "55000" } else { "55P03" };
        assert_eq!(refused(&mut servers.reader, sql), expected);
    }
    use_key(&mut servers.reader, &key, 2);
    assert_eq!(settle(&mut bringer, &key, 4), 4);
    assert_eq!(settle(&mut bringer, &key, 4), 1);
    assert_eq!(settle(&mut bringer, &key, 4), 0);
    run(&mut bringer, "COMMIT");
    assert_eq!(counter(&mut servers.reader, "uses_pending"), 3);
    let mut rest = [(key.id.clone(), 2), (other.id.clone(), 1)];
    rest.sort();
    assert_eq!(told(&mut servers.reader), rest);

    let shown = "SELECT count(*)::text FROM vpk_pending_uses($1)";
    for (limit, expected) in [(Some(0), "0"), (Some(1), "1"), (Some(9), "2"), (None, "2")] {
        assert_eq!(value(&mut servers.reader, shown, &[&limit]), expected);
    }
    for sql in [
        "SELECT FROM vpk_pending_uses(-1)",
        "SELECT vpk_settle_uses(NULL, 1)",
        "SELECT vpk_settle_uses(gen_random_uuid(), NULL)",
        "SELECT vpk_settle_uses(gen_random_uuid(), 0)",
        "SELECT vpk_settle_uses(gen_random_uuid(), -1)",
    ] {
        assert_eq!(refused(&mut servers.reader, sql), "22023", "{sql}");
    }
}

/// Added uses follow the rules of the table; arguments that make no sense are refused, and uses of
/// a deleted key are ignored. The worker adds to the same rows.
#[test]
fn added_uses_follow_the_rules_of_the_table() {
    let mut servers = Servers::start(&[]);
    let admin = &mut servers.admin;
    set_plan(admin, "acme", "Pro");
    let [key, gone] = ["used", "gone"].map(|name| create_for(admin, name, "acme"));
    let last = "SELECT last_used_at::text FROM vpk_list(id => $1::text::uuid)";
    let adding = "SELECT vpk_add_uses($1::text::uuid, $2::text::timestamptz, $3)::text";
    for (at, number, expected) in [
        ("2026-01-02 00:00:00+00", 2_i64, "2026-01-02 00:00:00+00"),
        ("2026-01-01 00:00:00+00", 3, "2026-01-02 00:00:00+00"),
        ("2026-01-03 00:00:00+00", 5, "2026-01-03 00:00:00+00"),
    ] {
        assert_eq!(value(admin, adding, &[&key.id, &at, &number]), "true");
        assert_eq!(value(admin, last, &[&key.id]), expected);
    }
    assert_eq!(uses(admin, &key), 10);
    use_key(admin, &key, 4);
    wait_for_uses(admin, &key, 14);
    // A clock that is a little ahead is corrected, one that is far ahead is not believed.
    let ahead = value(admin, "SELECT (clock_timestamp() + '30 s')::text", &[]);
    assert_eq!(value(admin, adding, &[&key.id, &ahead, &1_i64]), "true");
    let sql = "SELECT (last_used_at <= clock_timestamp())::text FROM vpk.key_usage";
    assert_eq!(value(admin, sql, &[]), "true");
    assert_eq!(uses(admin, &key), 15);
    value(admin, "SELECT vpk_revoke($1::text::uuid)::text", &[&gone.id]);
    value(admin, "SELECT vpk_purge(clock_timestamp())::text", &[]);
    let now = "2026-01-01 00:00:00+00";
    assert_eq!(value(admin, adding, &[&gone.id, &now, &1_i64]), "false");
    for arguments in [
        "NULL, now(), 1",
        "gen_random_uuid(), NULL, 1",
        "gen_random_uuid(), now(), NULL",
        "gen_random_uuid(), now(), 0",
        "gen_random_uuid(), now(), -1",
        "gen_random_uuid(), now() + interval '2 minutes', 1",
        "gen_random_uuid(), 'infinity', 1",
        "gen_random_uuid(), '-infinity', 1",
    ] {
        let sql = format!("SELECT vpk_add_uses({arguments})");
        assert_eq!(sqlstate(&sql, admin.batch_execute(&sql)), "22023", "{sql}");
    }
    assert_eq!(value(admin, "SELECT count(*)::text FROM vpk.key_usage", &[]), "1");

    // The commit is on disk before the standby settles the uses, and waits for the standbys that
    // its session waits for.
    for (own, inside) in [("off", "local"), ("on", "on"), ("remote_apply", "remote_apply")] {
        run(admin, &format!("SET synchronous_commit = {own}; BEGIN"));
        add(admin, &key, 1);
        assert_eq!(value(admin, "SHOW synchronous_commit", &[]), inside);
        run(admin, "COMMIT");
        assert_eq!(value(admin, "SHOW synchronous_commit", &[]), own);
    }
    // On a primary the worker does the rest, and on a standby nothing can be added.
    for sql in ["SELECT FROM vpk_pending_uses()", "SELECT vpk_settle_uses(gen_random_uuid(), 1)"] {
        assert_eq!(sqlstate(sql, admin.batch_execute(sql)), "55000");
    }
    servers.catch_up();
    let sql = format!("SELECT vpk_add_uses('{}', now(), 1)", key.id);
    assert_eq!(sqlstate(&sql, servers.reader.batch_execute(&sql)), "25006");
}

/// A standby that is promoted during a handover keeps its uses, and its worker flushes them.
#[test]
fn a_standby_promoted_during_a_handover_keeps_its_uses() {
    let mut servers = Servers::start(&[]);
    let key = servers.key("used");
    use_key(&mut servers.reader, &key, 5);
    let mut bringer = servers.standby.client();
    run(&mut bringer, "BEGIN");
    assert_eq!(told(&mut bringer), [(key.id.clone(), 5)]);
    let Servers { primary, standby, admin, mut reader } = servers;
    drop((admin, primary));
    standby.promote();
    let settling = format!("SELECT vpk_settle_uses('{}', 5)", key.id);
    assert_eq!(sqlstate(&settling, bringer.batch_execute(&settling)), "55000");
    wait_for_uses(&mut reader, &key, 5);
    drop(bringer);
}

/// A standby without preloading counts nothing, and says so.
#[test]
fn a_standby_without_preloading_says_that_it_counts_nothing() {
    let primary = Cluster::start(&[]);
    let standby = primary.standby_with(&[("shared_preload_libraries", "")]);
    let mut reader = standby.client();
    for sql in ["SELECT FROM vpk_pending_uses()", "SELECT vpk_settle_uses(gen_random_uuid(), 1)"] {
        assert_eq!(sqlstate(sql, reader.batch_execute(sql)), "55000");
    }
}
