//! What the first calls of a session cost.

use std::path::Path;
use std::time::Instant;

use crate::connection::{Connection, Result};
use crate::process::processor_time;
use crate::statistics::median;

/// Statements of a new session, one after the other. TOKEN stands for a key.
const SESSIONS: [&[&str]; 5] = [
    &["SELECT vpk_verify('TOKEN')", "SELECT vpk_verify('TOKEN')"],
    // What it takes to call the function, and then to open the tables.
    &["SELECT vpk_verify('malformed')", "SELECT vpk_verify('TOKEN')"],
    // What any function takes, and then this one.
    &["SELECT bench.nothing('TOKEN')", "SELECT vpk_verify('malformed')"],
    &[
        "SELECT * FROM vpk_authenticate('Bearer TOKEN')",
        "SELECT * FROM vpk_authenticate('Bearer TOKEN')",
    ],
    &[
        "SELECT id, account FROM bench.api_keys WHERE key_hash = sha256('TOKEN')",
        "SELECT id, account FROM bench.api_keys WHERE key_hash = sha256('TOKEN')",
    ],
];

/// Prints a table: for each statement the microseconds of the client's clock, and those of the
/// server process's processor time, after `SELECT 1`.
pub fn report(server: &Path, rounds: usize) -> Result<()> {
    let token = Connection::open(server)?.value("SELECT token FROM bench.one_key LIMIT 1")?;
    let mut clock = SESSIONS.map(|session| vec![Vec::new(); session.len()]);
    let mut processor = clock.clone();
    for _ in 0..rounds {
        for (session, statements) in SESSIONS.iter().enumerate() {
            let mut connection = Connection::open(server)?;
            connection.query("SELECT 1")?;
            for (statement, sql) in statements.iter().enumerate() {
                let sql = sql.replace("TOKEN", &token);
                let before = processor_time(connection.backend)?;
                let began = Instant::now();
                connection.query(&sql)?;
                clock[session][statement].push(began.elapsed().as_nanos() as f64 / 1e3);
                let after = processor_time(connection.backend)?;
                processor[session][statement].push((after - before) / 1e3);
            }
        }
    }
    println!("| statement of a new session | µs | processor µs |\n|---|--:|--:|");
    for (session, statements) in SESSIONS.iter().enumerate() {
        for (statement, sql) in statements.iter().enumerate() {
            let place = if statement == 0 { "first" } else { "then" };
            println!(
                "| {place} `{sql}` | {:.0} | {:.0} |",
                median(&clock[session][statement]),
                median(&processor[session][statement])
            );
        }
    }
    Ok(())
}
