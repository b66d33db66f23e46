//! What a call costs inside the server: many in one statement, less the same with a function that
//! does nothing. Measured is the processor time of the server process.

use std::fmt::Write as _;
use std::path::Path;

use crate::connection::{Connection, Result};
use crate::process::{memory, processor_time};
use crate::statistics::{median, turns};

const FUNCTIONS: [(&str, &str); 3] = [
    ("vpk_verify", "vpk_verify"),
    ("kept SPI plan", "bench.spi_lookup"),
    ("index scan", "bench.index_lookup"),
];
const NOTHING: &str = "bench.nothing";

struct Case {
    name: &'static str,
    table: &'static str,
    /// What vpk_verify answers, and whether a look-up finds a row.
    status: &'static str,
    found: bool,
    /// Whether the session has not seen the keys before.
    fresh: bool,
}

const CASES: [Case; 5] = [
    Case { name: "one key", table: "one_key", status: "VALID", found: true, fresh: false },
    Case { name: "10 k in use", table: "keys_in_use", status: "VALID", found: true, fresh: false },
    Case { name: "first seen", table: "every_key", status: "VALID", found: true, fresh: true },
    Case {
        name: "unknown",
        table: "unknown",
        status: "INVALID_API_KEY",
        found: false,
        fresh: false,
    },
    Case {
        name: "malformed",
        table: "malformed",
        status: "INVALID_API_KEY",
        found: false,
        fresh: false,
    },
];

/// Calls in one statement, and statements in one turn.
const CALLS: u64 = 10_000;
const STATEMENTS: u64 = 5;

/// Runs all cases and returns the table.
pub fn report(server: &Path, rounds: usize) -> Result<String> {
    let mut table = String::from(
        "| token | vpk_verify | kept SPI plan | index scan | of the SPI plan | of the index scan | buffers: vpk_verify | SPI plan | index scan |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for case in CASES {
        check(server, &case)?;
        let mut tokens = Slices::of(server, &case)?;
        let mut costs: [Vec<f64>; 3] = Default::default();
        for round in 0..rounds {
            let mut cost = [0.0; 4];
            for turn in turns(4, round) {
                let function = FUNCTIONS.get(turn).map_or(NOTHING, |function| function.1);
                cost[turn] = turn_of(server, &case, function, &mut tokens)?;
            }
            for (costs, cost_of_one) in costs.iter_mut().zip(cost) {
                costs.push(cost_of_one - cost[3]);
            }
        }
        let ratio = |other: usize| {
            let ratios: Vec<f64> = costs[0].iter().zip(&costs[other]).map(|(a, b)| a / b).collect();
            median(&ratios)
        };
        write!(table, "| {} ", case.name)?;
        for costs in &costs {
            write!(table, "| {:.0} ", median(costs))?;
        }
        write!(table, "| {:.2} | {:.2} ", ratio(1), ratio(2))?;
        let nothing = pages(server, &case, NOTHING, &mut tokens)?;
        for (_, function) in FUNCTIONS {
            let pages = (pages(server, &case, function, &mut tokens)? - nothing).max(0.0);
            write!(table, "| {:.2} ", pages / CALLS as f64)?;
        }
        table.push_str("|\n");
    }
    Ok(table)
}

/// The costs of a call in each round, on two servers.
type Pair = [Vec<f64>; 2];

/// What a call of vpk_verify costs on two servers with the same keys, in turns: for each case, the
/// nanoseconds of each round.
pub fn costs_of_versions(servers: [&Path; 2], rounds: usize) -> Result<Vec<(&'static str, Pair)>> {
    let mut all = Vec::new();
    for case in CASES {
        let mut tokens = Vec::new();
        for server in servers {
            check(server, &case)?;
            tokens.push(Slices::of(server, &case)?);
        }
        let mut costs = Pair::default();
        for round in 0..rounds {
            for turn in turns(2, round) {
                let (server, tokens) = (servers[turn], &mut tokens[turn]);
                let nothing = turn_of(server, &case, NOTHING, tokens)?;
                let verify = turn_of(server, &case, FUNCTIONS[0].1, tokens)?;
                costs[turn].push(verify - nothing);
            }
        }
        all.push((case.name, costs));
    }
    Ok(all)
}

/// What a session that verifies more and more keys takes up, as a sentence.
pub fn memory_report(server: &Path) -> Result<String> {
    let mut database = Connection::open(server)?;
    database.query("SET jit = off")?;
    let mut after = |keys: &str| -> Result<f64> {
        database.value(&format!(
            "SELECT count(vpk_verify(token)) FROM bench.every_key WHERE position <= {keys}"
        ))?;
        Ok(memory(database.backend)? / 1024.0)
    };
    let (one, some) = (after("1")?, after("10000")?);
    let all = after("(SELECT count(*) FROM bench.every_key)")?;
    Ok(format!(
        "Memory of a session's own: {one:.1} MiB after the first key, {some:.1} MiB after 10 k different keys,\n\
         {all:.1} MiB after all of them."
    ))
}

/// Every answer is the right one.
fn check(server: &Path, case: &Case) -> Result<()> {
    let wrong = Connection::open(server)?.value(&format!(
        "SELECT count(*) FROM (SELECT token FROM bench.{} LIMIT {CALLS}) AS t
          WHERE vpk_verify(token)::text <> '{}'
             OR (bench.spi_lookup(token) IS NOT NULL) <> {found}
             OR (bench.index_lookup(token) IS NOT NULL) <> {found}",
        case.table,
        case.status,
        found = case.found,
    ))?;
    if wrong == "0" {
        Ok(())
    } else {
        Err(format!("{wrong} wrong answers for tokens of bench.{}", case.table).into())
    }
}

/// The rows of a case's table, taken in slices of as many as there are calls in one statement, each
/// time the next: what one statement has read is not what the next one finds in the caches.
struct Slices {
    count: u64,
    next: u64,
}

impl Slices {
    fn of(server: &Path, case: &Case) -> Result<Self> {
        let sql = format!("SELECT count(*) FROM bench.{}", case.table);
        let rows: u64 = Connection::open(server)?.value(&sql)?.parse()?;
        Ok(Self { count: (rows / CALLS).max(1), next: 0 })
    }

    /// The statement that calls a function for each token of the next one.
    fn statement(&mut self, case: &Case, function: &str) -> String {
        let from = self.next % self.count * CALLS;
        self.next += 1;
        format!(
            "SELECT count({function}(token)) FROM bench.{} WHERE position > {from} AND position <= {}",
            case.table,
            from + CALLS
        )
    }
}

/// A session that has called the function before: for the tokens of the case, or where they are to
/// be new to it, for others.
fn session(server: &Path, case: &Case, function: &str) -> Result<Connection> {
    let mut session = Connection::open(server)?;
    let table = if case.fresh { "unknown" } else { case.table };
    session.query("SET jit = off")?;
    session.query(&format!("SELECT count({function}(token)) FROM bench.{table}"))?;
    Ok(session)
}

/// Nanoseconds of processor time for each call of a function.
fn turn_of(server: &Path, case: &Case, function: &str, tokens: &mut Slices) -> Result<f64> {
    let mut session = session(server, case, function)?;
    let statements = if case.fresh { 1 } else { STATEMENTS };
    let before = processor_time(session.backend)?;
    for _ in 0..statements {
        session.value(&tokens.statement(case, function))?;
    }
    let after = processor_time(session.backend)?;
    Ok((after - before) / (statements * CALLS) as f64)
}

/// How many pages of tables and indexes a statement looks at.
fn pages(server: &Path, case: &Case, function: &str, tokens: &mut Slices) -> Result<f64> {
    let mut session = session(server, case, function)?;
    let sql = tokens.statement(case, function);
    let plan =
        session.query(&format!("EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) {sql}"))?;
    let line = plan
        .iter()
        .flatten()
        .flatten()
        .find(|line| line.contains("Buffers: shared"))
        .ok_or("a plan without its buffers")?;
    Ok(line
        .split(' ')
        .filter_map(|word| word.strip_prefix("hit=").or(word.strip_prefix("read=")))
        .filter_map(|number| number.parse::<f64>().ok())
        .sum())
}
