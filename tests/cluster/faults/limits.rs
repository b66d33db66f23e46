//! G10, G2 and G4: a limited resource of the server is used up: usage slots, connections, or locks.

use std::thread;

use crate::support::keys::{Key, create, verify};
use crate::support::known::{assert_healthy, run};
use crate::support::usage::{
    ALL_AT_EACH_FLUSH, FLUSH_EVERY_100MS, counter, create_and_use, flush_every,
    start_flushing_hourly, stats, wait_until_flushed,
};
use crate::support::{Client, Cluster, sqlstate, value, wait_until};

/// G4 and G2: many sessions use many more keys than there are slots: every answer is right, and
/// each use is flushed, pending or counted as dropped.
#[test]
fn each_use_is_flushed_or_counted_as_dropped_when_slots_run_out() {
    const CLIENTS: i64 = 4;
    const KEYS: i64 = 400;
    const ROUNDS: i64 = 20;
    let cluster = start_flushing_hourly(&[("vibepeak_keys.usage_slots", "64")]);
    let mut client = cluster.client();
    run(
        &mut client,
        "CREATE TABLE tokens AS SELECT token FROM generate_series(1, 400) AS g, vpk_create('key ' || g)",
    );
    flush_every(&mut client, "100ms");
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let mut client = cluster.client();
            scope.spawn(move || {
                let sql = "SELECT count(*)::text FROM tokens WHERE vpk_verify(token) = 'VALID'";
                for _ in 0..ROUNDS {
                    assert_eq!(value(&mut client, sql, &[]), KEYS.to_string());
                }
            });
        }
    });
    let used = CLIENTS * KEYS * ROUNDS;
    assert_eq!(counter(&mut client, "valid"), used);
    assert!(counter(&mut client, "uses_dropped") > 0, "there were too few slots");
    wait_until_flushed(&mut client);
    let stats = stats(&mut client);
    let of = |name: &str| stats[name].as_i64().expect("a number");
    let (flushed, dropped) = (of("uses_flushed"), of("uses_dropped"));
    assert_eq!(flushed + dropped, used);
    let sql = "SELECT sum(uses)::text FROM vpk.key_usage";
    assert_eq!(value(&mut client, sql, &[]), flushed.to_string());
    let key = create(&mut client, "another");
    assert_eq!(verify(&mut client, &key.token), "VALID");
    wait_until_flushed(&mut client);
    assert_eq!(counter(&mut client, "uses_dropped"), dropped, "there is room again");
}

/// G10: with every connection taken, connected sessions are answered and uses are flushed; a new
/// connection is refused by the server, and accepted when another one has ended.
#[test]
fn verifying_never_fails_when_all_connections_are_taken() {
    let cluster = Cluster::start(&[&[("max_connections", "8")], FLUSH_EVERY_100MS].concat());
    let mut sessions: Vec<Client> = Vec::new();
    let refused = loop {
        match cluster.try_connect("postgres", "postgres") {
            Ok(client) => sessions.push(client),
            Err(error) => break error,
        }
        assert!(sessions.len() <= 8, "no more than there may be");
    };
    assert_eq!(refused.code().map(|code| code.code()), Some("53300"));
    let key = create(&mut sessions[0], "key");
    for session in &mut sessions {
        assert_eq!(verify(session, &key.token), "VALID");
    }
    let expected = sessions.len() as i64;
    wait_until("the uses are flushed", || counter(&mut sessions[0], "uses_flushed") == expected);
    sessions.truncate(1);
    wait_until("there is a connection", || cluster.try_connect("postgres", "postgres").is_ok());
    create_and_use(&mut cluster.client());
    assert_healthy(&cluster);
}

/// G2 and G10: with no room for another lock, a session that knows a key answers, and calls that
/// need a lock fail with the server's error. Afterwards they work again, and the refused ones left
/// nothing.
#[test]
fn a_session_that_knows_a_key_verifies_it_when_all_locks_are_taken() {
    let settings = [
        ("max_locks_per_transaction", "10"),
        ("max_connections", "10"),
        ("vibepeak_keys.usage_flush_interval", "100ms"),
        ALL_AT_EACH_FLUSH,
    ];
    let cluster = Cluster::start(&settings);
    let (mut holder, mut client, mut other) =
        (cluster.client(), cluster.client(), cluster.client());
    let key = create(&mut client, "key");
    assert_eq!(verify(&mut client, &key.token), "VALID");
    verify(&mut other, &key.token);
    let before = tables(&mut other);
    let mut number = 0;
    run(&mut holder, "BEGIN");
    while holder.execute("SAVEPOINT s", &[]).is_ok() {
        let sql = "SELECT pg_advisory_xact_lock(g) FROM generate_series($1::bigint, $1 + 9) AS g";
        number += 10;
        if let Err(error) = holder.execute(sql, &[&i64::from(number)]) {
            assert_eq!(sqlstate::<()>("a lock", Err(error)), "53200");
            run(&mut holder, "ROLLBACK TO s");
            break;
        }
    }
    // What is left of the last ten.
    let sql = "SELECT pg_advisory_lock($1)";
    while holder.execute("SAVEPOINT s", &[]).is_ok()
        && holder.execute(sql, &[&i64::from(-number)]).is_ok()
    {
        number += 1;
    }
    run(&mut holder, "ROLLBACK TO s");

    assert_eq!(verify(&mut client, &key.token), "VALID");
    let mut refused = 0;
    for call in calls(&key) {
        match client.batch_execute(&format!("BEGIN; {call}")) {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(sqlstate::<()>(&call, Err(error)), "53200", "{call}");
                refused += 1;
            }
        }
        run(&mut client, "ROLLBACK");
        assert_eq!(verify(&mut client, &key.token), "VALID", "after {call}");
    }
    assert!(refused > 2, "{refused} were refused");
    run(&mut holder, "ROLLBACK; SELECT pg_advisory_unlock_all()");
    assert_eq!(tables(&mut other), before);
    for call in calls(&key) {
        run(&mut client, &format!("BEGIN; {call}; ROLLBACK"));
    }
    create_and_use(&mut client);
    assert_eq!(counter(&mut client, "uses_dropped"), 0);
    assert_healthy(&cluster);
}

fn tables(client: &mut Client) -> String {
    let sql = "SELECT concat((SELECT count(*) FROM vpk.keys), ' ', (SELECT count(*) FROM vpk.events),
                  ' ', (SELECT count(*) FROM vpk.task_leases), ' ', (SELECT count(*) FROM vpk.accounts))";
    value(client, sql, &[])
}

fn calls(key: &Key) -> Vec<String> {
    let Key { id, token } = key;
    vec![
        format!("SELECT vpk_verify('{token}')"),
        format!("SELECT * FROM vpk_authenticate('Bearer {token}')"),
        "SELECT vpk_error('PLAN_REQUIRED')".to_owned(),
        "SELECT * FROM vpk_create('made')".to_owned(),
        "SELECT * FROM generate_series(1, 20) AS g, vpk_create('made ' || g)".to_owned(),
        format!("SELECT * FROM vpk_task_start('{token}')"),
        format!("SELECT * FROM vpk_rotate('{id}')"),
        format!("SELECT * FROM vpk_update('{id}', name => 'other')"),
        format!("SELECT vpk_disable('{id}'), vpk_enable('{id}')"),
        "SELECT vpk_set_plan('new', 'Pro')".to_owned(),
        "SELECT * FROM vpk_list()".to_owned(),
        "SELECT * FROM vpk_doctor()".to_owned(),
        format!("SELECT vpk_revoke('{id}')"),
        "SELECT vpk_delete_account('default')".to_owned(),
    ]
}
