//! G4 and G3: the uses of keys are flushed to their table exactly, and no session that verifies
//! writes for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::keys::{
    Key, checksum, create, create_expired, create_for, revoke, set_plan, verify,
};
use crate::support::usage::{
    Done, FLUSH_EVERY_100MS, FLUSH_EVERY_200MS, FLUSH_HOURLY, counter, flush_every, launcher,
    stats, use_key, uses, wait_for_flushes, wait_for_uses, wait_until_flushed,
};
use crate::support::{Client, Cluster, sqlstate, value, wait_until};

fn task_start(client: &mut Client, key: &Key) -> String {
    value(client, "SELECT status::text FROM vpk_task_start($1)", &[&key.token])
}

/// Uses a key in each way there is; returns how many uses that is.
fn in_every_way(client: &mut Client, key: &Key) -> i64 {
    let token = &key.token;
    let mut number = 0;
    let mut run = |sql: &str, uses: i64| {
        client.batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        number += uses;
    };
    for call in [
        format!("vpk_verify('{token}')"),
        format!("vpk_verify_hash(sha256('{token}'))"),
        format!("vpk_authenticate('Bearer {token}')"),
    ] {
        run(&format!("SELECT FROM {call}"), 1);
        run(&format!("BEGIN; SELECT FROM {call}; ROLLBACK"), 1);
        run(&format!("BEGIN READ ONLY; SELECT FROM {call}; COMMIT"), 1);
        run(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT {call}, {call}; COMMIT"), 2);
        run(&format!("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT FROM {call}; ROLLBACK"), 1);
        run(
            &format!(
                "BEGIN; SAVEPOINT s; SELECT FROM {call}; ROLLBACK TO s; SELECT FROM {call}; COMMIT"
            ),
            2,
        );
        run(
            &format!(
                "DO $$BEGIN PERFORM {call}; RAISE 'x'; EXCEPTION WHEN raise_exception THEN END$$"
            ),
            1,
        );
        run(&format!("SELECT {call} FROM generate_series(1, 100)"), 100);
    }
    // Its lease goes with the transaction, its use does not.
    let started = format!("SELECT FROM vpk_task_start('{token}')");
    run(&format!("BEGIN; {started}; ROLLBACK"), 1);
    run(&format!("BEGIN; SAVEPOINT s; {started}; ROLLBACK TO s; COMMIT"), 1);
    let failing =
        format!("SELECT vpk_verify('{token}'), 1 / (g - 1) FROM generate_series(1, 1) AS g");
    assert_eq!(sqlstate("a division", client.batch_execute(&failing)), "22012");
    number + 1
}

/// G4: each use counts, however it was made and however the caller's transaction ended; it is seen
/// in the table and in the list, with its instant. The answers are counted by status.
#[test]
fn each_use_and_each_answer_is_counted() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    let mut client = cluster.client();
    set_plan(&mut client, "acme", "Plus");
    set_plan(&mut client, "poor", "Free");
    let key = create_for(&mut client, "used", "acme");
    let unused = create_for(&mut client, "unused", "acme");
    let mut valid = in_every_way(&mut client, &key);

    assert_eq!(task_start(&mut client, &key), "VALID");
    let clock = "SELECT clock_timestamp()::text";
    let before = value(&mut client, clock, &[]);
    assert_eq!(verify(&mut client, &key.token), "VALID");
    let after = value(&mut client, clock, &[]);
    valid += 2;
    for _ in 0..3 {
        assert_eq!(task_start(&mut client, &key), "CONCURRENCY_LIMIT_EXCEEDED");
    }
    wait_for_uses(&mut client, &key, valid);
    wait_until_flushed(&mut client);
    let sql = "SELECT (u.last_used_at BETWEEN $2::text::timestamptz AND $3::text::timestamptz
                       AND u.last_used_at = l.last_used_at AND u.uses = l.uses)::text
                 FROM vpk.key_usage AS u JOIN vpk_list() AS l ON l.id = u.key_id
                WHERE u.key_id = $1::text::uuid";
    assert_eq!(value(&mut client, sql, &[&key.id, &before, &after]), "true");
    let sql = "SELECT concat_ws(' ', uses, last_used_at) FROM vpk_list(id => $1::text::uuid)";
    assert_eq!(value(&mut client, sql, &[&unused.id]), "0");
    assert_eq!(counter(&mut client, "valid"), valid);
    assert_eq!(counter(&mut client, "uses_flushed"), valid);
    assert_eq!(counter(&mut client, "uses_dropped"), 0);
    assert_eq!(counter(&mut client, "concurrency_limit_exceeded"), 3);
}

/// G4: a key that was denied was not used; what it was denied for is counted.
#[test]
fn denied_answers_are_no_uses() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    let mut client = cluster.client();
    set_plan(&mut client, "poor", "Free");
    let [revoked, disabled, limited, scoped, used] =
        ["revoked", "disabled", "limited", "scoped", "used"].map(|name| create(&mut client, name));
    let poor = create_for(&mut client, "poor", "poor");
    let brief = create_expired(&mut client, "brief").token;
    revoke(&mut client, &revoked);
    value(&mut client, "SELECT vpk_disable($1::text::uuid)::text", &[&disabled.id]);
    let sql = "SELECT vpk_update($1::text::uuid, allowed_ips => '{192.0.2.0/24}')::text";
    value(&mut client, sql, &[&limited.id]);
    let body = b"vpk_live_nobodyHasThisKeyNobodyHas0";
    let unknown = [body.as_slice(), &checksum(body)].concat();
    let unknown = String::from_utf8(unknown).expect("ASCII");

    let sql = "SELECT count(vpk_verify($1)) FROM generate_series(1, $2)";
    let presented = [
        (None, "missing_api_key"),
        (Some(unknown.as_str()), "invalid_api_key"),
        (Some(&revoked.token), "api_key_revoked"),
        (Some(&brief), "api_key_expired"),
        (Some(&disabled.token), "api_key_disabled"),
        (Some(&limited.token), "ip_not_allowed"),
        (Some(&poor.token), "plan_required"),
    ];
    for (number, (token, _)) in (2..).zip(presented) {
        client.execute(sql, &[&token, &number]).expect("answers");
    }
    let sql = "SELECT status::text FROM vpk_authenticate('Bearer ' || $1, scope => 'admin')";
    assert_eq!(value(&mut client, sql, &[&scoped.token]), "INSUFFICIENT_SCOPE");
    assert_eq!(verify(&mut client, "malformed"), "INVALID_API_KEY");
    use_key(&mut client, &used, 1);
    wait_for_uses(&mut client, &used, 1);

    let stats = stats(&mut client);
    for (number, (_, status)) in (2..).zip(presented) {
        let number = number + i64::from(status == "invalid_api_key");
        assert_eq!(stats[status].as_i64(), Some(number), "{status}: {stats}");
    }
    for (status, number) in [("insufficient_scope", 1), ("valid", 1), ("uses_dropped", 0)] {
        assert_eq!(stats[status].as_i64(), Some(number), "{status}: {stats}");
    }
    let sql = "SELECT string_agg(key_id::text, ' ') FROM vpk.key_usage";
    assert_eq!(value(&mut client, sql, &[]), used.id);
}

/// G4: the last use never moves backwards, while the number of uses goes on.
#[test]
fn the_last_use_never_moves_backwards() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    let mut client = cluster.client();
    let key = create(&mut client, "of the future");
    let sql = "INSERT INTO vpk.key_usage VALUES ($1::text::uuid, clock_timestamp() + '1 day', 5)
               RETURNING last_used_at::text";
    let future = value(&mut client, sql, &[&key.id]);
    use_key(&mut client, &key, 3);
    wait_for_uses(&mut client, &key, 8);
    let last = "SELECT last_used_at::text FROM vpk_list(id => $1::text::uuid)";
    assert_eq!(value(&mut client, last, &[&key.id]), future);
    client.batch_execute("UPDATE vpk.key_usage SET last_used_at = '2020-01-01'").expect("a past");
    use_key(&mut client, &key, 1);
    wait_for_uses(&mut client, &key, 9);
    let sql = "SELECT (last_used_at > '2021-01-01')::text FROM vpk.key_usage";
    assert_eq!(value(&mut client, sql, &[]), "true");
}

/// G4: clients that use one key together, and keys of their own, while flushes run beside them: the
/// totals are exact.
#[test]
fn totals_are_exact_when_clients_and_flushes_run_together() {
    const CLIENTS: usize = 6;
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = cluster.client();
    let shared = create(&mut client, "shared");
    let own: Vec<_> = (0..CLIENTS).map(|_| create(&mut client, "own")).collect();
    let enough = AtomicBool::new(false);
    let rounds: Vec<i64> = thread::scope(|scope| {
        let users: Vec<_> = own
            .iter()
            .map(|own| {
                let (shared, enough, mut client) = (&shared, &enough, cluster.client());
                scope.spawn(move || {
                    let mut rounds = 0;
                    while !enough.load(Ordering::Relaxed) {
                        use_key(&mut client, shared, 50);
                        assert_eq!(verify(&mut client, &shared.token), "VALID");
                        use_key(&mut client, own, 2);
                        rounds += 1;
                    }
                    rounds
                })
            })
            .collect();
        let end = Done(&enough);
        wait_for_flushes(&mut client, 12);
        drop(end);
        users.into_iter().map(|user| user.join().expect("a user")).collect()
    });
    wait_until_flushed(&mut client);
    for (key, rounds) in own.iter().zip(&rounds) {
        assert_eq!(uses(&mut client, key), 2 * rounds);
    }
    let all: i64 = rounds.iter().sum();
    assert_eq!(uses(&mut client, &shared), 51 * all);
    assert_eq!(counter(&mut client, "uses_flushed"), 53 * all);
    assert_eq!(counter(&mut client, "uses_dropped"), 0);
}

/// G4: a key that was made and used in a transaction that is still open: its use arrives when the
/// transaction has ended.
#[test]
fn uses_of_an_uncommitted_key_are_flushed_after_its_commit() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    let (mut client, mut observer) = (cluster.client(), cluster.client());
    let mut transaction = client.transaction().expect("a transaction");
    let key = create(&mut transaction, "not committed");
    use_key(&mut transaction, &key, 2);
    wait_for_flushes(&mut observer, 3);
    assert_eq!(counter(&mut observer, "uses_pending"), 2);
    assert_eq!(uses(&mut observer, &key), 0);
    transaction.commit().expect("its end");
    wait_for_uses(&mut observer, &key, 2);
    wait_until_flushed(&mut observer);
    assert_eq!(stats(&mut observer)["last_error"], serde_json::Value::Null);
}

/// G3: 100,000 verifications in one statement, and 1,000 statements, take no transaction id and
/// write no WAL; what is written is a flush, whose size is that of the keys and not of the uses.
#[test]
fn only_the_flush_writes() {
    let quiet = [("autovacuum", "off"), ("checkpoint_timeout", "1d")];
    let cluster = Cluster::with_checksums(&[&quiet, FLUSH_HOURLY].concat());
    let mut client = cluster.client();
    let key = create(&mut client, "used much");
    client.batch_execute("CREATE EXTENSION pg_walinspect").expect("a view of the WAL");
    client.batch_execute("VACUUM (FREEZE)").expect("a vacuum");
    let position = "SELECT pg_current_wal_insert_lsn()::text";
    let next_id = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text";
    let first_id = value(&mut client, next_id, &[]);
    let verify_one = client.prepare("SELECT vpk_verify($1)::text").expect("a statement");
    // Otherwise no WAL would be needed for a page that has been changed since.
    client.batch_execute("CHECKPOINT").expect("a checkpoint");
    let before = value(&mut client, position, &[]);
    use_key(&mut client, &key, 100_000);
    for _ in 0..1_000 {
        client.query_one(&verify_one, &[&key.token]).expect("an answer");
    }
    let after = value(&mut client, position, &[]);
    if before != after {
        wait_until("the WAL is on disk", || {
            let sql = "SELECT (pg_current_wal_flush_lsn() >= $1::text::pg_lsn)::text";
            value(&mut client, sql, &[&after]) == "true"
        });
        // The server writes which transactions run, every 15 seconds.
        let sql = "SELECT string_agg(record_type, ' ')
                     FROM pg_get_wal_records_info($1::text::pg_lsn, $2::text::pg_lsn)
                    WHERE (resource_manager, record_type) <> ('Standby', 'RUNNING_XACTS')";
        assert_eq!(value(&mut client, sql, &[&before, &after]), "", "{before} to {after}");
    }
    assert_eq!(value(&mut client, next_id, &[]), first_id, "no transaction id was taken");
    assert_eq!(counter(&mut client, "uses_pending"), 101_000);

    let before = value(&mut client, position, &[]);
    flush_every(&mut client, "100ms");
    wait_for_uses(&mut client, &key, 101_000);
    let sql = "SELECT pg_current_wal_insert_lsn() - $1::text::pg_lsn BETWEEN 1 AND 10000";
    let few: bool = client.query_one(sql, &[&before]).expect("a difference").get(0);
    assert!(few, "{before} to {}", value(&mut client, position, &[]));
}

/// Without preloading keys are verified all the same. Nothing is counted, which shows as null, and
/// settings that have no effect there cause no warning.
#[test]
fn without_preloading_keys_are_verified_and_nothing_is_counted() {
    let slots = [("shared_preload_libraries", ""), ("vibepeak_keys.usage_slots", "128")];
    let cluster = Cluster::start(&[&slots, FLUSH_EVERY_200MS].concat());
    let mut client = cluster.client();
    let key = create(&mut client, "used");
    use_key(&mut client, &key, 3);
    assert_eq!(launcher(&mut client), None);
    let sql = "SELECT jsonb_strip_nulls(jsonb_agg(s))::text FROM vpk.stats AS s";
    assert_eq!(value(&mut client, sql, &[]), "[{}]");
    let sql = "SELECT concat(last_used_at, uses) FROM vpk_list(id => $1::text::uuid)";
    assert_eq!(value(&mut client, sql, &[&key.id]), "0");

    let mut psql = cluster.program("psql");
    psql.args(["-X", "-At", "-h", &cluster.socket(), "-U", "postgres", "-d", "postgres"]);
    psql.args(["-c", &format!("SELECT vpk_verify('{}')", key.token)]);
    psql.args(["-c", "SHOW vibepeak_keys.usage_slots"]);
    let output = psql.output().expect("psql runs");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "VALID\n128\n");
    assert!(!cluster.log().contains("WARNING"), "{}", cluster.log());
}
