//! G11: `vpk_rate_limit`, what it answers, and to whom a bucket belongs.

use std::thread;

use crate::support::keys::{create, verify};
use crate::support::usage::{FLUSH_EVERY_100MS, counter};
use crate::support::{Client, Cluster, caught_up, pid, sqlstate, value, wait_until};

/// The answer to a call with these arguments: whether it is allowed, what is left, and the seconds
/// to wait.
pub fn limit(client: &mut Client, arguments: &str) -> String {
    let sql = format!(
        "SELECT concat_ws(' ', allowed, remaining, coalesce(retry_after::text, '-'))
           FROM vpk_rate_limit({arguments})"
    );
    value(client, &sql, &[])
}

/// A limit whose next call is earned after so long that a test does not see it.
pub fn a_month(identifier: &str, amount: i32) -> String {
    format!("'{identifier}', {amount}, '31 days'")
}

/// Whether no call is left, and the seconds to wait are those to the next call, or a few less.
fn is_used_up(answer: &str, amount: i32) -> bool {
    let wait = answer.strip_prefix("f 0 ").and_then(|wait| wait.parse::<i32>().ok());
    let whole = 31 * 86_400 / amount;
    wait.is_some_and(|wait| (whole - 3_600..=whole).contains(&wait))
}

/// What is left, what a call costs, and what a call is told that is refused.
#[test]
fn a_limit_counts_what_calls_cost() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let three = a_month("three", 3);
    assert_eq!(limit(&mut client, &format!("{three}, cost => 0")), "t 3 -");
    for left in ["t 2 -", "t 1 -", "t 0 -"] {
        assert_eq!(limit(&mut client, &three), left);
    }
    for cost in ["1", "0", "NULL", "-5"] {
        let answer = limit(&mut client, &format!("{three}, cost => {cost}"));
        assert!(is_used_up(&answer, 3), "{cost}: {answer}");
    }
    // A call of another policy has its own bucket, and so has another identifier.
    assert_eq!(limit(&mut client, &a_month("three", 4)), "t 3 -");
    assert_eq!(limit(&mut client, &format!("{three}, burst => 2")), "t 1 -");
    assert_eq!(limit(&mut client, &a_month("Three", 3)), "t 2 -");

    let costly = a_month("costly", 5);
    assert_eq!(limit(&mut client, &format!("{costly}, cost => NULL")), "t 4 -");
    assert_eq!(limit(&mut client, &format!("{costly}, cost => -1")), "t 4 -");
    assert_eq!(limit(&mut client, &format!("{costly}, cost => 3")), "t 1 -");
    // Refused, it costs nothing; more than a burst never passes, and there is no time to wait.
    let refused = limit(&mut client, &format!("{costly}, cost => 2"));
    assert!(refused.starts_with("f 1 ") && refused != "f 1 -", "{refused}");
    assert_eq!(limit(&mut client, &format!("{costly}, cost => 6")), "f 1 -");
    assert_eq!(limit(&mut client, &costly), "t 0 -");
    assert_eq!(limit(&mut client, "'most', 1000000, '31 days'"), "t 999999 -");
    // Once for each row, and for each column of a record that is taken apart.
    let sql = "SELECT string_agg(l.remaining::text, ' ' ORDER BY n)
                 FROM generate_series(1, 3) AS n,
                      LATERAL vpk_rate_limit('row ' || n / 2, 2, '31 days') AS l";
    assert_eq!(value(&mut client, sql, &[]), "1 1 0");
}

/// A caller that waits as long as it was told is served.
#[test]
fn a_call_passes_after_the_time_that_it_was_told() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let once = "'once', 1, '1 second'";
    assert_eq!(limit(&mut client, once), "t 0 -");
    assert_eq!(limit(&mut client, once), "f 0 1");
    client.batch_execute("SELECT pg_sleep(1)").expect("a second");
    assert_eq!(limit(&mut client, once), "t 0 -");
}

/// Nothing is written: it works where nothing may be, and stays when the caller rolls back.
#[test]
fn a_call_writes_nothing_and_is_not_taken_back() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let mut transaction = client
        .build_transaction()
        .read_only(true)
        .isolation_level(postgres::IsolationLevel::Serializable)
        .start()
        .expect("a transaction");
    let sql = "SELECT concat_ws(' ', allowed, remaining,
                                pg_current_xact_id_if_assigned() IS NULL)
                 FROM vpk_rate_limit('reader', 2, '31 days')";
    assert_eq!(value(&mut transaction, sql, &[]), "t 1 t");
    transaction.rollback().expect("its end");
    assert_eq!(limit(&mut client, &a_month("reader", 2)), "t 0 -");
}

/// Of racing calls exactly as many pass as the limit allows.
#[test]
fn exactly_as_many_racing_calls_pass_as_a_limit_allows() {
    const CLIENTS: usize = 16;
    const AMOUNT: usize = 1_000;
    let cluster = Cluster::start(&[]);
    let passed = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = cluster.client();
                    let sql = "SELECT l.allowed FROM vpk_rate_limit('raced', 1000, '31 days') AS l";
                    let statement = client.prepare(sql).expect("a statement");
                    let calls = 0..AMOUNT / 8;
                    let passes =
                        |_: &usize| client.query_one(&statement, &[]).expect("an answer").get(0);
                    calls.filter(passes).count()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client")).sum::<usize>()
    });
    assert_eq!(passed, AMOUNT);
}

/// Databases do not share what an identifier has left.
#[test]
fn databases_have_limits_of_their_own() {
    let cluster = Cluster::start(&[]);
    cluster.database("second", "UTF8");
    let two = a_month("shared", 2);
    for database in ["postgres", "second"] {
        let mut client = cluster.connect(database, "postgres");
        assert_eq!(limit(&mut client, &two), "t 1 -");
        assert_eq!(limit(&mut client, &two), "t 0 -");
        assert!(is_used_up(&limit(&mut client, &two), 2));
    }
}

/// Many identifiers neither take the place of one that is in use nor that of an account's limit.
/// For those without a place, the limit is not enforced, which is counted and told.
#[test]
fn a_million_identifiers_leave_others_alone() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let one = a_month("before the others", 1);
    assert_eq!(limit(&mut client, &one), "t 0 -");
    let unenforced = |client: &mut Client| counter(client, "limits_unenforced");
    assert_eq!(unenforced(&mut client), 0);
    let item = |client: &mut Client| {
        let sql = "SELECT concat_ws(' ', ok, detail, advice)
                     FROM vpk_doctor() WHERE item = 'rate_limits'";
        value(client, sql, &[])
    };
    assert_eq!(item(&mut client), "t every limit was enforced since the server started");

    let sql =
        "SELECT count(*) FILTER (WHERE l.allowed)::text FROM generate_series(1, 1000000) AS n,
                      LATERAL vpk_rate_limit('identifier ' || n, 1, '31 days') AS l";
    assert_eq!(value(&mut client, sql, &[]), "1000000");
    // Each place is taken by one of them, and stays taken: each takes one call of a second round.
    let slots = 65_565;
    assert_eq!(unenforced(&mut client), 1_000_000 - (slots - 1));
    assert!(is_used_up(&limit(&mut client, &one), 1));
    let passed = 1_000_000 - (slots - 1);
    assert_eq!(value(&mut client, sql, &[]), passed.to_string());
    assert_eq!(unenforced(&mut client), 2 * passed);
    let found = item(&mut client);
    let told = format!("f {} limits were not enforced since the server started, ", 2 * passed);
    assert!(found.starts_with(&told), "{found}");
    assert!(found.contains("vibepeak_keys.rate_slots"), "{found}");
    assert!(found.contains("(now 0 of 131099 are taken)"), "{found}");
    assert!(found.contains("vibepeak_keys.identifier_slots"), "{found}");
    assert!(found.contains(&format!("(now {slots} of {slots})")), "{found}");

    // As advised. What was not enforced stays counted, and is told no more.
    cluster.down();
    cluster.set(&[("vibepeak_keys.identifier_slots", "131072")]);
    cluster.up();
    let mut client = cluster.client();
    assert_eq!(unenforced(&mut client), 2 * passed);
    assert_eq!(item(&mut client), "t every limit was enforced since the server started");
    assert!(is_used_up(&limit(&mut client, &one), 1));
    assert_eq!(value(&mut client, "SHOW vibepeak_keys.identifier_slots", &[]), "131072");
}

/// A short limit frees its place when its time has passed.
#[test]
fn places_are_used_again() {
    let cluster = Cluster::start(&[("vibepeak_keys.identifier_slots", "31")]);
    let mut client = cluster.client();
    let sql = "SELECT count(*) FILTER (WHERE l.allowed)::text FROM generate_series(1, 31) AS n,
                      LATERAL vpk_rate_limit('brief ' || n, 1, '1 second') AS l";
    for _ in 0..2 {
        assert_eq!(value(&mut client, sql, &[]), "31");
        client.batch_execute("SELECT pg_sleep(1)").expect("a second");
    }
    assert_eq!(counter(&mut client, "limits_unenforced"), 0);
}

/// The identifiers of a database that was dropped free their places.
#[test]
fn the_limits_of_a_dropped_database_are_forgotten() {
    let settings = [FLUSH_EVERY_100MS, &[("vibepeak_keys.identifier_slots", "31")]].concat();
    let cluster = Cluster::start(&settings);
    cluster.database("dropped", "UTF8");
    let sql = "SELECT count(*)::text FROM generate_series(1, 31) AS n,
                      LATERAL vpk_rate_limit('identifier ' || n, 1, '31 days') AS l";
    assert_eq!(value(&mut cluster.connect("dropped", "postgres"), sql, &[]), "31");
    let mut client = cluster.client();
    assert_eq!(limit(&mut client, &a_month("here", 1)), "t 0 -");
    assert_eq!(limit(&mut client, &a_month("here", 1)), "t 0 -", "there is no room");
    assert_eq!(counter(&mut client, "limits_unenforced"), 2);
    wait_until("it is gone", || client.batch_execute("DROP DATABASE dropped").is_ok());
    // The flush of a use looks for databases that are gone.
    let key = create(&mut client, "key");
    assert_eq!(verify(&mut client, &key.token), "VALID");
    wait_until("there is room", || {
        let before = counter(&mut client, "limits_unenforced");
        limit(&mut client, &a_month("here", 1));
        counter(&mut client, "limits_unenforced") == before
    });
    assert!(is_used_up(&limit(&mut client, &a_month("here", 1)), 1));
}

/// A standby limits by itself, as it writes nothing.
#[test]
fn a_standby_limits_on_its_own() {
    let primary = Cluster::start(&[]);
    let standby = primary.standby();
    let mut clients = [primary.client(), standby.client()];
    let [admin, reader] = &mut clients;
    caught_up(admin, reader);
    for client in [admin, reader] {
        assert_eq!(limit(client, &a_month("fleet", 1)), "t 0 -");
        assert!(is_used_up(&limit(client, &a_month("fleet", 1)), 1));
    }
}

/// Without the memory nothing can be limited, and the caller is told what to do.
#[test]
fn a_server_without_preloading_says_that_it_limits_nothing() {
    let cluster = Cluster::start(&[("shared_preload_libraries", "")]);
    let mut client = cluster.client();
    let sql = "SELECT * FROM vpk_rate_limit('a', 1, '1 second')";
    let error = client.batch_execute(sql).expect_err("it is not preloaded");
    let found = crate::support::report(&error);
    assert!(found.starts_with("55000 this server cannot limit rates"), "{found}");
    assert!(found.contains("shared_preload_libraries"), "{found}");
    // A wrong argument is told first.
    let sql = "SELECT * FROM vpk_rate_limit('a', 0, '1 second')";
    assert_eq!(sqlstate(sql, client.batch_execute(sql)), "22023");
    assert!(pid(&mut client) > 0, "the session goes on");
}
