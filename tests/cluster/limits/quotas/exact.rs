//! G12: quotas are exact, however many sessions use them, and while they are flushed and granted.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use super::{in_table, key_with, passing, set_quotas, shown, wait_for_used};
use crate::support::keys::{create_for, set_plan};
use crate::support::usage::{Done, FLUSH_EVERY_100MS, start_flushing_hourly};
use crate::support::{Cluster, value, wait_until};

/// Of racing calls exactly as many pass as the quota has, and the table gets exactly these. Each
/// client makes its calls in one statement, so that most of them meet others.
#[test]
fn exactly_as_many_racing_calls_pass_as_a_quota_has() {
    const CLIENTS: i64 = 8;
    const CALLS: i64 = 100_000;
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = cluster.client();
    let key = key_with(&mut client, "calls=200000/month");
    let sql = "SELECT count(*) FILTER (WHERE v.status = 'VALID'),
                      count(*) FILTER (WHERE v.status = 'QUOTA_EXCEEDED')
                 FROM (SELECT vpk_verify($1) AS status
                         FROM generate_series(1, $2::bigint) OFFSET 0) AS v";
    let passed = thread::scope(|scope| {
        let call = || {
            let row = cluster.client().query_one(sql, &[&key.token, &CALLS]).expect("answers");
            let (passed, refused): (i64, i64) = (row.get(0), row.get(1));
            assert_eq!(passed + refused, CALLS);
            passed
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(call)).collect();
        clients.into_iter().map(|client| client.join().expect("a client")).sum::<i64>()
    });
    assert_eq!(passed, 200_000);
    wait_for_used(&mut client, 200_000);
    assert_eq!(shown(&mut client, "'acme'"), "calls/month account 200000+0 200000 0");
}

/// 64 clients, flushes every 100 ms, and grants that commit and that are rolled back.
#[test]
fn exactly_what_was_granted_passes_too() {
    const CLIENTS: usize = 64;
    let cluster = Cluster::start(&[FLUSH_EVERY_100MS, &[("max_connections", "100")]].concat());
    let mut client = cluster.client();
    let key = key_with(&mut client, "calls=1000/month");
    let (granted, is_over) = (AtomicI64::new(0), AtomicBool::new(false));
    let passed = thread::scope(|scope| {
        let call = || {
            let mut client = cluster.client();
            let mut passed = 0;
            loop {
                // The flag first: what is left when it is set passes in the calls that follow.
                let last = is_over.load(Ordering::Relaxed);
                let some = passing(&mut client, &key, 5);
                passed += some;
                if last && some == 0 {
                    return passed;
                }
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(call)).collect();
        let end = Done(&is_over);
        for number in 1..=60 {
            let mut transaction = client.transaction().expect("a transaction");
            let sql = "SELECT vpk_grant_quota('acme', $1)";
            transaction.execute(sql, &[&i64::from(number)]).expect("a grant");
            if number % 2 == 0 {
                transaction.commit().expect("its commit");
                granted.fetch_add(number.into(), Ordering::Relaxed);
            } else {
                transaction.rollback().expect("its end");
            }
        }
        drop(end);
        clients.into_iter().map(|client| client.join().expect("a client")).sum::<usize>()
    });
    let all = 1_000 + granted.into_inner();
    assert_eq!(passed as i64, all);
    wait_for_used(&mut client, all);
}

/// A grant counts at its commit, also in a session with an older snapshot, and never if it is
/// rolled back.
#[test]
fn a_grant_counts_from_its_commit_on() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = key_with(&mut client, "calls=2/month");
    let mut old = cluster.client();
    old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").expect("a snapshot");
    assert_eq!(passing(&mut client, &key, 3), 2);
    let mut granter = cluster.client();
    let mut transaction = granter.transaction().expect("a transaction");
    let left = value(&mut transaction, "SELECT vpk_grant_quota('acme', 5)::text", &[]);
    assert_eq!(left, "5");
    assert_eq!(passing(&mut client, &key, 1), 0, "before the commit");
    transaction.rollback().expect("its end");
    assert_eq!(passing(&mut client, &key, 1), 0, "after the rollback");
    let grant = "SELECT vpk_grant_quota('acme', 2, reason => 'sorry', idempotency_key => 'one')";
    for _ in 0..2 {
        assert_eq!(value(&mut granter, &format!("{grant}::text"), &[]), "2");
    }
    let mut reader = old.transaction().expect("a savepoint");
    let answer = value(&mut reader, "SELECT vpk_verify($1)::text", &[&key.token]);
    assert_eq!(answer, "VALID", "in an older snapshot");
    reader.rollback().expect("its end");
    assert_eq!(passing(&mut client, &key, 2), 1);
    // The charge of the call that was rolled back stays.
    assert_eq!(shown(&mut client, "'acme'"), "calls/month account 2+2 4 0");
    let event = "SELECT details - 'period_start' #>> '{}' FROM vpk.events
                  WHERE event = 'quota_granted' AND account = 'acme'";
    let details = r#"{"meter": "calls", "amount": 2, "period": "month", "reason": "sorry"}"#;
    assert_eq!(value(&mut client, event, &[]), details);
}

/// Another plan keeps what is used, and so does another amount. An operator's change counts at the
/// next call.
#[test]
fn what_is_used_outlives_a_change_of_the_plan() {
    let cluster = start_flushing_hourly(&[]);
    let mut client = cluster.client();
    let key = key_with(&mut client, "calls=5/month");
    client
        .batch_execute("UPDATE vpk.plans SET quotas = 'calls=3/month' WHERE plan = 'Free'")
        .expect("an update");
    client.batch_execute("UPDATE vpk.plans SET api_access = true").expect("an update");
    assert_eq!(passing(&mut client, &key, 4), 4);
    set_plan(&mut client, "acme", "Free");
    assert_eq!(passing(&mut client, &key, 1), 0);
    assert_eq!(shown(&mut client, "'acme'"), "calls/month account 3+0 4 -1");
    set_plan(&mut client, "acme", "Plus");
    assert_eq!(passing(&mut client, &key, 2), 1);
    set_quotas(&mut client, "calls=7/month");
    assert_eq!(passing(&mut client, &key, 3), 2);
    // The account's own replaces the plan's, and the key's counts for itself.
    client
        .batch_execute("UPDATE vpk.accounts SET quotas = 'calls=9/month' WHERE account = 'acme'")
        .expect("an update");
    assert_eq!(passing(&mut client, &key, 1), 1);
    client
        .execute(
            "UPDATE vpk.keys SET quotas = 'calls=1/month' WHERE id = $1::text::uuid",
            &[&key.id],
        )
        .expect("an update");
    assert_eq!(passing(&mut client, &key, 2), 1, "a new quota counts from its making");
    let sql = format!("id => '{}'", key.id);
    assert_eq!(shown(&mut client, &sql), "calls/month account 9+0 9 0, calls/month key 1+0 1 0");
    // The account's still counts for other keys.
    let other = create_for(&mut client, "other", "acme");
    assert_eq!(passing(&mut client, &other, 1), 0);
}

/// A quota that is removed and made again counts from its making, for whatever it was set.
#[test]
fn a_new_quota_counts_from_its_making() {
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    let mut client = cluster.client();
    set_plan(&mut client, "acme", "Plus");
    let key = create_for(&mut client, "limited", "acme");
    for (subject, kind) in [
        ("plan => 'Plus'".to_owned(), "account"),
        ("account => 'acme'".to_owned(), "account"),
        (format!("id => '{}'", key.id), "key"),
    ] {
        for _ in 0..2 {
            client.batch_execute(&format!("SELECT vpk_set_quota(3, {subject})")).expect("a quota");
            let fresh = format!("calls/month {kind} 3+0 0 3");
            assert_eq!(shown(&mut client, &format!("id => '{}'", key.id)), fresh, "{subject}");
            assert_eq!(passing(&mut client, &key, 4), 3, "{subject}");
            let used = format!(
                "SELECT coalesce(sum(used), 0)::text FROM vpk.quota_usage WHERE kind = '{kind}'"
            );
            wait_until("it is in the table", || value(&mut client, &used, &[]) == "3");
            // Another amount keeps what is used.
            client.batch_execute(&format!("SELECT vpk_set_quota(4, {subject})")).expect("a quota");
            assert_eq!(passing(&mut client, &key, 2), 1, "{subject}");
            wait_until("it is in the table", || value(&mut client, &used, &[]) == "4");
            client.batch_execute(&format!("SELECT vpk_set_quota(NULL, {subject})")).expect("none");
            assert_eq!(passing(&mut client, &key, 2), 2, "{subject}");
        }
    }
}

/// Accounts of the same name in two databases have a quota each.
#[test]
fn two_databases_have_nothing_in_common() {
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    cluster.database("other", "UTF8");
    let mut one = cluster.client();
    let mut other = cluster.connect("other", "postgres");
    other.batch_execute("CREATE EXTENSION IF NOT EXISTS vibepeak_keys").expect("the extension");
    let keys = [&mut one, &mut other].map(|client| key_with(client, "calls=3/month"));
    assert_eq!(passing(&mut one, &keys[0], 4), 3);
    assert_eq!(passing(&mut other, &keys[1], 2), 2);
    wait_for_used(&mut one, 3);
    wait_for_used(&mut other, 2);
    drop(other);
    one.batch_execute("DROP DATABASE other WITH (FORCE)").expect("it is dropped");
    assert_eq!(in_table(&mut one), 3);
}
