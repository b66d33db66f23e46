//! Concurrent tasks: starters that race never exceed the plan's limit.

use std::sync::Barrier;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use crate::support::keys::{create_for, set_plan};
use crate::support::random::Random;
use crate::support::usage::start_flushing_hourly;
use crate::support::{Client, Cluster, buffers, pid, report, value, wait_for_lock, wait_until};

const CLIENTS: usize = 16;
const LIMIT: i32 = 3;

struct Started {
    status: String,
    lease: Option<String>,
    running: Option<i32>,
    allowed: Option<i32>,
}

fn start(client: &mut Client, token: &str, ttl: &str) -> Started {
    let sql = "SELECT status::text, lease::text, running, allowed
                 FROM vpk_task_start($1, $2::text::interval)";
    let row = client.query_one(sql, &[&token, &ttl]).expect("an answer");
    Started { status: row.get(0), lease: row.get(1), running: row.get(2), allowed: row.get(3) }
}

fn finish(client: &mut Client, lease: &str) -> bool {
    value(client, "SELECT vpk_task_finish($1::text::uuid)::text", &[&lease]) == "true"
}

/// An account on a plan, and the token of a key of it.
fn account(cluster: &Cluster, plan: &str) -> String {
    let mut client = cluster.client();
    set_plan(&mut client, "acme", plan);
    create_for(&mut client, "tasks", "acme").token
}

/// Of sixteen that start at once exactly as many as the plan allows get a lease; the others see how
/// many are running.
#[test]
fn exactly_as_many_starters_as_the_plan_allows_get_a_lease() {
    const ROUNDS: usize = 60;
    let cluster = Cluster::start(&[("synchronous_commit", "off")]);
    let token = account(&cluster, "Pro");
    let gate = Barrier::new(CLIENTS);
    // No assertion before all threads are through: one that fails at a gate leaves the others
    // waiting.
    let starter = |mut client: Client| -> Vec<Started> {
        let mut round = || {
            gate.wait();
            let task = start(&mut client, &token, "1 hour");
            gate.wait();
            if let Some(lease) = &task.lease {
                finish(&mut client, lease);
            }
            task
        };
        (0..ROUNDS).map(|_| round()).collect()
    };
    let rounds: Vec<Vec<Started>> = thread::scope(|scope| {
        let clients: Vec<Client> = (0..CLIENTS).map(|_| cluster.client()).collect();
        let starters: Vec<_> =
            clients.into_iter().map(|client| scope.spawn(|| starter(client))).collect();
        starters.into_iter().map(|starter| starter.join().expect("answers")).collect()
    });
    for round in 0..ROUNDS {
        let tasks = || rounds.iter().map(|tasks| &tasks[round]);
        assert_eq!(
            tasks().filter(|task| task.lease.is_some()).count(),
            LIMIT as usize,
            "round {round}"
        );
        for task in tasks() {
            assert_eq!(task.allowed, Some(LIMIT));
            match task.lease {
                Some(_) => assert_eq!(task.status, "VALID"),
                None => {
                    assert_eq!(task.status, "CONCURRENCY_LIMIT_EXCEEDED");
                    assert_eq!(task.running, Some(LIMIT), "round {round}");
                }
            }
        }
    }
}

/// The same while leases are extended and given back all the time, and some of them end by
/// themselves.
#[test]
fn the_limit_holds_while_starts_extensions_and_ends_race() {
    let cluster = Cluster::start(&[("synchronous_commit", "off")]);
    let token = account(&cluster, "Pro");
    let held = AtomicI32::new(0);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let mut client = cluster.client();
            let (token, held) = (&token, &held);
            scope.spawn(move || {
                let mut random = Random::new();
                for _ in 0..150 {
                    let abandoned = random.below(20) == 0;
                    let ttl = if abandoned { "1 ms" } else { "1 hour" };
                    let Some(lease) = start(&mut client, token, ttl).lease else { continue };
                    if abandoned {
                        continue;
                    }
                    let number = held.fetch_add(1, Ordering::SeqCst) + 1;
                    assert!(number <= LIMIT, "{number} are running");
                    for _ in 0..random.below(3) {
                        let sql = "SELECT vpk_task_extend($1::text::uuid, '1 hour')::text";
                        assert_ne!(value(&mut client, sql, &[&lease]), "", "it was running");
                    }
                    held.fetch_sub(1, Ordering::SeqCst);
                    assert!(finish(&mut client, &lease), "it was running");
                }
            });
        }
    });
}

/// A start waits for another start that is not committed, and then counts it, also with an older
/// snapshot, which does not show it.
#[test]
fn a_starter_counts_what_it_waited_for() {
    let cluster = Cluster::start(&[]);
    let token = account(&cluster, "Plus");
    for level in ["READ COMMITTED", "REPEATABLE READ"] {
        for (end, expected) in [("ROLLBACK", "VALID"), ("COMMIT", "CONCURRENCY_LIMIT_EXCEEDED")] {
            let (mut first, mut second) = (cluster.client(), cluster.client());
            let mut observer = cluster.client();
            let waiting = pid(&mut second);
            second.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).expect("a transaction");
            second.batch_execute("SELECT count(*) FROM vpk.task_leases").expect("its snapshot");
            first.batch_execute("BEGIN").expect("a transaction");
            assert_eq!(start(&mut first, &token, "1 hour").status, "VALID");
            let status = thread::scope(|scope| {
                let second = scope.spawn(|| start(&mut second, &token, "1 hour").status);
                wait_for_lock(&mut observer, waiting);
                first.batch_execute(end).expect("its end");
                second.join().expect("an answer")
            });
            assert_eq!(status, expected, "{level} after {end}");
            drop(second);
            observer.batch_execute("DELETE FROM vpk.task_leases").expect("all leases end");
        }
    }
}

/// A lease whose extension is not committed is not counted as ended.
#[test]
fn a_starter_waits_for_an_extension() {
    let cluster = Cluster::start(&[]);
    let token = account(&cluster, "Plus");
    let (mut first, mut second) = (cluster.client(), cluster.client());
    let mut observer = cluster.client();
    let extend = "SELECT vpk_task_extend($1::text::uuid, '1 hour')::text";
    wait_until("a lease is extended before its end", || {
        let lease = start(&mut first, &token, "1 s").lease.expect("a lease");
        first.batch_execute("BEGIN").expect("a transaction");
        let extended = !value(&mut first, extend, &[&lease]).is_empty();
        if !extended {
            first.batch_execute("ROLLBACK").expect("its end");
        }
        extended
    });
    let ended = "SELECT (expires_at <= clock_timestamp())::text FROM vpk.task_leases";
    wait_until("its first end has come", || value(&mut observer, ended, &[]) == "true");
    let waiting = pid(&mut second);
    let task = thread::scope(|scope| {
        let second = scope.spawn(|| start(&mut second, &token, "1 hour"));
        wait_for_lock(&mut observer, waiting);
        first.batch_execute("COMMIT").expect("its end");
        second.join().expect("an answer")
    });
    assert_eq!((task.status.as_str(), task.running), ("CONCURRENCY_LIMIT_EXCEEDED", Some(1)));
}

/// The deletion of an account does not wait for an open start of another account, whatever their
/// names: these two have the same CRC-32.
#[test]
fn an_open_start_does_not_delay_the_deletion_of_another_account() {
    const NAMES: [&str; 2] = ["plumless", "buckeroo"];
    assert_eq!(crc32fast::hash(NAMES[0].as_bytes()), crc32fast::hash(NAMES[1].as_bytes()));
    let cluster = start_flushing_hourly(&[]);
    let (mut client, mut admin) = (cluster.client(), cluster.client());
    let [token, _] = NAMES.map(|name| {
        set_plan(&mut admin, name, "Plus");
        create_for(&mut admin, "tasks", name).token
    });
    client.batch_execute("BEGIN").expect("a transaction");
    assert_eq!(start(&mut client, &token, "1 hour").status, "VALID");
    admin.batch_execute("SET lock_timeout = '1s'").expect("a setting");
    assert_eq!(value(&mut admin, "SELECT vpk_delete_account('buckeroo')::text", &[]), "1");
}

/// The deletion of an account waits for an open transaction of a verifier, but not for ever: it
/// fails and says what to do, after `lock_timeout` or else after 10 seconds.
#[test]
fn an_open_task_delays_the_deletion_of_its_account_for_a_limited_time() {
    let cluster = start_flushing_hourly(&[]);
    let token = account(&cluster, "Pro");
    let (mut client, mut admin) = (cluster.client(), cluster.client());
    let lease = start(&mut client, &token, "1 hour").lease.expect("a lease");
    let delete = "SELECT vpk_delete_account('acme')::text";
    let own = [
        format!("SELECT * FROM vpk_task_start('{token}')"),
        format!("SELECT vpk_task_extend('{lease}', '2 hours')"),
        format!("SELECT vpk_task_finish('{lease}')"),
    ];
    for (call, limit) in own.iter().zip(["100ms", "100ms", "0"]) {
        client.batch_execute(&format!("BEGIN; {call}")).expect("an open transaction");
        // The statement's own limit is for a deletion that would wait for ever.
        let limits = format!("SET lock_timeout = '{limit}'; SET statement_timeout = '10min'");
        admin.batch_execute(&limits).expect("its limits");
        let error = admin.query_one(delete, &[]).expect_err("it is in use");
        let said = report(&error);
        let expected = "55P03 account \"acme\" is in use by another transaction";
        assert!(said.starts_with(expected) && said.contains("pg_terminate_backend"), "{said}");
        client.batch_execute("ROLLBACK").expect("its end");
    }
    assert_eq!(value(&mut admin, delete, &[]), "1");
    assert_eq!(value(&mut admin, "SHOW lock_timeout", &[]), "0");
    assert_eq!(value(&mut client, "SELECT count(*)::text FROM vpk.task_leases", &[]), "0");
}

/// A crashed client's task counts until its lease ends, and not longer.
#[test]
fn the_lease_of_a_crashed_client_ends() {
    let cluster = Cluster::start(&[]);
    let token = account(&cluster, "Plus");
    let (mut crashed, mut client) = (cluster.client(), cluster.client());
    let lease = start(&mut crashed, &token, "500 ms").lease.expect("a lease");
    let end = "SELECT expires_at::text FROM vpk.task_leases WHERE lease = $1::text::uuid";
    let end = value(&mut client, end, &[&lease]);
    drop(crashed);
    wait_until("the slot is back", || start(&mut client, &token, "1 hour").lease.is_some());
    let over = "SELECT (clock_timestamp() >= $1::text::timestamptz)::text";
    assert_eq!(value(&mut client, over, &[&end]), "true", "not before its end");
    assert!(!finish(&mut client, &lease), "it was no longer running");
    let extend = "SELECT coalesce(vpk_task_extend($1::text::uuid, '1 hour')::text, 'gone')";
    assert_eq!(value(&mut client, extend, &[&lease]), "gone");
}

/// Starting costs a few look-ups however many leases there were: those of 20,000 tasks that were
/// given back, of 20,000 whose clients crashed, none of them removed by a vacuum, and of 20,000
/// that ran at once and that a vacuum has removed, while two tasks keep the last page of the table.
#[test]
fn earlier_leases_cost_nothing() {
    const ROUNDS: &str = "DO $$
        DECLARE given uuid;
        BEGIN
            FOR round IN 1..20000 LOOP
                SELECT lease INTO STRICT given FROM vpk_task_start('TOKEN', 'TTL');
                PERFORM vpk_task_finish(given) WHERE 'TTL' = '1 hour';
                COMMIT;
            END LOOP;
        END $$";
    let settings = [("autovacuum", "off"), ("synchronous_commit", "off")];
    let cluster = Cluster::start(&settings);
    let mut client = cluster.client();
    // Its name makes the index on it larger than the table.
    let name = "acme".repeat(16);
    set_plan(&mut client, &name, "Pro");
    let token = create_for(&mut client, "tasks", &name).token;
    client.batch_execute("UPDATE vpk.plans SET concurrent_tasks = NULL").expect("no limit");
    let call = format!("SELECT * FROM vpk_task_start('{token}')");
    let rounds = |ttl: &str| ROUNDS.replace("TOKEN", &token).replace("TTL", ttl);
    let at_once = "INSERT INTO vpk.task_leases
        SELECT gen_random_uuid(), account, id, now(), now() + (1 + random()) * '1 hour'::interval
          FROM vpk.keys, generate_series(1, 20000)";
    let removed = format!("DELETE FROM vpk.task_leases; {call}; {call}");
    let ended = call.replace("')", "', '1 microsecond')");
    // In a new session, and in one that has called before. What `before` leaves, the call meets.
    let mut measured = |before: &str| {
        client.batch_execute(before).expect(before);
        let first = buffers(&mut cluster.client(), &call);
        client.batch_execute(before).expect(before);
        buffers(&mut client, &call);
        client.batch_execute(before).expect(before);
        (first, buffers(&mut client, &call))
    };
    let without_ended = measured("");
    // Deleting leases that have ended takes a statement more, and its plan.
    let with_ended = measured(&ended);
    let vacuumed = "VACUUM vpk.task_leases";
    let states = [
        ("given back", without_ended, vec![rounds("1 hour")]),
        ("ended by themselves", with_ended, vec![rounds("1 microsecond")]),
        (
            "removed by a vacuum",
            without_ended,
            vec![at_once.to_owned(), removed, vacuumed.to_owned()],
        ),
    ];
    let mut client = cluster.client();
    buffers(&mut client, &call);
    for (state, (first, warm), statements) in states {
        for sql in statements {
            client.batch_execute(&sql).expect(state);
        }
        let (first_now, warm_now) =
            (buffers(&mut cluster.client(), &call), buffers(&mut client, &call));
        println!("{state}: {first} -> {first_now}, {warm} -> {warm_now}");
        assert!(first_now <= first + 100, "a new session: {first} before, {first_now} {state}");
        assert!(warm_now <= warm + 100, "the same session: {warm} before, {warm_now} {state}");
    }
}

/// Transactions of a stricter isolation level leave leases that have ended to others. A start reads
/// none of them but the first.
#[test]
fn ended_leases_cost_a_stricter_transaction_nothing() {
    let cluster = Cluster::start(&[("autovacuum", "off")]);
    let mut client = cluster.client();
    let token = create_for(&mut client, "tasks", "default").token;
    client.batch_execute("UPDATE vpk.plans SET concurrent_tasks = NULL").expect("no limit");
    let call = format!("SELECT * FROM vpk_task_start('{token}')");
    let mut start = || {
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").expect("a transaction");
        let touched = buffers(&mut client, &call);
        client.batch_execute("ROLLBACK").expect("no task");
        touched
    };
    start();
    let before = start();
    let ended = "INSERT INTO vpk.task_leases
        SELECT gen_random_uuid(), account, id, now() - interval '1 day', now() - n * interval '1 s'
          FROM vpk.keys, generate_series(1, 20000) AS n";
    cluster.client().batch_execute(ended).expect("leases");
    start();
    let after = start();
    assert!(after <= before + 40, "{before} before, {after} with ended leases");
}
