//! Starting and finishing concurrent tasks, beside what people write.

use std::fmt::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::cells::{Protocol, is_wanted};
use crate::competitors::{Competitor, Kind};
use crate::connection::{Connection, Result, ServerError};
use crate::load::histogram;
use crate::process;
use crate::processors::Awake;
use crate::request::Request;
use crate::statistics::{median, turns};

/// A way to start a task for a token and to finish it.
struct Way {
    /// The table of its leases.
    table: &'static str,
    start: Competitor,
    /// Where the lease is in the row that the start answers with.
    lease: usize,
    finish: Competitor,
    setting: Option<&'static str>,
}

const fn statement(sql: &'static str) -> Competitor {
    Competitor::new(sql, sql, Kind::Row)
}

const OURS: usize = 0;
const WAYS: [Way; 3] = [
    Way {
        table: "vpk.task_leases",
        start: statement("SELECT * FROM vpk_task_start($1)"),
        lease: 2,
        finish: statement("SELECT vpk_task_finish($1::uuid)"),
        setting: None,
    },
    Way {
        table: "bench.advisory_leases",
        start: statement("SELECT bench.start_task($1)"),
        lease: 0,
        finish: statement(
            "DELETE FROM bench.advisory_leases WHERE lease = $1::uuid RETURNING true",
        ),
        setting: None,
    },
    Way {
        table: "bench.serializable_leases",
        start: statement(
            "INSERT INTO bench.serializable_leases (lease, account, key_id, started_at, expires_at) \
             SELECT gen_random_uuid(), k.account, k.id, now(), now() + interval '15 min' \
               FROM bench.keys AS k JOIN bench.accounts AS a ON a.account = k.account \
               JOIN bench.plans AS p ON p.plan = a.plan \
               LEFT JOIN bench.serializable_leases AS l \
                 ON l.account = k.account AND l.expires_at > now() \
              WHERE k.key_hash = sha256($1::bytea) AND p.api_access AND k.revoked_at IS NULL \
                AND (k.expires_at IS NULL OR k.expires_at > now()) \
              GROUP BY k.id, k.account, p.concurrent_tasks \
             HAVING count(l.lease) < p.concurrent_tasks \
             RETURNING lease",
        ),
        lease: 0,
        finish: statement(
            "DELETE FROM bench.serializable_leases WHERE lease = $1::uuid RETURNING true",
        ),
        setting: Some("SET default_transaction_isolation = serializable"),
    },
];

/// The clients, one token each.
const CLIENTS: usize = 8;

/// A situation in which the ways are compared.
struct Situation {
    /// Leases that were taken and finished before.
    before: u64,
    /// Whether the table has been vacuumed since.
    vacuumed: bool,
    /// Whether each client has an account of its own.
    own_accounts: bool,
    /// Whether a commit waits for the disk.
    waits: bool,
}

impl Situation {
    fn name(&self) -> String {
        let accounts = if self.own_accounts { "8 accounts" } else { "one account" };
        let vacuumed = if self.vacuumed { "" } else { ", not vacuumed" };
        let commit = if self.waits { "commits wait" } else { "commits do not wait" };
        format!("{} leases before{vacuumed}, {accounts}, {commit}", self.before)
    }
}

/// What a way reached, of each round.
#[derive(Default)]
struct Score {
    per_second: Vec<f64>,
    processor_time: Vec<f64>,
    retries: u64,
    tasks: u64,
}

/// Compares the ways in each situation whose name is wanted, and prints a table.
pub fn report(
    server: &Path,
    leases: &[u64],
    rounds: usize,
    time: Duration,
    wanted: &str,
) -> Result<()> {
    let mut control = Connection::open(server)?;
    println!(
        "| leases before, accounts, commit | vpk_task_start | advisory lock | SERIALIZABLE | of the advisory lock | of SERIALIZABLE | p50 µs | | | p99 µs | | | server µs | | | retries |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    );
    for situation in situations(leases) {
        let name = situation.name();
        if !is_wanted(&name, wanted) {
            continue;
        }
        let mut scores: [Score; 3] = Default::default();
        let mut latencies = [histogram()?, histogram()?, histogram()?];
        for round in 0..rounds {
            for turn in turns(WAYS.len(), round) {
                prepare(&mut control, &WAYS[turn], &situation)?;
                let _awake = Awake::keep()?;
                run(server, &WAYS[turn], &situation, time, &mut scores[turn], &mut latencies[turn])
                    .map_err(|error| format!("{name}: {}: {error}", WAYS[turn].table))?;
            }
        }
        println!("{}", line(&name, &scores, &latencies)?);
    }
    Ok(())
}

fn situations(leases: &[u64]) -> Vec<Situation> {
    let mut all = Vec::new();
    for &before in leases {
        for vacuumed in [true, false] {
            // Without a vacuum, a few make no difference.
            if !vacuumed && before < 10_000 {
                continue;
            }
            for own_accounts in [true, false] {
                for waits in [true, false] {
                    all.push(Situation { before, vacuumed, own_accounts, waits });
                }
            }
        }
    }
    all
}

/// Empties the table of a way, and lets it have had as many leases as the situation says.
fn prepare(control: &mut Connection, way: &Way, situation: &Situation) -> Result<()> {
    let Way { table, .. } = way;
    control.query(&format!("TRUNCATE {table}"))?;
    control.query(&format!(
        "INSERT INTO {table} (lease, account, key_id, started_at, expires_at)
         SELECT gen_random_uuid(), c.account, c.id, now(), now() + interval '15 min'
           FROM generate_series(1, {}) AS i JOIN bench.clients AS c
             ON c.own_accounts = {} AND c.number = i % {CLIENTS}",
        situation.before, situation.own_accounts
    ))?;
    control.query(&format!("ANALYZE {table}"))?;
    control.query(&format!("DELETE FROM {table}"))?;
    if situation.vacuumed {
        control.query(&format!("VACUUM {table}"))?;
    }
    control.query("CHECKPOINT")?;
    Ok(())
}

struct Client {
    connection: Connection,
    token: String,
    start: Request,
    lease: usize,
    finish: Request,
    retries: u64,
}

impl Client {
    fn open(server: &Path, way: &Way, situation: &Situation, number: usize) -> Result<Self> {
        let mut connection = Connection::open(server)?;
        let token = connection.value(&format!(
            "SELECT token FROM bench.clients WHERE own_accounts = {} AND number = {number}",
            situation.own_accounts
        ))?;
        if !situation.waits {
            connection.query("SET synchronous_commit = off")?;
        }
        if let Some(setting) = way.setting {
            connection.query(setting)?;
        }
        let mut prepare = |name, statement, length| {
            Request::prepare_as(name, statement, Protocol::Prepared, length, &mut connection)
        };
        let start = prepare("start", &way.start, token.len())?;
        let finish = prepare("finish", &way.finish, "00000000-0000-0000-0000-000000000000".len())?;
        Ok(Self { connection, token, start, lease: way.lease, finish, retries: 0 })
    }

    fn task(&mut self) -> Result<()> {
        let start = self.start.with(self.token.as_bytes());
        let started = retried(&mut self.connection, start, &mut self.retries, self.lease)?;
        let lease = started.ok_or("a task was refused")?;
        let finish = self.finish.with(lease.as_bytes());
        match retried(&mut self.connection, finish, &mut self.retries, 0)?.as_deref() {
            Some("t") => Ok(()),
            other => Err(format!("a task was not finished: {other:?}").into()),
        }
    }

    fn run(&mut self, time: Duration) -> Result<(f64, Histogram<u32>)> {
        // What the session plans at its first calls.
        for _ in 0..10 {
            self.task()?;
        }
        let mut latencies = histogram()?;
        let began = Instant::now();
        let mut last = began;
        loop {
            self.task()?;
            let now = Instant::now();
            latencies.record((now - last).as_nanos() as u64)?;
            last = now;
            if now - began >= time {
                return Ok(((now - began).as_secs_f64(), latencies));
            }
        }
    }
}

/// A column of the row that a request answers with. After a serialization failure it is sent again.
fn retried(
    connection: &mut Connection,
    request: &[u8],
    retries: &mut u64,
    column: usize,
) -> Result<Option<String>> {
    loop {
        match connection.row(request) {
            Ok(row) => return Ok(row.and_then(|mut row| row.swap_remove(column))),
            Err(error) => match error.downcast_ref::<ServerError>() {
                Some(failed) if failed.sqlstate == "40001" => *retries += 1,
                _ => return Err(error),
            },
        }
    }
}

/// Lets all clients start and finish tasks for a while.
fn run(
    server: &Path,
    way: &Way,
    situation: &Situation,
    time: Duration,
    score: &mut Score,
    latencies: &mut Histogram<u32>,
) -> Result<()> {
    let mut clients = (0..CLIENTS)
        .map(|number| Client::open(server, way, situation, number))
        .collect::<Result<Vec<_>>>()?;
    let used = |clients: &[Client]| -> Result<f64> {
        clients.iter().map(|client| process::processor_time(client.connection.backend)).sum()
    };
    let before = used(&clients)?;
    let measured = thread::scope(|scope| {
        let threads: Vec<_> =
            clients.iter_mut().map(|client| scope.spawn(|| client.run(time))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a client panicked".into())))
            .collect::<Result<Vec<_>>>()
    })?;
    let used = used(&clients)? - before;
    let (mut per_second, mut tasks) = (0.0, 0);
    for (seconds, own) in measured {
        per_second += own.len() as f64 / seconds;
        tasks += own.len();
        latencies.add(own)?;
    }
    score.per_second.push(per_second);
    score.processor_time.push(used / tasks as f64);
    score.tasks += tasks;
    score.retries += clients.iter().map(|client| client.retries).sum::<u64>();
    Ok(())
}

fn line(name: &str, scores: &[Score; 3], latencies: &[Histogram<u32>; 3]) -> Result<String> {
    let mut line = format!("| {name} ");
    for score in scores {
        write!(line, "| {:.0} ", median(&score.per_second))?;
    }
    for other in &scores[OURS + 1..] {
        let pairs = scores[OURS].per_second.iter().zip(&other.per_second);
        let ratio = median(&pairs.map(|(own, other)| own / other).collect::<Vec<_>>());
        let missed = if ratio < 1.0 { " **missed**" } else { "" };
        write!(line, "| {ratio:.2}{missed} ")?;
    }
    for quantile in [0.5, 0.99] {
        for latencies in latencies {
            write!(line, "| {:.0} ", latencies.value_at_quantile(quantile) as f64 / 1e3)?;
        }
    }
    for score in scores {
        write!(line, "| {:.0} ", median(&score.processor_time) / 1e3)?;
    }
    let serializable = &scores[2];
    write!(line, "| {:.2} |", serializable.retries as f64 / serializable.tasks as f64)?;
    Ok(line)
}
