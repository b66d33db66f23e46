//! G11: rate limits of plans, accounts and keys: which calls they count, and what stays counted.

use std::thread;

use crate::support::keys::{Key, authenticate, create_for, revoke, set_plan, verify};
use crate::support::known::run;
use crate::support::usage::counter;
use crate::support::{Client, Cluster, caught_up, pid, value, wait_for_lock};

const VALID: &str = "VALID";
const LIMITED: &str = "RATE_LIMITED";

/// A key of the account `acme` on the plan Pro.
fn key_of_acme(client: &mut Client) -> Key {
    set_plan(client, "acme", "Pro");
    create_for(client, "key", "acme")
}

/// Sets the rate limits of a row.
fn limit(client: &mut Client, row: &str, limits: &str) {
    let (table, which) = match row.split_once(' ') {
        Some(("plan", plan)) => ("plans", format!("plan = '{plan}'")),
        Some(("account", account)) => ("accounts", format!("account = '{account}'")),
        Some(("key", id)) => ("keys", format!("id = '{id}'")),
        _ => panic!("{row}"),
    };
    let limits = if limits.is_empty() { "NULL".to_owned() } else { format!("'{limits}'") };
    run(client, &format!("UPDATE vpk.{table} SET rate_limits = {limits} WHERE {which}"));
}

/// Of so many calls in one statement, how many pass.
fn passes(client: &mut Client, key: &Key, calls: i32) -> String {
    let sql = format!(
        "SELECT count(*)::text FROM generate_series(1, {calls}) WHERE vpk_verify($1) = 'VALID'"
    );
    value(client, &sql, &[&key.token])
}

/// What is left of each limit that applies to a key.
fn left(client: &mut Client, key: &Key) -> String {
    let sql = "SELECT string_agg(concat_ws(' ', s.applies_to, s.policy, s.remaining), ', ')
                 FROM vpk_rate_limit_state(id => $1::text::uuid) AS s";
    value(client, sql, &[&key.id])
}

/// How many of 64 clients' calls pass that race each other.
fn racing(cluster: &Cluster, key: &Key, calls: usize) -> usize {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..64)
            .map(|number| {
                scope.spawn(move || {
                    let mut client = cluster.client();
                    let ask = if number % 2 == 0 { verify } else { authenticate };
                    (0..calls).filter(|_| ask(&mut client, &key.token) == VALID).count()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client")).sum()
    })
}

/// Of racing calls exactly as many pass as all policies allow together, and a refused call consumes
/// nothing of any.
#[test]
fn exactly_as_many_racing_calls_pass_as_the_policies_allow() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let key = key_of_acme(&mut client);
    // What comes back takes hours.
    limit(&mut client, "plan Pro", "minute=100/31d");
    assert_eq!(racing(&cluster, &key, 5), 100);
    assert_eq!(left(&mut client, &key), "account minute 0");

    set_plan(&mut client, "other", "Pro");
    let key = create_for(&mut client, "key", "other");
    limit(&mut client, "plan Pro", "minute=100/31d, second=20/31d");
    assert_eq!(racing(&cluster, &key, 5), 20);
    assert_eq!(left(&mut client, &key), "account minute 80, account second 0");
    assert_eq!(counter(&mut client, "rate_limited"), 64 * 5 - 100 + 64 * 5 - 20);
    assert_eq!(counter(&mut client, "limits_unenforced"), 0);
}

/// The same by the clock: as many more as come back meanwhile.
#[test]
fn a_call_passes_when_its_limit_has_come_back() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let key = key_of_acme(&mut client);
    limit(&mut client, "plan Pro", "second=20/1s, minute=100/1min");
    let before = std::time::Instant::now();
    let passed = racing(&cluster, &key, 2);
    let earned = before.elapsed().as_millis() as usize * 20 / 1000 + 1;
    assert!((20..=20 + earned).contains(&passed), "{passed}, and {earned} came back");
    let sql = "SELECT headers ->> 'Retry-After' FROM vpk_authenticate('Bearer ' || $1)";
    limit(&mut client, "plan Pro", "once=1/1s");
    assert_eq!(verify(&mut client, &key.token), VALID);
    assert_eq!(value(&mut client, sql, &[&key.token]), "1");
    run(&mut client, "SELECT pg_sleep(1)");
    assert_eq!(verify(&mut client, &key.token), VALID);
}

/// A change of a plan, an account or a key counts at the next call of every session, also where the
/// session's snapshot is older.
#[test]
fn a_changed_limit_counts_at_the_next_call() {
    let cluster = Cluster::start(&[]);
    let (mut admin, mut old, mut new) = (cluster.client(), cluster.client(), cluster.client());
    let key = key_of_acme(&mut admin);
    run(&mut old, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM vpk.plans");
    for session in [&mut old, &mut new] {
        assert_eq!(passes(session, &key, 300), "300");
    }
    let id = format!("key {}", key.id);
    for row in ["plan Pro", "account acme", &id] {
        limit(&mut admin, row, "some=3/31d");
        assert_eq!(passes(&mut old, &key, 2), "2", "{row}");
        assert_eq!(passes(&mut new, &key, 2), "1", "{row}");
        limit(&mut admin, row, "some=5/31d");
        assert_eq!(verify(&mut old, &key.token), LIMITED, "{row}: it is as empty as before");
        limit(&mut admin, row, "others=4/31d");
        assert_eq!(passes(&mut old, &key, 10), "4", "{row}");
        limit(&mut admin, row, "");
        assert_eq!(passes(&mut old, &key, 10), "10", "{row}");
        let reset = "SELECT vpk_reset_rate_limit('acme')";
        run(&mut admin, reset);
        // The names are in use by the account: the next row begins anew.
        limit(&mut admin, row, "some=3/31d, others=4/31d");
        run(&mut admin, reset);
        run(&mut admin, &format!("SELECT vpk_reset_rate_limit(id => '{}')", key.id));
        limit(&mut admin, row, "");
    }
    // What is rolled back does not count.
    run(&mut admin, "BEGIN; UPDATE vpk.plans SET rate_limits = 'none=1/31d'");
    assert_eq!(passes(&mut new, &key, 10), "10");
    run(&mut admin, "ROLLBACK");
    assert_eq!(passes(&mut new, &key, 10), "10");
    // A text that says nothing limits nothing.
    run(&mut admin, "SET session_replication_role = replica");
    limit(&mut admin, "account acme", "what is this");
    assert_eq!(passes(&mut new, &key, 10), "10");
    run(&mut old, "COMMIT");
}

/// The account's policy replaces the plan's of the same name, and the key's replaces it for that
/// key; the account's still counts for all of its keys.
#[test]
fn a_policy_replaces_the_plans_of_its_name() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let key = key_of_acme(&mut client);
    let other = create_for(&mut client, "another", "acme");
    limit(&mut client, "plan Pro", "some=2/31d");
    assert_eq!(passes(&mut client, &key, 1), "1");
    assert_eq!(passes(&mut client, &other, 5), "1", "both keys share the account's");
    limit(&mut client, &format!("key {}", key.id), "some=4/31d");
    assert_eq!(passes(&mut client, &key, 5), "4");
    assert_eq!(passes(&mut client, &other, 5), "0");
    limit(&mut client, "account acme", "some=3/31d");
    run(&mut client, "SELECT vpk_reset_rate_limit('acme')");
    run(&mut client, &format!("SELECT vpk_reset_rate_limit(id => '{}')", key.id));
    assert_eq!(left(&mut client, &key), "account some 3, key some 4");
    assert_eq!(passes(&mut client, &other, 2), "2");
    assert_eq!(passes(&mut client, &key, 5), "1", "the account's still counts");
    assert_eq!(left(&mut client, &key), "account some 0, key some 3");
    assert_eq!(left(&mut client, &other), "account some 0");
    let reset = "SELECT vpk_reset_rate_limit(id => $1::text::uuid)::text";
    assert_eq!(value(&mut client, reset, &[&key.id]), "1");
    assert_eq!(value(&mut client, reset, &[&key.id]), "0");
    let reset = "SELECT vpk_reset_rate_limit('acme', policy => 'some')::text";
    assert_eq!(value(&mut client, reset, &[]), "1");
}

/// Only a call that is otherwise VALID consumes.
#[test]
fn a_call_that_is_refused_for_another_reason_consumes_nothing() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let key = key_of_acme(&mut client);
    let revoked = create_for(&mut client, "revoked", "acme");
    revoke(&mut client, &revoked);
    limit(&mut client, "plan Pro", "some=2/31d");
    assert_eq!(verify(&mut client, &revoked.token), "API_KEY_REVOKED");
    let sql = "SELECT status::text FROM vpk_authenticate('Bearer ' || $1, scope => 'none')";
    assert_eq!(value(&mut client, sql, &[&key.token]), "INSUFFICIENT_SCOPE");
    set_plan(&mut client, "acme", "Free");
    limit(&mut client, "plan Free", "some=2/31d");
    assert_eq!(verify(&mut client, &key.token), "PLAN_REQUIRED");
    set_plan(&mut client, "acme", "Pro");
    assert_eq!(left(&mut client, &key), "account some 2");
    assert_eq!(passes(&mut client, &key, 3), "2");
    // The order of the codes stays.
    assert_eq!(value(&mut client, sql, &[&key.token]), "INSUFFICIENT_SCOPE");
    assert_eq!(verify(&mut client, &revoked.token), "API_KEY_REVOKED");
    let hash = "SELECT vpk_verify_hash(sha256($1::text::bytea))::text";
    assert_eq!(value(&mut client, hash, &[&key.token]), LIMITED);
}

/// A charge stays when the caller rolls back, as a use does.
#[test]
fn a_charge_stays_when_the_caller_rolls_back() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let key = key_of_acme(&mut client);
    limit(&mut client, "plan Pro", "some=3/31d");
    run(&mut client, "BEGIN READ ONLY");
    assert_eq!(verify(&mut client, &key.token), VALID);
    let none = "SELECT (pg_current_xact_id_if_assigned() IS NULL)::text";
    assert_eq!(value(&mut client, none, &[]), "true");
    run(&mut client, "ROLLBACK; BEGIN");
    let start = "SELECT status::text FROM vpk_task_start($1)";
    assert_eq!(value(&mut client, start, &[&key.token]), VALID);
    run(&mut client, "ROLLBACK");
    assert_eq!(left(&mut client, &key), "account some 1");
}

/// A task is refused by the rate limit before the limit of tasks is asked. It is charged when it
/// has its lease, and gives that up where nothing is left by then.
#[test]
fn a_task_starts_only_if_the_rate_limit_has_something_left() {
    let cluster = Cluster::start(&[]);
    let (mut admin, mut starter) = (cluster.client(), cluster.client());
    let key = key_of_acme(&mut admin);
    run(&mut admin, "UPDATE vpk.plans SET concurrent_tasks = 1 WHERE plan = 'Pro'");
    limit(&mut admin, "plan Pro", "some=3/31d");
    let start = "SELECT concat_ws(' ', status, http_status, lease IS NOT NULL,
                                  error #>> '{error,details,policy}')
                   FROM vpk_task_start($1)";
    assert_eq!(value(&mut admin, start, &[&key.token]), "VALID 200 t");
    // No lease is left, so that nothing is consumed.
    assert_eq!(value(&mut admin, start, &[&key.token]), "CONCURRENCY_LIMIT_EXCEEDED 429 f");
    assert_eq!(left(&mut admin, &key), "account some 2");
    assert_eq!(passes(&mut admin, &key, 5), "2");
    assert_eq!(value(&mut admin, start, &[&key.token]), "RATE_LIMITED 429 f some");

    run(&mut admin, "DELETE FROM vpk.task_leases; SELECT vpk_reset_rate_limit('acme')");
    limit(&mut admin, "plan Pro", "some=1/31d");
    let process = pid(&mut starter);
    let mut locker = cluster.client();
    run(&mut locker, "BEGIN; LOCK TABLE vpk.task_leases IN ACCESS EXCLUSIVE MODE");
    let token = key.token.clone();
    let starting = thread::spawn(move || value(&mut starter, start, &[&token]));
    wait_for_lock(&mut admin, process);
    assert_eq!(verify(&mut admin, &key.token), VALID, "the last one");
    run(&mut locker, "COMMIT");
    assert_eq!(starting.join().expect("an answer"), "RATE_LIMITED 429 f some");
    let leases = "SELECT count(*)::text FROM vpk.task_leases";
    assert_eq!(value(&mut admin, leases, &[]), "0", "the lease is given up");
}

/// A key's own limit costs 0, 1 or more, as the caller says.
#[test]
fn a_call_consumes_what_it_costs() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let key = key_of_acme(&mut client);
    limit(&mut client, "plan Pro", "some=10/31d");
    let mut ask = |cost: &str| {
        let sql = format!(
            "SELECT concat_ws(' ', a.status, a.limits #>> '{{0,remaining}}',
                              a.headers ? 'Retry-After', a.error #> '{{error,details,cost}}')
               FROM vpk_authenticate('Bearer ' || $1, cost => {cost}) AS a"
        );
        value(&mut client, &sql, &[&key.token])
    };
    for (cost, expected) in [
        ("0", "VALID 10 f"),
        ("4", "VALID 6 f"),
        ("NULL", "VALID 5 f"),
        ("-3", "VALID 5 f"),
        ("6", "RATE_LIMITED 5 t"),
        ("11", "RATE_LIMITED 5 f 11"),
        ("2147483647", "RATE_LIMITED 5 f 2147483647"),
        ("5", "VALID 0 f"),
        ("0", "RATE_LIMITED 0 t"),
    ] {
        assert_eq!(ask(cost), expected, "{cost}");
    }
    // A call that costs nothing is a use all the same.
    let uses = "SELECT uses::text FROM vpk.key_list WHERE id = $1::text::uuid";
    assert_eq!(value(&mut client, uses, &[&key.id]), "5");
}

/// What an account has used stays used under its new name. An account that is made anew under a
/// name that was deleted has used nothing.
#[test]
fn limits_go_with_an_account() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let key = key_of_acme(&mut client);
    limit(&mut client, "account acme", "own=3/31d");
    limit(&mut client, "plan Pro", "some=5/31d");
    assert_eq!(passes(&mut client, &key, 2), "2");
    run(&mut client, "SELECT vpk_rename_account('acme', 'new')");
    let state = "SELECT string_agg(concat_ws(' ', policy, remaining), ', ' ORDER BY policy)
                   FROM vpk_rate_limit_state('new')";
    assert_eq!(value(&mut client, state, &[]), "own 1, some 3");
    run(&mut client, "SELECT vpk_delete_account('new'), vpk_set_plan('new', 'Pro')");
    assert_eq!(value(&mut client, state, &[]), "some 5");
}

/// Where a process dies in the middle of its calls, nobody hangs, and all limits are as new.
#[test]
fn a_killed_backend_leaves_no_limit_locked() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let key = key_of_acme(&mut client);
    limit(&mut client, "plan Pro", "some=1000000/31d, all=5/31d");
    assert_eq!(passes(&mut client, &key, 9), "5");
    limit(&mut client, "plan Pro", "some=1000000/31d");
    let mut victim = cluster.client();
    let process = pid(&mut victim);
    let token = key.token.clone();
    let asking = thread::spawn(move || {
        let sql = "SELECT count(vpk_verify($1))::text FROM generate_series(1, 1000000000)";
        victim.query_one(sql, &[&token]).is_err()
    });
    let before = left(&mut client, &key);
    crate::support::wait_until("it verifies", || left(&mut client, &key) != before);
    drop(client);
    cluster.crash(process);
    assert!(asking.join().expect("its end"));
    let mut client = cluster.client();
    limit(&mut client, "plan Pro", "some=1000000/31d, all=5/31d");
    assert_eq!(left(&mut client, &key), "account some 1000000, account all 5");
    assert_eq!(passes(&mut client, &key, 9), "5");
}

/// A standby limits on its own. Servers that share a limit let as many times fewer calls pass.
#[test]
fn every_server_has_limits_of_its_own() {
    let primary = Cluster::start(&[]);
    let standby = primary.standby_with(&[("vibepeak_keys.rate_limit_share", "2")]);
    let (mut admin, mut reader) = (primary.client(), standby.client());
    let key = key_of_acme(&mut admin);
    limit(&mut admin, "plan Pro", "some=6/31d");
    assert_eq!(passes(&mut admin, &key, 9), "6");
    caught_up(&mut admin, &mut reader);
    assert_eq!(passes(&mut reader, &key, 9), "3");
    limit(&mut admin, "plan Pro", "");
    caught_up(&mut admin, &mut reader);
    assert_eq!(passes(&mut reader, &key, 9), "9");
}

/// Where the library is not preloaded, nothing is limited, and nothing raises an error.
#[test]
fn nothing_is_limited_where_the_library_is_not_preloaded() {
    let cluster = Cluster::start(&[("shared_preload_libraries", "")]);
    let mut client = cluster.client();
    let key = key_of_acme(&mut client);
    limit(&mut client, "plan Pro", "some=1/31d");
    assert_eq!(passes(&mut client, &key, 9), "9");
    let sql = "SELECT concat_ws(' ', status, limits::text, headers::text)
                 FROM vpk_authenticate('Bearer ' || $1, cost => 5)";
    assert_eq!(value(&mut client, sql, &[&key.token]), "VALID {}");
    assert_eq!(left(&mut client, &key), "account some");
    assert_eq!(value(&mut client, "SELECT vpk_reset_rate_limit('acme')::text", &[]), "0");
    run(&mut client, "SELECT vpk_rename_account('acme', 'new'), vpk_delete_account('new')");
}
