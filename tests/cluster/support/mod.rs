//! Shared by the tests: servers, and short functions to ask them.

pub mod cluster;
pub mod companion;
pub mod contents;
pub mod copies;
pub mod history;
pub mod keys;
pub mod known;
pub mod load;
pub mod patroni;
pub mod pooler;
pub mod process;
pub mod random;
pub mod recipes;
pub mod redaction;
pub mod sessions;
pub mod transcript;
pub mod usage;

use std::time::{Duration, Instant};

pub use cluster::Cluster;
pub use postgres::{Client, GenericClient};

/// How long a test waits for a state. The limit is for a test that hangs; it measures no speed.
const PATIENCE: Duration = Duration::from_secs(600);

/// Asks again until `so` returns true.
pub fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "still waiting until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A text with values where their names stand. A value is never searched for names: the letters of
/// a token can spell one.
pub fn filled(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::new();
    let mut rest = text;
    loop {
        let first = values.iter().filter_map(|(name, value)| {
            let at = rest.find(name)?;
            Some((at, at + name.len(), value))
        });
        let Some((from, to, value)) = first.min() else { return filled + rest };
        filled += &rest[..from];
        filled += value;
        rest = &rest[to..];
    }
}

/// The first value of a query's only row, as its text.
pub fn value(
    client: &mut impl GenericClient,
    sql: &str,
    parameters: &[&(dyn postgres::types::ToSql + Sync)],
) -> String {
    match client.query_one(sql, parameters) {
        Ok(row) => row.get::<_, Option<String>>(0).unwrap_or_default(),
        Err(error) => panic!("{sql}: {}", report(&error)),
    }
}

/// What the server said, in one line: SQLSTATE, message, and the rest where there is any.
pub fn report(error: &postgres::Error) -> String {
    let Some(error) = error.as_db_error() else { return error.to_string() };
    let rest = [error.detail(), error.hint(), error.where_()];
    let rest: Vec<&str> = rest.into_iter().flatten().collect();
    format!("{} {} {}", error.code().code(), error.message(), rest.join(" / "))
}

/// The SQLSTATE of a statement that has to fail.
pub fn sqlstate<T>(what: &str, result: Result<T, postgres::Error>) -> String {
    match result {
        Ok(_) => panic!("{what}: no error"),
        Err(error) => match error.code() {
            Some(code) => code.code().to_owned(),
            None => panic!("{what}: {error}"),
        },
    }
}

/// The number of this connection's server process.
pub fn pid(client: &mut impl GenericClient) -> i32 {
    client.query_one("SELECT pg_backend_pid()", &[]).expect("its own number").get(0)
}

/// Waits until a server process waits for a lock that another holds.
pub fn wait_for_lock(observer: &mut impl GenericClient, pid: i32) {
    wait_until("the other session waits for a lock", || {
        let sql = "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)";
        observer.query_one(sql, &[&pid]).expect("the locks").get(0)
    });
}

/// Waits until the standby has replayed all that the primary has committed.
pub fn caught_up(primary: &mut Client, standby: &mut Client) {
    // A commit that is flushed: what a VACUUM, say, has written last might wait.
    value(primary, "SELECT pg_logical_emit_message(true, 'here', '')::text", &[]);
    let committed = value(primary, "SELECT pg_current_wal_flush_lsn()::text", &[]);
    wait_until("the standby has caught up", || {
        let sql = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
        // Replay may cancel any query.
        standby.query_one(sql, &[&committed]).is_ok_and(|row| row.get(0))
    });
}

/// The top of a statement's plan, after it has run, with the buffers it touched.
pub fn explain(client: &mut Client, sql: &str) -> serde_json::Value {
    let sql = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}");
    let messages = client.simple_query(&sql).unwrap_or_else(|error| panic!("{}", report(&error)));
    let plan = messages.iter().find_map(|message| match message {
        postgres::SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let plan: serde_json::Value = serde_json::from_str(plan.expect("a plan")).expect("JSON");
    plan[0]["Plan"].clone()
}

/// How many buffers a statement touches.
pub fn buffers(client: &mut Client, sql: &str) -> u64 {
    let plan = explain(client, sql);
    ["Shared Hit Blocks", "Shared Read Blocks", "Local Hit Blocks", "Local Read Blocks"]
        .iter()
        .map(|name| plan[name].as_u64().expect("a number"))
        .sum()
}
