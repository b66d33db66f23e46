//! G2 and G10: a call for which there is not enough memory fails with the server's error, or ends
//! its own session. The server never restarts, and no change is half done.

use std::collections::BTreeMap;

use crate::support::history::refused;
use crate::support::keys::{Key, create, create_for, set_plan, verify};
use crate::support::known::{assert_healthy, run};
use crate::support::process::{contexts, soak};
use crate::support::random::Random;
use crate::support::usage::{FLUSH_EVERY_200MS, use_key, wait_for_uses};
use crate::support::{Client, Cluster, filled, pid, report, sqlstate, value, wait_until};

/// The calls, with a key K that they may end, its id and a lease of it; and what each leaves behind
/// where it succeeds.
const CALLS: &[&str] = &[
    "SELECT vpk_verify('KEY')",
    "SELECT count(vpk_verify('KEY' || g)) FROM generate_series(1, 1000) AS g",
    "SELECT vpk_verify(repeat('x', 100000))",
    "SELECT vpk_verify_hash(sha256('KEY'))",
    "SELECT * FROM vpk_authenticate('Bearer KEY', scope => 'read', client_ip => '::1')",
    "SELECT * FROM vpk_authenticate('Bearer unknown')",
    "SELECT vpk_error('PLAN_REQUIRED', account => 'poor')",
    "SELECT * FROM vpk_create('made', account => 'acme', scopes => '{a,b}', allowed_ips => '{::1}')",
    "SELECT * FROM generate_series(1, 50) AS g, vpk_create('made ' || g, account => 'acme')",
    "SELECT vpk_revoke('ID', 'reason')",
    "SELECT vpk_revoke_token('KEY')",
    "SELECT vpk_revoke_account('acme')",
    "SELECT * FROM vpk_rotate('ID')",
    "SELECT * FROM vpk_update('ID', name => 'other', metadata => '{\"a\": [1, 2, 3]}')",
    "SELECT vpk_disable('ID')",
    "SELECT vpk_enable('ID')",
    "SELECT vpk_purge('2001-01-01')",
    "SELECT vpk_set_plan('new', 'Plus')",
    "SELECT vpk_delete_account('acme')",
    "SELECT * FROM vpk_list()",
    "SELECT * FROM vpk_task_start('KEY')",
    "SELECT vpk_task_extend('LEASE', '1 hour')",
    "SELECT vpk_task_finish('LEASE')",
    "SELECT * FROM vpk_doctor()",
    "SELECT * FROM vpk.stats, vpk.status_codes",
    "SELECT vpk_revoke('00000000-0000-7000-8000-000000000000')",
];

/// The database, as one number.
fn everything(client: &mut Client) -> String {
    let sql = "SELECT md5(string_agg(r, ' ' ORDER BY r)) FROM (
        SELECT k::text FROM vpk.keys AS k UNION ALL SELECT a::text FROM vpk.accounts AS a
        UNION ALL SELECT e::text FROM vpk.events AS e
        UNION ALL SELECT l::text FROM vpk.task_leases AS l) AS all_rows (r)";
    value(client, sql, &[])
}

struct Prepared {
    key: Key,
    lease: String,
}

fn prepare(client: &mut Client) -> Prepared {
    set_plan(client, "acme", "Pro");
    run(client, "DELETE FROM vpk.task_leases");
    set_plan(client, "poor", "Free");
    let key = create_for(client, "key", "acme");
    let lease = value(client, "SELECT lease::text FROM vpk_task_start($1)", &[&key.token]);
    Prepared { key, lease }
}

/// A session whose stack has already grown: under a limit it could not, and the system would kill
/// it.
fn session(cluster: &Cluster) -> (Client, i32) {
    let mut client = cluster.client();
    let deep = format!("SELECT {}1{}", "(1+".repeat(3_000), ")".repeat(3_000));
    run(&mut client, &deep);
    let pid = pid(&mut client);
    (client, pid)
}

/// One call with little memory: what it is, and how much the session may have beside what it has.
struct Attempt {
    sql: String,
    /// In kilobytes.
    more: i64,
    /// Whether the session has made the call before.
    warm: bool,
}

/// How a call without memory ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// There was enough, or the call was refused for its argument, as it always is.
    Answered,
    /// Refused for lack of memory; the session goes on.
    Refused,
    /// The session ended.
    Ended,
}

/// Draws how much more memory the next call may have.
fn draw(random: &mut Random, sql: String, warm: bool) -> Attempt {
    let more = [0, 0, 16, 64, 256, 512, 1_024, 2_048][random.below(8)] + random.below(64) as i64;
    Attempt { sql, more, warm }
}

/// Makes the call in a new session, whose memory is unlimited again if it goes on.
fn attempt(
    cluster: &Cluster,
    attempt: &Attempt,
    before_limit: impl FnOnce(),
) -> (Client, Result<(), postgres::Error>) {
    let (mut client, pid) = session(cluster);
    if attempt.warm {
        // One of the calls is an error.
        let _ = client.batch_execute(&format!("BEGIN; {}", attempt.sql));
        run(&mut client, "ROLLBACK");
    }
    before_limit();
    cluster.limit(pid, Some(attempt.more));
    let result = client.batch_execute(&attempt.sql);
    if result.as_ref().map_or_else(refused, |()| true) {
        cluster.limit(pid, None);
    }
    (client, result)
}

/// What the result means; None where it is no result that a call may have.
fn classify(sql: &str, result: &Result<(), postgres::Error>) -> Option<Outcome> {
    let Err(error) = result else { return Some(Outcome::Answered) };
    if !refused(error) {
        // The client may see the end of the connection before it has read why.
        let code = error.code().map(|code| code.code());
        return code.is_none_or(|code| code == "53200").then_some(Outcome::Ended);
    }
    match error.code().map(|code| code.code()) {
        Some("53200") => Some(Outcome::Refused),
        // The server's own error where there is no memory for a library: that of the triggers.
        Some("58P01") if report(error).contains("plpgsql.so") => Some(Outcome::Refused),
        Some("22023") if sql.contains("00000000-0000") => Some(Outcome::Answered),
        _ => None,
    }
}

/// For one call, sessions that know nothing yet, and others that have made the call before, get
/// little more memory than they have: somewhere in the call there is no more.
#[test]
fn a_call_without_memory_is_refused_and_never_half_done() {
    let cluster = Cluster::start(&[("synchronous_commit", "off"), ("autovacuum", "off")]);
    let mut admin = cluster.client();
    let mut random = Random::new();
    let mut outcomes = BTreeMap::<Outcome, u64>::new();
    // Enough keys that a list of them, and what a session remembers of them, take memory.
    run(&mut admin, "SELECT count(*) FROM generate_series(1, 2000) AS g, vpk_create('key ' || g)");
    let rounds = if soak() { 100 } else { 2 };
    for round in 0..rounds {
        for call in CALLS {
            let Prepared { key, lease } = prepare(&mut admin);
            let values = [("KEY", &*key.token), ("ID", &*key.id), ("LEASE", &*lease)];
            let sql = filled(call, &values);
            let drawn = draw(&mut random, sql, round % 2 == 1);
            let mut before = String::new();
            let (client, result) = attempt(&cluster, &drawn, || before = everything(&mut admin));
            let Some(outcome) = classify(&drawn.sql, &result) else {
                let said = result.as_ref().map_or_else(report, |()| String::new());
                panic!("{} with {} kB more: {said}\n{}", drawn.sql, drawn.more, cluster.log());
            };
            *outcomes.entry(outcome).or_default() += 1;
            if result.is_err() {
                assert_eq!(everything(&mut admin), before, "{}: half of it", drawn.sql);
            }
            check(&cluster, client, outcome, &key, &drawn.sql);
        }
    }
    println!("{outcomes:?}");
    assert!(outcomes.get(&Outcome::Refused).is_some_and(|number| *number > 5), "{outcomes:?}");
    assert_eq!(cluster.restarts(), 0);
    assert_healthy(&cluster);
}

/// A session that goes on answers as any other.
fn check(cluster: &Cluster, mut client: Client, outcome: Outcome, key: &Key, sql: &str) {
    if outcome != Outcome::Ended {
        run(&mut client, "SELECT 1");
        let expected = verify(&mut cluster.client(), &key.token);
        assert_eq!(verify(&mut client, &key.token), expected, "{sql}");
    }
}

/// A call that makes the server do much fails with the server's own error, however little memory is
/// left.
#[test]
fn running_out_of_memory_inside_the_server_raises_its_own_error() {
    let cluster = Cluster::start(&[("autovacuum", "off")]);
    let sql = "SELECT * FROM vpk_doctor()";
    let mut told = BTreeMap::<&str, u64>::new();
    // The first call needs the most: a later one uses again what the first one took.
    let step = if soak() { 16 } else { 128 };
    for more in (0..8_192).step_by(step) {
        let (mut client, pid) = session(&cluster);
        cluster.limit(pid, Some(more));
        let result = client.batch_execute(sql);
        let said = match &result {
            Ok(()) => "complete",
            Err(error) if refused(error) => "refused",
            Err(_) => "ended",
        };
        *told.entry(said).or_default() += 1;
        assert_eq!(cluster.restarts(), 0, "with {more} kB more: {}", cluster.log());
        if said == "refused" {
            assert_eq!(sqlstate(sql, result), "53200");
        }
    }
    println!("{told:?}");
    assert!(told.get("refused").is_some_and(|number| *number > 5), "{told:?}");
    assert_healthy(&cluster);
}

/// A list of many keys takes memory of the server and of the library, by turns: wherever there is
/// no more, the statement is refused, and the server and all its other sessions go on.
#[test]
fn listing_keys_without_memory_is_refused_and_the_session_goes_on() {
    let cluster = Cluster::start(&[("autovacuum", "off")]);
    let mut admin = cluster.client();
    run(&mut admin, "SELECT count(*) FROM generate_series(1, 20000) AS g, vpk_create('key ' || g)");
    let key = create_for(&mut admin, "kept", "default");
    let mut told = BTreeMap::<&str, u64>::new();
    let step = if soak() { 32 } else { 1_024 };
    for more in (0..32_768).step_by(step) {
        let (mut client, pid) = session(&cluster);
        cluster.limit(pid, Some(more));
        let result = client.query("SELECT * FROM vpk_list()", &[]);
        let code = match &result {
            Ok(rows) => {
                assert_eq!(rows.len(), 20_001);
                "complete"
            }
            Err(error) => {
                assert_eq!(
                    error.code().map(|code| code.code()),
                    Some("53200"),
                    "{}",
                    report(error)
                );
                if refused(error) { "refused" } else { "ended" }
            }
        };
        *told.entry(code).or_default() += 1;
        if code != "ended" {
            cluster.limit(pid, None);
            assert_eq!(verify(&mut client, &key.token), "VALID");
        }
    }
    println!("{told:?}");
    assert!(told.get("refused").is_some_and(|number| *number > 5), "{told:?}");
    assert_eq!(told.get("ended"), None, "the session goes on: {told:?}");
    assert_eq!(verify(&mut admin, &key.token), "VALID", "the other session is still there");
    assert_eq!(cluster.restarts(), 0);
    assert_healthy(&cluster);
}

/// If the library cannot continue without memory, it ends its session with an error of the server,
/// and nothing else ends.
#[test]
fn running_out_of_memory_ends_at_worst_one_session() {
    let primary = Cluster::start(&[("autovacuum", "off")]);
    let mut admin = primary.client();
    let sql =
        "SELECT array_agg(token) FROM generate_series(1, 20000) AS g, vpk_create('key ' || g)";
    let tokens: Vec<String> = admin.query_one(sql, &[]).expect("keys").get(0);
    let standby = primary.standby_with(&[("vibepeak_keys.usage_slots", "50000")]);
    let mut other = standby.client();
    let sql = "SELECT count(vpk_verify(t))::text FROM unnest($1::text[]) AS t";
    assert_eq!(value(&mut other, sql, &[&tokens]), "20000");
    // The library collects the pending uses in memory that it allocates itself.
    let all = "SELECT count(*)::text FROM vpk_pending_uses(NULL)";
    let (mut client, pid) = session(&standby);
    // With a reserve, which is too small.
    run(&mut client, "SELECT vpk_verify('')");
    standby.limit(pid, Some(256));
    let error = client.batch_execute(all).expect_err("so much memory");
    // The client may see the end of the connection before it has read why.
    assert!(!refused(&error), "{}", report(&error));
    let log = standby.log();
    assert!(log.contains("FATAL:  out of memory"), "{log}");
    // It has held a lock until its end.
    let others = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'";
    wait_until("the session is gone", || value(&mut other, others, &[]) == "0");
    assert_eq!(value(&mut other, all, &[]), "20000", "nothing else has ended");
    assert_eq!(standby.restarts(), 0);
    assert_healthy(&standby);
}

/// A session that runs out of memory again and again keeps no more memory than before.
#[test]
fn a_session_that_runs_out_of_memory_repeatedly_does_not_grow() {
    let cluster = Cluster::start(&[("autovacuum", "off")]);
    let mut admin = cluster.client();
    let Prepared { key, lease } = prepare(&mut admin);
    let (mut client, mut process) = session(&cluster);
    let mut measured = None;
    let rounds = if soak() { 1_000 } else { 12 };
    let mut failed = 0;
    for round in 0..rounds {
        for call in CALLS {
            let values = [("KEY", &*key.token), ("ID", &*key.id), ("LEASE", &*lease)];
            let sql = filled(call, &values);
            run(&mut client, "BEGIN");
            cluster.limit(process, Some(8));
            let result = client.batch_execute(&sql);
            if result.as_ref().is_err_and(|error| !refused(error)) {
                (client, process) = session(&cluster);
                measured = None;
                continue;
            }
            cluster.limit(process, None);
            failed += u64::from(result.is_err());
            run(&mut client, "ROLLBACK");
        }
        if round % 5 == 1 {
            let now = contexts(&mut client);
            let first = *measured.get_or_insert(now);
            assert!(now <= first + 512, "{first} kB of contexts, then {now}");
        }
    }
    assert!(failed > 0, "there was never too little");
    assert_eq!(verify(&mut client, &key.token), "VALID");
    assert_eq!(cluster.restarts(), 0);
    assert_healthy(&cluster);
}

/// G10: an error of the server in a flush, which takes more memory to copy than is left, ends the
/// flusher alone. The owner of the table can have a trigger raise one of any size.
#[test]
fn a_flusher_without_memory_for_its_error_ends_alone() {
    // The error keeps five texts. One text more was needed to make it, and is free when it is
    // copied: so much and no more is left for the copies where the limit is just met.
    const TRIGGER: &str = "
        CREATE FUNCTION raise_much() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS $$
            DECLARE much text := repeat('x', 100000);
            BEGIN
                PERFORM pg_advisory_xact_lock(1);
                RAISE USING ERRCODE = 'out_of_memory', MESSAGE = 'raised ' || much, DETAIL = much,
                    HINT = much, COLUMN = much, CONSTRAINT = much;
            END $$;
        CREATE TRIGGER raise_much BEFORE INSERT ON vpk.key_usage
            FOR EACH ROW EXECUTE FUNCTION raise_much()";
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    let (mut client, mut holder) = (cluster.client(), cluster.client());
    run(&mut client, TRIGGER);
    run(&mut holder, "SELECT pg_advisory_lock(1)");
    let key = create(&mut client, "used");
    use_key(&mut client, &key, 1);
    let waiting = "SELECT coalesce(max(l.pid), 0)::text FROM pg_locks AS l
                     JOIN pg_stat_activity AS a USING (pid)
                    WHERE l.locktype = 'advisory' AND NOT l.granted
                      AND a.backend_type = 'vibepeak_keys flusher'";
    let step = if soak() { 8 } else { 128 };
    for more in (0..3_072).step_by(step) {
        let mut flusher = 0;
        wait_until("a flusher waits", || {
            flusher = value(&mut client, waiting, &[]).parse().expect("a number");
            flusher != 0
        });
        cluster.limit(flusher, Some(more));
        run(&mut holder, "SELECT pg_advisory_unlock(1)");
        let there = format!("SELECT count(*)::text FROM pg_stat_activity WHERE pid = {flusher}");
        wait_until("it has ended", || value(&mut client, &there, &[]) == "0");
        run(&mut holder, "SELECT pg_advisory_lock(1)");
        assert_eq!(cluster.restarts(), 0, "with {more} kB more");
    }
    let log = cluster.log();
    let told = ["ERROR:  raised ", "ERROR:  out of memory"].map(|said| log.matches(said).count());
    println!("{told:?}");
    assert!(told.iter().all(|number| *number > 0), "{told:?}");
    run(&mut client, "DROP TRIGGER raise_much ON vpk.key_usage");
    wait_for_uses(&mut client, &key, 1);
    assert_healthy(&cluster);
}
