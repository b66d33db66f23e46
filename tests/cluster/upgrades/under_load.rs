//! G8: the new library under the old SQL, and the update itself, beside services that go on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;

use crate::support::keys::{authenticate, create, create_for, revoke, set_plan, verify};
use crate::support::known::run;
use crate::support::usage::Done;
use crate::support::{Client, Cluster, pid, report, value, wait_for_lock, wait_until};
use crate::upgrades::{made_with, old_versions, update};

/// Every function that a version of the SQL has, by what calls it. What is not called here is
/// called by another of them, or by a view or a trigger.
fn call_everything(client: &mut Client) {
    set_plan(client, "acme", "Pro");
    set_plan(client, "brief", "Plus");
    let key = create_for(client, "called", "acme");
    let other = create_for(client, "called", "brief");
    for (sql, parameter, expected) in [
        ("SELECT vpk_verify($1)::text", &key.token, "VALID"),
        ("SELECT status::text FROM vpk_authenticate('Bearer ' || $1)", &key.token, "VALID"),
        ("SELECT vpk_verify_hash(sha256($1::text::bytea))::text", &key.token, "VALID"),
        ("SELECT vpk_error('PLAN_REQUIRED', $1) #>> '{error,request_id}'", &key.id, &key.id),
        ("SELECT name FROM vpk_update($1::text::uuid, 'renamed')", &key.id, "renamed"),
        ("SELECT (vpk_disable($1::text::uuid) IS NOT NULL)::text", &key.id, "true"),
        ("SELECT coalesce(vpk_enable($1::text::uuid)::text, 'void')", &key.id, ""),
        ("SELECT name FROM vpk_list(id => $1::text::uuid)", &key.id, "renamed"),
        ("SELECT name FROM vpk.key_list WHERE id = $1::text::uuid", &key.id, "renamed"),
        ("SELECT name FROM vpk_rotate($1::text::uuid)", &key.id, "renamed"),
        ("SELECT (vpk_revoke($1::text::uuid) IS NOT NULL)::text", &key.id, "true"),
        ("SELECT vpk_revoke_token($1)::text", &other.token, &other.id),
        (
            "SELECT (vpk_revoke_account('acme') = length($1) - length($1) + 1)::text",
            &key.id,
            "true",
        ),
        ("SELECT (vpk_purge(clock_timestamp()) > length($1) - length($1))::text", &key.id, "true"),
    ] {
        assert_eq!(value(client, sql, &[parameter]), expected, "{sql}");
    }
    let task = create_for(client, "of a task", "brief");
    let start = "SELECT lease::text FROM vpk_task_start($1)";
    let lease = value(client, start, &[&task.token]);
    let extend = "SELECT (vpk_task_extend($1::text::uuid, '1 hour') IS NOT NULL)::text";
    assert_eq!(value(client, extend, &[&lease]), "true");
    assert_eq!(value(client, "SELECT vpk_task_finish($1::text::uuid)::text", &[&lease]), "true");
    run(
        client,
        "SELECT FROM vpk.status_codes;
         UPDATE vpk.plans SET concurrent_tasks = 2 WHERE plan = 'Plus';
         INSERT INTO vpk.plans (plan) VALUES ('Brief');
         DELETE FROM vpk.plans WHERE plan IN ('Brief', 'Starter');
         SELECT vpk_set_plan('default', 'Plus');
         SELECT vpk_delete_account('default'), vpk_delete_account('brief');
         SELECT vpk_grant_verifier('verifier'), vpk_grant_admin('admin')",
    );
    let later =
        "SELECT count(*)::text FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
                  WHERE e.extname = 'vibepeak_keys' AND d.classid = 'pg_proc'::regclass
                    AND d.objid = to_regprocedure($1)";
    let unknown = "'00000000-0000-0000-0000-000000000000'";
    for (function, sql) in [
        ("vpk_doctor()", "SELECT FROM vpk_doctor()"),
        ("vpk.stats_row()", "SELECT FROM vpk.stats"),
        ("vpk.current_uses(uuid, bigint)", &format!("SELECT vpk.current_uses({unknown}, 0)")),
        (
            "vpk.current_last_use(uuid, timestamptz)",
            &format!("SELECT vpk.current_last_use({unknown}, now())"),
        ),
        (
            "vpk_add_uses(uuid, timestamptz, bigint)",
            &format!("SELECT vpk_add_uses({unknown}, now(), 1)"),
        ),
        (
            "vpk_add_charges(uuid, text, text, text, timestamptz, bigint, bigint, bigint, timestamptz)",
            &format!("SELECT vpk_add_charges({unknown}, 'key', 'a', 'day', now(), 1, 1, 0, now())"),
        ),
        ("vpk_usage(text, uuid, timestamptz, timestamptz, interval)", "SELECT FROM vpk_usage()"),
        ("vpk_client_ip(text)", "SELECT vpk_client_ip('192.0.2.1')"),
        (
            "vpk.current_uses(uuid, bigint)",
            "SELECT vpk.current_uses(NULL, 1), vpk.current_last_use(NULL, now())",
        ),
        (
            "vpk_rate_limit(text, integer, interval, integer, integer)",
            "SELECT FROM vpk_rate_limit('somebody', 1, '1 second')",
        ),
        (
            "vpk_doctor_accept(text, text, timestamptz)",
            "SELECT vpk_doctor_accept('preloaded', 'nothing', '-infinity')",
        ),
        ("vpk_grant_verifier(regrole)", "SELECT vpk_grant_verifier('verifier'::regrole)"),
        ("vpk_grant_admin(regrole)", "SELECT vpk_grant_admin('admin'::regrole)"),
        ("vpk_grant_backup(regrole)", "SELECT vpk_grant_backup('verifier'::regrole)"),
        ("vpk_grant_backup(text)", "SELECT vpk_grant_backup('verifier')"),
        (
            "vpk_purge_events(timestamptz, integer)",
            "SELECT vpk_purge_events(now() - interval '10 years')",
        ),
        (
            "vpk_rate_limit_state(text, uuid)",
            "SELECT vpk_set_plan('limited', 'Pro'); SELECT FROM vpk_rate_limit_state('limited')",
        ),
        (
            "vpk_reset_rate_limit(text, uuid, text)",
            "SELECT vpk_set_plan('limited', 'Pro'), vpk_reset_rate_limit('limited')",
        ),
        (
            "vpk_set_rate_limit(text, integer, interval, integer, text, text, uuid)",
            "SELECT vpk_set_rate_limit('day', 1000000, '1 day', plan => 'Pro');
             SELECT FROM vpk.rate_limits",
        ),
        (
            "vpk_set_quota(bigint, text, text, text, text, uuid, text, date, real)",
            "SELECT vpk_set_quota(1000000, plan => 'Pro'); SELECT FROM vpk.quotas",
        ),
        (
            "vpk_rename_account(text, text)",
            "SELECT vpk_set_plan('old', 'Pro'), vpk_rename_account('old', 'new')",
        ),
    ] {
        if value(client, later, &[&function]) == "1" {
            run(client, sql);
        }
    }
    // The server does not count calls that raise an error.
    for (function, sql) in [
        ("vpk_pending_uses(integer)", "SELECT FROM vpk_pending_uses()"),
        ("vpk_settle_uses(uuid, bigint)", &format!("SELECT vpk_settle_uses({unknown}, 1)")),
        ("vpk_pending_charges(integer)", "SELECT FROM vpk_pending_charges()"),
        ("vpk_settle_charges(bigint)", "SELECT vpk_settle_charges(1)"),
    ] {
        if value(client, later, &[&function]) == "1" {
            let error = client.batch_execute(sql).expect_err("this server is not a standby");
            assert!(report(&error).contains("this server is not a standby"), "{}", report(&error));
        }
    }
}

/// G8: until the update, each function of the old SQL works with the new library.
#[test]
fn every_function_of_the_old_sql_works() {
    let cluster = Cluster::start(&[("track_functions", "all")]);
    run(&mut cluster.client(), "CREATE ROLE verifier; CREATE ROLE admin");
    for (number, old) in old_versions().iter().enumerate() {
        let name = format!("called_{number}");
        let mut client = made_with(&cluster, &name, old);
        // Triggers and what they call are among them.
        call_everything(&mut client);
        drop(client);
        let mut client = cluster.connect(&name, "postgres");
        let uncalled = "SELECT coalesce(string_agg(p.oid::regprocedure::text, ', '), '')
              FROM pg_proc AS p
              JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
              JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
             WHERE e.extname = 'vibepeak_keys' AND d.deptype = 'e'
               AND p.proname NOT IN ('vpk_pending_uses', 'vpk_settle_uses',
                                     'vpk_pending_charges', 'vpk_settle_charges')
               AND coalesce(pg_stat_get_function_calls(p.oid), 0) = 0";
        // The calls of another session are counted when it ends.
        let sessions = "SELECT count(*)::text FROM pg_stat_activity
                         WHERE datname = current_database() AND backend_type = 'client backend'";
        wait_until("the other session is gone", || value(&mut client, sessions, &[]) == "1");
        assert_eq!(value(&mut client, uncalled, &[]), "", "{old}: not called");
    }
}

/// The updates from a version while services go on, as docs/operations.md says. The step to 0.10.0
/// takes locks that it gives up again if it cannot have all of them; those of earlier steps of the
/// same transaction it cannot give up.
fn steps(old: &str) -> impl Iterator<Item = &'static str> {
    let first = (old != "0.9.0").then_some("ALTER EXTENSION vibepeak_keys UPDATE TO '0.9.0'");
    first.into_iter().chain(["ALTER EXTENSION vibepeak_keys UPDATE"])
}

/// G8, G1, G2: services verify, issue and revoke while the update runs, and are never refused.
#[test]
fn services_go_on_during_the_update() {
    let cluster = Cluster::start(&[]);
    for (number, old) in old_versions().iter().enumerate() {
        let name = format!("updated_{number}");
        let mut owner = made_with(&cluster, &name, old);
        let keys: Vec<_> = (0..50).map(|_| create(&mut owner, "verified")).collect();
        let (done, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
        let more = |rounds: &AtomicUsize| {
            let before = rounds.load(Relaxed);
            wait_until("services go on", || rounds.load(Relaxed) > before + 100);
        };
        thread::scope(|scope| {
            let _done = Done(&done);
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut client = cluster.connect(&name, "postgres");
                    while !done.load(Relaxed) {
                        for key in &keys {
                            assert_eq!(verify(&mut client, &key.token), "VALID");
                            assert_eq!(authenticate(&mut client, &key.token), "VALID");
                        }
                        rounds.fetch_add(keys.len(), Relaxed);
                    }
                });
            }
            scope.spawn(|| {
                let mut client = cluster.connect(&name, "postgres");
                while !done.load(Relaxed) {
                    let key = create(&mut client, "brief");
                    assert_eq!(verify(&mut client, &key.token), "VALID");
                    revoke(&mut client, &key);
                    assert_eq!(verify(&mut client, &key.token), "API_KEY_REVOKED");
                }
            });
            more(&rounds);
            for to in steps(old) {
                // One that is taken back, and one that stays.
                let mut transaction = owner.transaction().expect("a transaction");
                run(&mut transaction, to);
                assert_eq!(verify(&mut transaction, &keys[0].token), "VALID");
                transaction.rollback().expect("it was taken back");
                more(&rounds);
                run(&mut owner, to);
                more(&rounds);
            }
        });
    }
}

/// Statements that clients prepare once, with the columns that they read.
const PREPARED: [&str; 8] = [
    "SELECT vpk_verify(k.token)::text FROM vpk_create('brief', $1) AS k",
    "SELECT id::text, name, state FROM vpk_list($1)",
    "SELECT id::text, name, state FROM vpk.key_list WHERE account = $1",
    "SELECT u.name, u.state FROM vpk_list($1, max_rows => 1) AS l, vpk_update(l.id, 'renamed') AS u",
    "SELECT t.status::text, t.error::text, vpk_task_finish(t.lease)
       FROM vpk_create('brief', $1) AS k, vpk_task_start(k.token, '1 hour') AS t",
    "SELECT r.token FROM vpk_create('brief', $1) AS k, vpk_rotate(k.id) AS r",
    "SELECT a.status::text, a.error::text
       FROM vpk_create('brief', $1) AS k, vpk_authenticate('Bearer ' || k.token) AS a",
    "SELECT vpk_purge('2001-01-01 00:00+00')::text WHERE $1 <> ''",
];

/// G8: a prepared statement that names its columns answers during the update and after it. One that
/// does not name them has to be prepared again.
#[test]
fn prepared_statements_go_on_during_the_update() {
    const UPDATES: usize = 5;
    let cluster = Cluster::start(&[("synchronous_commit", "off")]);
    // Updates from earlier versions lock tables in orders that a transaction can be ended for.
    for (number, old) in ["0.6.0", "0.7.0"].into_iter().enumerate() {
        let name = format!("prepared_{number}");
        let mut owner = made_with(&cluster, &name, old);
        let (done, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
        let mut star = cluster.connect(&name, "postgres");
        let stars = ["vpk_list()", "vpk.key_list"].map(|from| format!("SELECT * FROM {from}"));
        let prepared = stars.each_ref().map(|sql| star.prepare(sql).expect("a statement"));
        thread::scope(|scope| {
            let _done = Done(&done);
            for (number, sql) in PREPARED.iter().enumerate() {
                let account = format!("account {number}");
                set_plan(&mut owner, &account, "Pro");
                create_for(&mut owner, "listed", &account);
                let mut client = cluster.connect(&name, "postgres");
                let (done, rounds) = (&done, &rounds);
                scope.spawn(move || {
                    let statement = client.prepare(sql).expect("a statement");
                    while !done.load(Relaxed) {
                        let rows = client.query(&statement, &[&account]);
                        let rows = rows.unwrap_or_else(|error| panic!("{sql}: {}", report(&error)));
                        assert!(!rows.is_empty(), "{sql}");
                        rounds.fetch_add(1, Relaxed);
                    }
                });
            }
            let more = || {
                let before = rounds.load(Relaxed);
                wait_until("clients go on", || rounds.load(Relaxed) > before + 100);
            };
            for (to, round) in steps(old).flat_map(|to| (1..=UPDATES).map(move |round| (to, round)))
            {
                more();
                let mut transaction = owner.transaction().expect("a transaction");
                run(&mut transaction, to);
                if round == UPDATES {
                    transaction.commit().expect("the update");
                } else {
                    transaction.rollback().expect("it was taken back");
                }
            }
            more();
        });
        for (sql, prepared) in stars.iter().zip(&prepared) {
            let error = star.query(prepared, &[]).expect_err("it has a column more");
            assert!(report(&error).starts_with("0A000 "), "{sql}: {}", report(&error));
            star.query(sql.as_str(), &[]).expect("prepared again");
        }
    }
}

/// G8: an update gives way to a transaction that has locked the tables and views of keys in any
/// order. Neither of them is ended for a deadlock.
#[test]
fn an_update_and_an_open_transaction_do_not_wait_for_each_other() {
    const LIST: &str = "SELECT count(*) FROM vpk.key_list";
    const PLANS: &str = "SELECT count(*) FROM vpk.plans";
    let cluster = Cluster::start(&[]);
    for (number, (old, first, second)) in
        [("0.6.0", LIST, ""), ("0.6.0", "", LIST), ("0.9.0", PLANS, ""), ("0.9.0", "", PLANS)]
            .into_iter()
            .enumerate()
    {
        let name = format!("open_{number}");
        let mut owner = made_with(&cluster, &name, old);
        let change = format!("SELECT vpk_revoke('{}')", create(&mut owner, "key").id);
        let mut open = cluster.connect(&name, "postgres");
        let mut open = open.transaction().expect("a transaction");
        let or_change =
            |sql: &'static str| if sql.is_empty() { change.clone() } else { sql.to_owned() };
        run(&mut open, &or_change(first));
        let updating = pid(&mut owner);
        thread::scope(|scope| {
            let update = scope.spawn(|| update(&mut owner));
            wait_for_lock(&mut cluster.connect(&name, "postgres"), updating);
            run(&mut open, &or_change(second));
            open.commit().expect("its end");
            update.join().expect("the update");
        });
    }
}
