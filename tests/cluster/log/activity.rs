//! G5: no key is readable in pg_stat_activity, from when its statement was parsed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::keys::create;
use crate::support::redaction::{exposed, redacted};
use crate::support::usage::Done;
use crate::support::{Client, Cluster, pid, report, value, wait_for_lock, wait_until};

/// Statements that wait for the test's lock.
const WAITING: [&str; 6] = [
    "SELECT pg_advisory_xact_lock(7), 'KEY'",
    "SELECT /* KEY */ pg_advisory_xact_lock(7) AS KEY WHERE 'KEY' <> 'a'",
    "DO $$ BEGIN PERFORM 'KEY', pg_advisory_xact_lock(7); END $$",
    "EXPLAIN ANALYZE SELECT pg_advisory_xact_lock(7), 'KEY'",
    "CREATE TEMPORARY TABLE t ON COMMIT DROP AS SELECT pg_advisory_xact_lock(7) IS NULL AS b, 'KEY'",
    "EXECUTE prepared('KEY')",
];

/// More of them, that only the simple protocol takes.
const TOGETHER: [&str; 2] = [
    "BEGIN; DECLARE c CURSOR FOR SELECT pg_advisory_xact_lock(7), 'KEY'; FETCH c; COMMIT",
    "SELECT 1; PREPARE again AS SELECT pg_advisory_xact_lock(7), 'KEY'; EXECUTE again;
     DEALLOCATE again; SELECT 'KEY'",
];

/// What is shown of a session.
#[derive(Debug, PartialEq)]
struct Shown {
    state: String,
    query: String,
    query_id: Option<i64>,
}

/// A session that is looked at by another.
struct Watched {
    admin: Client,
    client: Option<Client>,
    pid: i32,
}

impl Watched {
    fn new(cluster: &Cluster) -> Watched {
        let mut client = cluster.client();
        let pid = pid(&mut client);
        Watched { admin: cluster.client(), client: Some(client), pid }
    }

    fn shown(&mut self) -> Shown {
        let sql = "SELECT state, query, query_id FROM pg_stat_activity WHERE pid = $1";
        let row = self.admin.query_one(sql, &[&self.pid]).expect("the session");
        Shown { state: row.get(0), query: row.get(1), query_id: row.get(2) }
    }

    fn client(&mut self) -> &mut Client {
        self.client.as_mut().expect("it does not run")
    }

    /// What is shown while something waits for the lock, and when it is over.
    fn during(&mut self, run: impl FnOnce(&mut Client) + Send + 'static) -> [Shown; 2] {
        self.admin.batch_execute("SELECT pg_advisory_lock(7)").expect("the lock");
        let mut client = self.client.take().expect("it does not run");
        let running = thread::spawn(move || {
            run(&mut client);
            client
        });
        wait_for_lock(&mut self.admin, self.pid);
        let waiting = self.shown();
        self.admin.batch_execute("SELECT pg_advisory_unlock(7)").expect("the lock");
        self.client = Some(running.join().expect("its end"));
        self.idle();
        [waiting, self.shown()]
    }

    /// The state is reported after the client has its answer.
    fn idle(&mut self) {
        wait_until("the session is idle", || self.shown().state.starts_with("idle"));
    }

    fn simple(&mut self, sql: &str) -> [Shown; 2] {
        let sql = sql.to_owned();
        self.during(move |client| {
            client.simple_query(&sql).unwrap_or_else(|error| panic!("{sql}: {}", report(&error)));
        })
    }

    /// Parsed once, bound and executed twice.
    fn extended(&mut self, sql: &str) -> [Shown; 4] {
        let statement = self.client().prepare(sql).expect("a statement");
        let again = statement.clone();
        let [first, second] = self.during(move |client| {
            client.query(&statement, &[]).expect("its first run");
        });
        let [third, fourth] = self.during(move |client| {
            client.query(&again, &[]).expect("its second run");
        });
        [first, second, third, fourth]
    }

    /// The same redacted text is shown from now on.
    fn assert_redacted(&mut self, sql: &str, token: &str, shown: &[Shown]) {
        for shown in shown {
            assert_eq!(exposed(&shown.query, token), None, "{shown:?}");
            let asterisks = sql.replace("KEY", &redacted(token));
            let letters = sql.replace("KEY", &redacted(token).replace('*', "x"));
            assert!(shown.query == asterisks || shown.query == letters, "{sql}: {shown:?}");
        }
    }
}

/// G5: while a statement with a key runs and when it is over, in both protocols; the statement's id
/// is the same as without redaction.
#[test]
fn activity_shows_no_key() {
    let cluster = Cluster::start(&[("compute_query_id", "on")]);
    let token = create(&mut cluster.client(), "active").token;
    let mut watched = Watched::new(&cluster);
    let prepare = "PREPARE prepared(text) AS SELECT pg_advisory_xact_lock(7), 'KEY', $1"
        .replace("KEY", &token);
    watched.client().simple_query(&prepare).expect("prepared");
    watched.idle();
    let shown = watched.shown();
    watched.assert_redacted(&prepare.replace(&token, "KEY"), &token, &[shown]);

    for sql in WAITING.iter().chain(&TOGETHER) {
        let together = TOGETHER.contains(sql);
        let text = sql.replace("KEY", &token);
        let simple = watched.simple(&text);
        watched.assert_redacted(sql, &token, &simple);
        assert_eq!(simple[0].state, "active");
        assert!(simple[0].query.contains("****"), "{simple:?}");
        assert!(simple[0].query_id.is_some(), "{simple:?}");
        let extended = if together { None } else { Some(watched.extended(&text)) };
        if let Some(extended) = &extended {
            watched.assert_redacted(sql, &token, extended);
            assert_eq!(extended[0].query_id, simple[0].query_id, "{sql}");
        }

        watched.client().batch_execute("SET vibepeak_keys.redact_logs = off").expect("a setting");
        let unredacted = watched.simple(&text);
        assert_eq!(unredacted[0].query, text, "the test looks in the right place");
        assert_eq!(unredacted.map(|shown| shown.query_id), simple.map(|shown| shown.query_id));
        if let Some(extended) = extended {
            let unredacted = watched.extended(&text);
            let ids = |shown: [Shown; 4]| shown.map(|shown| shown.query_id);
            assert_eq!(ids(unredacted), ids(extended), "{sql}");
        }
        watched.client().batch_execute("SET vibepeak_keys.redact_logs = on").expect("a setting");
    }
}

/// G5: after errors, logged or not, and in a transaction that is left alone.
#[test]
fn activity_of_an_idle_session_shows_no_key() {
    let cluster = Cluster::start(&[]);
    let token = create(&mut cluster.client(), "idle").token;
    let mut watched = Watched::new(&cluster);
    for level in ["warning", "fatal"] {
        let set = format!("SET log_min_messages = {level}");
        watched.client().batch_execute(&set).expect("a setting");
        for (before, sql, state) in [
            ("", "SELEC 'KEY'", "idle"),
            ("", "SELECT nothing('KEY')", "idle"),
            ("", "SELECT 'KEY'::uuid", "idle"),
            ("", "SELECT 'KEY", "idle"),
            ("BEGIN", "SELECT 'KEY'", "idle in transaction"),
            ("BEGIN", "SELEC 'KEY'", "idle in transaction (aborted)"),
            ("BEGIN", "SELECT 'KEY'::uuid", "idle in transaction (aborted)"),
            ("BEGIN; SAVEPOINT s", "SELEC 'KEY'", "idle in transaction (aborted)"),
        ] {
            for extended in [false, true] {
                let text = sql.replace("KEY", &token);
                watched.client().batch_execute(before).expect("a transaction");
                let failed = if extended {
                    watched.client().query(&text, &[]).is_err()
                } else {
                    watched.client().simple_query(&text).is_err()
                };
                assert_eq!(failed, state != "idle in transaction", "{sql}");
                wait_until("the session is idle", || watched.shown().state == state);
                let shown = watched.shown();
                watched.assert_redacted(sql, &token, &[shown]);
                watched.client().batch_execute("ROLLBACK").expect("a rollback");
            }
        }
    }
}

/// G5: a statement that is refused since its transaction has failed, and one that waits while it is
/// planned.
#[test]
fn activity_before_and_after_planning_shows_no_key() {
    let cluster = Cluster::start(&[]);
    let token = create(&mut cluster.client(), "planned").token;
    let mut watched = Watched::new(&cluster);
    let sql = "SELECT 'KEY'";
    watched.client().batch_execute("BEGIN; SELECT 1/0").expect_err("a failed transaction");
    for extended in [false, true] {
        let text = sql.replace("KEY", &token);
        let client = watched.client();
        let refused = if extended {
            client.query(&text, &[]).err()
        } else {
            client.simple_query(&text).err()
        };
        let refused = refused.and_then(|error| error.code().cloned()).expect("it is refused");
        assert_eq!(refused.code(), "25P02");
        watched.idle();
        let shown = watched.shown();
        watched.assert_redacted(sql, &token, &[shown]);
    }
    watched.client().batch_execute("ROLLBACK").expect("a rollback");

    let function = "CREATE FUNCTION waits() RETURNS int IMMUTABLE LANGUAGE plpgsql
        AS $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN 1; END $$";
    watched.client().batch_execute(function).expect("a function");
    let sql = "SELECT waits(), 'KEY'";
    let statement = watched.client().prepare(&sql.replace("KEY", &token)).expect("a statement");
    let shown = watched.during(move |client| {
        client.query(&statement, &[]).expect("its answer");
    });
    watched.assert_redacted(sql, &token, &shown);
}

/// G5: a prepared statement that waits for its table before it is planned, and a utility statement
/// between Bind and Execute. Bind shows the text that the plan cache has kept.
#[test]
fn activity_of_a_bound_statement_shows_no_key() {
    let cluster = Cluster::start(&[]);
    let token = create(&mut cluster.client(), "bound").token;
    let mut watched = Watched::new(&cluster);
    watched.client().batch_execute("CREATE TABLE texts (t text)").expect("a table");
    let sql = "SELECT 'KEY' FROM texts";
    let statement = watched.client().prepare(&sql.replace("KEY", &token)).expect("a statement");
    watched.admin.batch_execute("BEGIN; LOCK TABLE texts").expect("the lock");
    let mut client = watched.client.take().expect("it does not run");
    let running = thread::spawn(move || {
        client.query(&statement, &[]).expect("its answer");
        client
    });
    wait_for_lock(&mut watched.admin, watched.pid);
    let shown = watched.shown();
    watched.admin.batch_execute("COMMIT").expect("the lock");
    watched.client = Some(running.join().expect("its end"));
    watched.assert_redacted(sql, &token, &[shown]);

    let sql = "EXPLAIN SELECT 'KEY'";
    let mut client = watched.client.take().expect("it does not run");
    let mut transaction = client.transaction().expect("a transaction");
    let portal = transaction.bind(&sql.replace("KEY", &token), &[]).expect("a portal");
    wait_until("the session is idle", || watched.shown().state == "idle in transaction");
    let shown = watched.shown();
    watched.assert_redacted(sql, &token, &[shown]);
    drop(portal);
    transaction.commit().expect("its end");
}

/// G5: parallel workers show the statement that they work for, which may be a nested one.
#[test]
fn activity_of_parallel_workers_shows_no_key() {
    let cluster = Cluster::start(&[]);
    let token = create(&mut cluster.client(), "parallel").token;
    let mut watched = Watched::new(&cluster);
    let function = "CREATE FUNCTION runs(sql text) RETURNS void LANGUAGE plpgsql
        AS $$ BEGIN EXECUTE sql; END $$";
    watched.client().batch_execute(function).expect("a function");
    let name = "SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')";
    let name = value(watched.client(), name, &[]);
    watched.client().batch_execute(&format!("SET {name} = on")).expect("a setting");
    let nested = "SELECT runs($$ SELECT pg_sleep(0.5), 'KEY' $$)";
    for sql in ["SELECT pg_sleep(0.5), 'KEY'", nested] {
        let text = sql.replace("KEY", &token);
        let mut client = watched.client.take().expect("it does not run");
        // Again and again, until a worker was seen.
        let seen = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&seen);
        let running = thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                client.simple_query(&text).expect("its end");
            }
            client
        });
        let mut query = String::new();
        let end = Done(&seen);
        wait_until("a worker runs", || {
            let sql = "SELECT query FROM pg_stat_activity WHERE leader_pid = $1 AND query <> ''";
            let row = watched.admin.query_opt(sql, &[&watched.pid]).expect("the workers");
            row.map(|row| query = row.get(0)).is_some()
        });
        drop(end);
        watched.client = Some(running.join().expect("its end"));
        assert_eq!(exposed(&query, &token), None, "{query}");
        assert!(query.contains(&token[..13]), "{query}");
        assert_eq!(query.starts_with(" SELECT pg_sleep"), sql == nested, "{query}");
    }
}
