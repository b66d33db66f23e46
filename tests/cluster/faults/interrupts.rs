//! G2 and G10: calls that are cancelled, timed out or terminated at any instant. What is raised is
//! the server's own, nothing is half done, nothing is left locked or pinned, and the session goes
//! on.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::known::{assert_healthy, run};
use crate::support::load::Load;
use crate::support::process::soak;
use crate::support::random::Random;
use crate::support::usage::{Done, FLUSH_EVERY_200MS, create_and_use};
use crate::support::{Client, Cluster, filled, report, value, wait_until};

const CLIENTS: usize = 6;
/// What a call may be refused with: cancelled or timed out, a lock that was not had in time, a
/// deadlock.
const INTERRUPTED: &[&str] = &["57014", "55P03", "40P01"];

/// The number of calls to interrupt.
fn wanted() -> u64 {
    if soak() { 30_000 } else { 400 }
}

fn no_lock_is_left(client: &mut Client) {
    let sql = "SELECT count(*)::text FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
                WHERE a.backend_type = 'client backend' AND l.pid <> pg_backend_pid()";
    wait_until("no session holds a lock", || value(client, sql, &[]) == "0");
}

/// Statements are cancelled thousands of times, and now and then a session is terminated.
#[test]
fn cancelled_and_terminated_calls_leave_nothing_half_done() {
    let cluster = Cluster::start(FLUSH_EVERY_200MS);
    Load::during(&cluster, CLIENTS, INTERRUPTED, |load, random| {
        let mut client = cluster.client();
        let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
                       WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
                         AND state = 'active'";
        let end = "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
                    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
                    ORDER BY random() LIMIT 1) AS s";
        let mut calls = 0u64;
        while load.refused() < wanted() {
            load.still_there();
            let sql = if random.below(50) == 0 { end } else { cancel };
            run(&mut client, sql);
            calls += 1;
            // Otherwise no call would ever complete.
            thread::sleep(std::time::Duration::from_micros(random.below(1_000) as u64));
        }
        println!("{} refused, {calls} rounds", load.refused());
    });
    no_lock_is_left(&mut cluster.client());
    create_and_use(&mut cluster.client());
    assert_eq!(cluster.restarts(), 0);
    assert_healthy(&cluster);
}

/// The calls, each in a transaction that is rolled back so that it can be made again. KEY, ID,
/// LEASE and ACCOUNT stand for such.
const CALLS: &[&str] = &[
    "vpk_verify('KEY')",
    "vpk_verify_hash(sha256('KEY'))",
    "* FROM vpk_authenticate('Bearer KEY', scope => 'read', client_ip => '::1')",
    "vpk_error('PLAN_REQUIRED', account => 'ACCOUNT')",
    "* FROM vpk_create('made', account => 'ACCOUNT')",
    "* FROM generate_series(1, 20) AS g, vpk_create('made ' || g, account => 'ACCOUNT')",
    "vpk_revoke('ID', 'reason')",
    "vpk_revoke_token('KEY')",
    "vpk_revoke_account('ACCOUNT')",
    "* FROM vpk_rotate('ID')",
    "* FROM vpk_update('ID', name => 'other')",
    "vpk_disable('ID')",
    "vpk_enable('ID')",
    "vpk_purge('2001-01-01')",
    "vpk_set_plan('ACCOUNT', 'Plus')",
    "vpk_delete_account('ACCOUNT')",
    "* FROM vpk_list('ACCOUNT')",
    "* FROM vpk_task_start('KEY')",
    "vpk_task_extend('LEASE', '1 hour')",
    "vpk_task_finish('LEASE')",
    "* FROM vpk_doctor()",
    "* FROM vpk.stats, vpk.status_codes",
];

/// Every call under a timeout that ends it somewhere, in the midst of others that hold what it
/// needs: in new sessions, which have everything to look up yet, and in ones that know it all.
#[test]
fn a_timeout_anywhere_leaves_nothing_half_done() {
    let cluster = Cluster::start(&[("deadlock_timeout", "20ms")]);
    let mut admin = cluster.client();
    run(&mut admin, "SELECT vpk_set_plan('acme', 'Pro')");
    let row = admin
        .query_one("SELECT token, id::text FROM vpk_create('key', account => 'acme')", &[])
        .expect("a key");
    let (token, id): (String, String) = (row.get(0), row.get(1));
    let sql = "SELECT lease::text FROM vpk_task_start($1, '1 day')";
    let lease = value(&mut admin, sql, &[&token]);
    let values = [("KEY", &*token), ("ID", &*id), ("LEASE", &*lease), ("ACCOUNT", "acme")];
    let fill = |call: &str| filled(call, &values);
    let before = everything(&mut admin);

    let rounds = if soak() { 4_000 } else { 70 };
    let codes = Mutex::new(BTreeMap::<String, u64>::new());
    let done = AtomicBool::new(false);
    let seed = Random::new().next();
    thread::scope(|scope| {
        let _done = Done(&done);
        let (cluster, done, codes, fill) = (&cluster, &done, &codes, &fill);
        // One that holds locks on rows and tables, on and off.
        let mut holder = cluster.client();
        scope.spawn(move || {
            let mut random = Random::seeded(!seed);
            let held = [
                "SELECT FROM vpk.keys FOR UPDATE",
                "SELECT FROM vpk.accounts FOR UPDATE",
                "LOCK TABLE vpk.keys",
                "LOCK TABLE vpk.task_leases, vpk.events",
                "LOCK TABLE vpk.plans",
            ];
            while !done.load(Ordering::SeqCst) {
                let lock = random.pick(&held);
                let sql = format!("BEGIN; {lock}; SELECT pg_sleep(0.002); ROLLBACK");
                // On a busy machine a deadlock can be found before the other one's time is up.
                if let Err(error) = holder.batch_execute(&sql) {
                    assert_eq!(code(&error), "40P01", "{lock}: {}", report(&error));
                    run(&mut holder, "ROLLBACK");
                }
            }
        });
        let sessions: Vec<_> = (0..3u64)
            .map(|number| {
                scope.spawn(move || {
                    let mut random = Random::seeded(seed ^ number);
                    let mut client = cluster.client();
                    for round in 0..rounds {
                        // New sessions are dear: every tenth round has one.
                        if round % 10 == 0 {
                            client = cluster.client();
                        }
                        for call in CALLS {
                            let setting = *random.pick(&["statement_timeout", "lock_timeout"]);
                            let milliseconds = 1 + random.below(4);
                            let level = *random.pick(&["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]);
                            let sql = format!(
                                "BEGIN ISOLATION LEVEL {level}; SET LOCAL {setting} = {milliseconds};
                                 SELECT {}",
                                fill(call)
                            );
                            let result = client.batch_execute(&sql);
                            let answered = match &result {
                                Ok(()) => "00000",
                                Err(error) => code(error),
                            };
                            // A transaction with an older snapshot meets rows that were locked
                            // since.
                            let known = ["00000", "57014", "55P03", "40P01", "40001"];
                            assert!(known.contains(&answered), "{call}: {}", report(&result.unwrap_err()));
                            *codes.lock().expect("codes").entry(answered.to_owned()).or_default() += 1;
                            // Its time may be up in this instant; then the limit is gone.
                            if let Err(error) = client.batch_execute("ROLLBACK") {
                                assert_eq!(code(&error), "57014");
                                run(&mut client, "ROLLBACK");
                            }
                        }
                    }
                    assert_eq!(value(&mut client, "SELECT vpk_verify($1)::text", &[&fill("KEY")]), "VALID");
                })
            })
            .collect();
        sessions.into_iter().for_each(|session| session.join().expect("a session"));
    });
    let codes = codes.into_inner().expect("codes");
    println!("{codes:?}");
    for code in ["00000", "57014", "55P03"] {
        assert!(codes.get(code).is_some_and(|number| *number > 20), "{codes:?}");
    }
    assert_eq!(everything(&mut admin), before, "nothing that was rolled back is there");
    no_lock_is_left(&mut admin);
    assert_eq!(cluster.restarts(), 0);
    assert_healthy(&cluster);
}

/// An error's SQLSTATE.
fn code(error: &postgres::Error) -> &str {
    error.code().map_or("", |code| code.code())
}

/// All that the tables say, but for the uses.
fn everything(client: &mut Client) -> String {
    let sql = "SELECT md5(string_agg(r, ' ' ORDER BY r)) FROM (
        SELECT k::text FROM vpk.keys AS k UNION ALL SELECT a::text FROM vpk.accounts AS a
        UNION ALL SELECT p::text FROM vpk.plans AS p UNION ALL SELECT e::text FROM vpk.events AS e
        UNION ALL SELECT l::text FROM vpk.task_leases AS l) AS all_rows (r)";
    value(client, sql, &[])
}
