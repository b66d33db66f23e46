//! What a call costs inside the server: many in one statement, less the same with a function that
//! does nothing. Measured is the processor time of the server process.

use std::fmt::Write as _;
use std::path::Path;

use crate::cells::is_wanted;
use crate::connection::{Connection, Result};
use crate::process::{memory, processor_time};
use crate::reach::{self, Limit};
use crate::statistics::{median, turns};
use crate::work::Writer;

/// Where a statement calls a function for each row of a table of tokens.
#[derive(Clone, Copy)]
enum Call {
    /// In the target list, with the token.
    Target(&'static str),
    /// In FROM, as an item that has the column `status`.
    From(&'static str),
}

const VERIFY: Call = Call::Target("vpk_verify");
const NOTHING: Call = Call::Target("bench.nothing");

/// What finds a key and returns one value; the last is subtracted from the others.
const VALUES: [Call; 4] =
    [VERIFY, Call::Target("bench.spi_lookup"), Call::Target("bench.index_lookup"), NOTHING];

/// What returns a row, beside vpk_verify in two places.
const ROWS: [Call; 4] = [
    VERIFY,
    Call::From("bench.empty_answer(t.header) AS a"),
    Call::From("vpk_verify(t.token) AS a(status)"),
    Call::From("vpk_authenticate(t.header) AS a"),
];

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

/// Each case, idle and at work, with its name.
fn cases() -> impl Iterator<Item = (&'static Case, bool, String)> {
    CASES.iter().flat_map(|case| {
        [(false, "idle"), (true, "at work")]
            .map(|(at_work, state)| (case, at_work, format!("{}, {state}", case.name)))
    })
}

/// The nanoseconds of a call of each of these, in each round.
fn costs<const N: usize>(
    server: &Path,
    case: &Case,
    at_work: bool,
    calls: [Call; N],
    rounds: usize,
) -> Result<[Vec<f64>; N]> {
    let writer = if at_work { Some(Writer::start(server)?) } else { None };
    let mut tokens = Slices::of(server, case)?;
    let mut costs = [const { Vec::new() }; N];
    for round in 0..rounds {
        for turn in turns(N, round) {
            costs[turn].push(turn_of(server, case, calls[turn], &mut tokens)?);
        }
    }
    writer.map(Writer::finish).transpose()?;
    Ok(costs)
}

/// How much more each round of one took than that of the other.
fn above(costs: &[f64], others: &[f64]) -> Vec<f64> {
    costs.iter().zip(others).map(|(cost, other)| cost - other).collect()
}

/// Runs all cases of functions that return a value, and returns the table.
pub fn report(server: &Path, rounds: usize) -> Result<String> {
    let mut table = String::from(
        "| token | vpk_verify | kept SPI plan | index scan | of the SPI plan | of the index scan | buffers: vpk_verify | SPI plan | index scan |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for (case, at_work, name) in cases() {
        check(server, case)?;
        let [verify, spi, scan, nothing] = costs(server, case, at_work, VALUES, rounds)?;
        let costs = [verify, spi, scan].map(|costs| above(&costs, &nothing));
        let ratio = |other: usize| {
            let ratios: Vec<f64> = costs[0].iter().zip(&costs[other]).map(|(a, b)| a / b).collect();
            median(&ratios)
        };
        write!(table, "| {name} ")?;
        for costs in &costs {
            write!(table, "| {:.0} ", median(costs))?;
        }
        write!(table, "| {:.2} | {:.2} ", ratio(1), ratio(2))?;
        let mut tokens = Slices::of(server, case)?;
        let nothing = pages(server, case, NOTHING, &mut tokens)?;
        for call in &VALUES[..3] {
            let pages = (pages(server, case, *call, &mut tokens)? - nothing).max(0.0);
            write!(table, "| {:.2} ", pages / CALLS as f64)?;
        }
        table.push_str("|\n");
    }
    Ok(table)
}

/// What functions that return a row cost in one case, in each round.
pub struct Rows {
    name: String,
    costs: [Vec<f64>; 4],
}

/// Runs the cases whose names are wanted with functions that return a row.
pub fn rows(server: &Path, rounds: usize, wanted: &str) -> Result<Vec<Rows>> {
    let mut all = Vec::new();
    for (case, at_work, name) in cases() {
        let name = format!("inside, {name}");
        if is_wanted(&name, wanted) {
            check(server, case)?;
            all.push(Rows { name, costs: costs(server, case, at_work, ROWS, rounds)? });
        }
    }
    Ok(all)
}

/// The nanoseconds of these as a table.
pub fn table_of_rows(all: &[Rows]) -> Result<String> {
    let mut table = String::from(
        "| token | vpk_verify in the target list | in FROM: empty function | vpk_verify | vpk_authenticate | above vpk_verify in FROM | in the target list |\n\
         |---|--:|--:|--:|--:|--:|--:|\n",
    );
    for Rows { name, costs } in all {
        let [target, _, from, authenticate] = costs;
        write!(table, "| {name} ")?;
        for costs in costs {
            write!(table, "| {:.0} ", median(costs))?;
        }
        for other in [from, target] {
            write!(table, "| {:+.0} ", median(&above(authenticate, other)))?;
        }
        table.push_str("|\n");
    }
    Ok(table)
}

/// The aim for them: with keys that the session knows, the details of a key cost no more
/// than so much.
pub fn reach_of_rows(all: &[Rows]) -> Result<String> {
    let mut table = reach::heading();
    for Rows { name, costs: [_, _, verify, authenticate] } in all {
        let micros: Vec<f64> =
            above(authenticate, verify).iter().map(|nanos| nanos / 1e3).collect();
        let in_use = ["one key", "10 k in use"].iter().any(|case| name.contains(case));
        let limit = if in_use { Limit::Above(1.2) } else { Limit::ShownAbove };
        let what = "`vpk_authenticate` beside `vpk_verify`, in FROM";
        reach::line(&mut table, name, what, limit, &micros, "")?;
    }
    Ok(table)
}

/// The costs of a call in each round, on two servers.
type Pair = [Vec<f64>; 2];

/// What a call of vpk_verify costs on two servers with the same keys, in turns: for each case, the
/// nanoseconds of each round.
pub fn costs_of_versions(servers: [&Path; 2], rounds: usize) -> Result<Vec<(&'static str, Pair)>> {
    let mut all = Vec::new();
    for case in &CASES {
        let mut tokens = Vec::new();
        for server in servers {
            check(server, case)?;
            tokens.push(Slices::of(server, case)?);
        }
        let mut costs = Pair::default();
        for round in 0..rounds {
            for turn in turns(2, round) {
                let (server, tokens) = (servers[turn], &mut tokens[turn]);
                let nothing = turn_of(server, case, NOTHING, tokens)?;
                let verify = turn_of(server, case, VERIFY, tokens)?;
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
    fn statement(&mut self, case: &Case, call: Call) -> String {
        let from = self.next % self.count * CALLS;
        self.next += 1;
        let to = from + CALLS;
        format!("{} WHERE t.position > {from} AND t.position <= {to}", select(case.table, call))
    }
}

/// The statement that calls a function for each token of a table.
fn select(table: &str, call: Call) -> String {
    match call {
        Call::Target(function) => {
            format!("SELECT count({function}(t.token)) FROM bench.{table} AS t")
        }
        Call::From(item) => {
            format!("SELECT count(a.status) FROM bench.{table} AS t CROSS JOIN LATERAL {item}")
        }
    }
}

/// A session that has called the function before: for the tokens of the case, or where they are to
/// be new to it, for others.
fn session(server: &Path, case: &Case, call: Call) -> Result<Connection> {
    let mut session = Connection::open(server)?;
    let table = if case.fresh { "unknown" } else { case.table };
    session.query("SET jit = off")?;
    session.query(&select(table, call))?;
    Ok(session)
}

/// Nanoseconds of processor time for each call of a function.
fn turn_of(server: &Path, case: &Case, call: Call, tokens: &mut Slices) -> Result<f64> {
    let mut session = session(server, case, call)?;
    let statements = if case.fresh { 1 } else { STATEMENTS };
    let before = processor_time(session.backend)?;
    for _ in 0..statements {
        session.value(&tokens.statement(case, call))?;
    }
    let after = processor_time(session.backend)?;
    Ok((after - before) / (statements * CALLS) as f64)
}

/// How many pages of tables and indexes a statement looks at.
fn pages(server: &Path, case: &Case, call: Call, tokens: &mut Slices) -> Result<f64> {
    let mut session = session(server, case, call)?;
    let sql = tokens.statement(case, call);
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
