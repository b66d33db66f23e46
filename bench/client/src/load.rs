//! One competitor under load, for a while.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::cells::Group;
use crate::competitors::{Competitor, Tokens};
use crate::connection::{Answer, Connection, Result};
use crate::process;
use crate::processors;
use crate::request::Request;
use crate::work::Writer;

/// Tokens of the same length, or their hashes, one after the other.
pub struct Pool {
    bytes: Vec<u8>,
    token_length: usize,
}

impl Pool {
    /// What a competitor is called with.
    pub fn read(
        database: &mut Connection,
        tokens: Tokens,
        competitor: &Competitor,
    ) -> Result<Self> {
        let mut pool = Self { bytes: Vec::new(), token_length: 0 };
        for row in database.query(&tokens.query_for(competitor))? {
            let token = row.first().and_then(Option::as_ref).ok_or("a token is null")?;
            if pool.token_length != 0 && pool.token_length != token.len() {
                return Err("tokens of different lengths".into());
            }
            pool.token_length = token.len();
            pool.bytes.extend_from_slice(token.as_bytes());
        }
        if pool.bytes.is_empty() { Err("no tokens".into()) } else { Ok(pool) }
    }

    pub const fn token_length(&self) -> usize {
        self.token_length
    }

    pub const fn len(&self) -> usize {
        self.bytes.len() / self.token_length
    }

    pub fn get(&self, number: usize) -> &[u8] {
        &self.bytes[number * self.token_length..][..self.token_length]
    }
}

/// What came of it.
pub struct Outcome {
    pub per_second: f64,
    /// Of each call, in nanoseconds.
    pub latencies: Histogram<u32>,
    /// Of the server's processes, for each call, in nanoseconds.
    pub processor_time: f64,
    /// Calls, and bytes of WAL that were written meanwhile, the start included.
    pub calls: u64,
    pub wal: u64,
    /// Transactions a second of the client that wrote meanwhile, if there was one.
    pub written: Option<f64>,
}

/// For at most this long, a competitor is called before it is measured.
const START: Duration = Duration::from_millis(1500);

struct Client {
    connection: Connection,
    request: Request,
    expected: Answer,
    random: u64,
    /// Calls, all of them.
    calls: u64,
}

pub fn run(
    server: &Path,
    control: &mut Connection,
    group: &Group,
    competitor: &Competitor,
    pool: &Pool,
    time: Duration,
) -> Result<Outcome> {
    let mut clients = (0..group.clients)
        .map(|number| {
            let mut connection = Connection::open(server)?;
            let request =
                Request::prepare(competitor, group.protocol, pool.token_length, &mut connection)?;
            let expected = competitor.answer(group.tokens);
            Ok(Client { connection, request, expected, random: seed(number), calls: 0 })
        })
        .collect::<Result<Vec<_>>>()?;

    let writer = if group.at_work { Some(Writer::start(server)?) } else { None };
    let before = wal_position(control)?;
    together(&mut clients, |client| client.start(pool))?;
    let used = processor_time(&clients)?;
    let is_alone = group.clients == 1 && group.awake;
    let measured = together(&mut clients, |client| {
        if is_alone {
            processors::share_one([client.connection.backend, processors::this_thread()?])?;
        }
        client.measure(pool, time)
    })?;
    let used = processor_time(&clients)? - used;
    let written = writer.map(Writer::finish).transpose()?;
    if competitor.is_ours() {
        wait_for_uses(control)?;
    }
    let after = wal_position(control)?;

    let mut latencies = histogram()?;
    let mut per_second = 0.0;
    for (seconds, own) in measured {
        per_second += own.len() as f64 / seconds;
        latencies.add(own)?;
    }
    let calls = clients.iter().map(|client| client.calls).sum();
    let processor_time = used / latencies.len() as f64;
    Ok(Outcome { per_second, processor_time, latencies, calls, wal: after - before, written })
}

/// Of all the processes that serve these clients.
fn processor_time(clients: &[Client]) -> Result<f64> {
    clients.iter().map(|client| process::processor_time(client.connection.backend)).sum()
}

pub fn histogram() -> Result<Histogram<u32>> {
    Ok(Histogram::new_with_bounds(1, 600_000_000_000, 3)?)
}

/// Lets every client do something at the same time.
fn together<T: Send>(
    clients: &mut [Client],
    work: impl Fn(&mut Client) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let threads: Vec<_> =
            clients.iter_mut().map(|client| scope.spawn(|| work(client))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a client panicked".into())))
            .collect()
    })
}

impl Client {
    /// Lets the session settle down: what it opens and plans at its first calls, and in the
    /// extension the keys that it meets again and again.
    fn start(&mut self, pool: &Pool) -> Result<()> {
        let began = Instant::now();
        let number = if pool.len() > 10_000 { 1000 } else { pool.len().max(1000) };
        for number in 0..number {
            self.call(pool.get(number % pool.len()))?;
            if began.elapsed() > START {
                break;
            }
        }
        Ok(())
    }

    /// Calls with tokens picked at random. The seconds it took, and each call's latency.
    fn measure(&mut self, pool: &Pool, time: Duration) -> Result<(f64, Histogram<u32>)> {
        let mut latencies = histogram()?;
        let count = pool.len() as u64;
        let began = Instant::now();
        let mut last = began;
        loop {
            let number = ((self.next_random() >> 32) * count) >> 32;
            self.call(pool.get(number as usize))?;
            let now = Instant::now();
            latencies.record((now - last).as_nanos() as u64)?;
            last = now;
            if now - began >= time {
                return Ok(((now - began).as_secs_f64(), latencies));
            }
        }
    }

    fn call(&mut self, token: &[u8]) -> Result<()> {
        self.calls += 1;
        self.connection.call(self.request.with(token), self.expected)
    }

    /// xorshift64*: quick, and random enough to pick keys.
    const fn next_random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

fn seed(number: usize) -> u64 {
    let clock = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64);
    (clock ^ ((number as u64 + 1) << 48)) | 1
}

fn wal_position(control: &mut Connection) -> Result<u64> {
    Ok(control.value("SELECT pg_current_wal_insert_lsn() - '0/0'")?.parse()?)
}

/// Waits until the extension's worker has written what the calls left to it, so that its writing
/// counts for them and meets nobody else. Waits no longer than two intervals: a key in
/// constant use is written once a minute, also in the turn of another competitor.
fn wait_for_uses(control: &mut Connection) -> Result<()> {
    let interval =
        "SELECT setting FROM pg_settings WHERE name = 'vibepeak_keys.usage_flush_interval'";
    let longest = 2 * Duration::from_millis(control.value(interval)?.parse()?);
    let began = Instant::now();
    while control.value("SELECT uses_pending FROM vpk.stats")? != "0" && began.elapsed() < longest {
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
