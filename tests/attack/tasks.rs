//! Task starts in concurrent sessions, at every isolation level, with savepoints, rollbacks,
//! prepared transactions and leases that end by themselves: the limit of a plan is never passed.

use std::thread;
use std::time::Duration;

use crate::attack::Attack;
use crate::oracle;
use crate::support::keys::{create_for, set_plan};
use crate::support::known::assert_healthy;
use crate::support::random::Random;
use crate::support::{Client, Cluster, report};

const WORKERS: u64 = 4;

/// An account with its limit, and its keys.
struct Account {
    name: &'static str,
    allowed: i32,
    tokens: Vec<String>,
}

pub fn run(attack: &Attack) {
    let settings = [("max_prepared_transactions", "10"), ("lock_timeout", "2s")];
    let cluster = Cluster::start(&settings);
    let mut admin = cluster.client();
    let accounts = [("three", "Pro", 3), ("one", "Plus", 1)].map(|(name, plan, allowed)| {
        set_plan(&mut admin, name, plan);
        let tokens = (0..2).map(|_| create_for(&mut admin, "worker", name).token).collect();
        Account { name, allowed, tokens }
    });
    thread::scope(|scope| {
        for number in 0..WORKERS {
            let (cluster, accounts) = (&cluster, &accounts);
            let work = move || {
                let random = attack.random(0, number);
                let (client, leases) = (cluster.client(), Vec::new());
                let mut worker = Worker { attack, random, client, leases, number, named: 0 };
                while attack.goes_on() {
                    worker.transaction(accounts);
                }
            };
            scope.spawn(move || attack.guard(work));
        }
        scope.spawn(|| attack.guard(|| watch(attack, &cluster, &accounts)));
    });
    assert_healthy(&cluster);
}

struct Worker<'attack> {
    attack: &'attack Attack,
    random: Random,
    client: Client,
    /// Leases that this session was given, some of which have ended.
    leases: Vec<String>,
    number: u64,
    /// How many transactions were prepared.
    named: u64,
}

impl Worker<'_> {
    /// One transaction of a few calls.
    fn transaction(&mut self, accounts: &[Account]) {
        let isolation = *self.random.pick(&["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]);
        let account = &accounts[self.random.below(accounts.len())];
        self.run(&format!("BEGIN ISOLATION LEVEL {isolation}"));
        if self.random.below(2) == 0 {
            // The snapshot of a stricter level is from before the leases that follow.
            if !self.run("SELECT count(*) FROM vpk.task_leases") {
                self.run("ROLLBACK");
                return;
            }
            thread::sleep(Duration::from_millis(*self.random.pick(&[0, 2, 10])));
        }
        let mut failed = false;
        for _ in 0..=self.random.below(3) {
            let savepoint = self.random.below(3) == 0;
            // At the strictest level the server may end a transaction at any statement.
            if savepoint && !self.run("SAVEPOINT s") {
                failed = true;
                break;
            }
            let done = self.call(account);
            if savepoint && (!done || self.random.below(2) == 0) {
                self.run("ROLLBACK TO s");
            } else if !done {
                failed = true;
                break;
            }
        }
        if !failed && self.random.below(6) == 0 {
            self.named += 1;
            let name = format!("tasks {} {}", self.number, self.named);
            if self.run(&format!("PREPARE TRANSACTION '{name}'")) {
                thread::sleep(Duration::from_millis(*self.random.pick(&[0, 5, 20])));
                let end = *self.random.pick(&["COMMIT", "COMMIT", "ROLLBACK"]);
                self.run(&format!("{end} PREPARED '{name}'"));
                return;
            }
        }
        let end = *self.random.pick(&["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]);
        self.run(end);
    }

    /// Starts, extends or finishes a task; whether there was no error.
    fn call(&mut self, account: &Account) -> bool {
        self.attack.step();
        let ttl = *self.random.pick(&["30 ms", "200 ms", "1 min"]);
        let lease = match self.leases.len() {
            0 => None,
            length => Some(self.leases[self.random.below(length)].clone()),
        };
        let result = match (self.random.below(10), lease) {
            (0..2, Some(lease)) => {
                let sql = "SELECT vpk_task_finish($1::text::uuid)";
                self.client.query_one(sql, &[&lease]).map(drop)
            }
            (2..4, Some(lease)) => {
                let sql = "SELECT vpk_task_extend($1::text::uuid, $2::text::interval)";
                self.client.query_one(sql, &[&lease, &ttl]).map(drop)
            }
            _ => self.start(account, ttl),
        };
        let Err(error) = result else { return true };
        // Locks that others hold for longer, and what they contradict.
        match oracle::error(&error) {
            Ok(code) if ["55P03", "40001", "40P01"].contains(&code.as_str()) => {}
            _ => self.attack.fault(report(&error)),
        }
        false
    }

    fn start(&mut self, account: &Account, ttl: &str) -> Result<(), postgres::Error> {
        let token = self.random.pick(&account.tokens);
        let sql = "SELECT status::text, lease::text, running, allowed, error IS NOT NULL
                     FROM vpk_task_start($1, $2::text::interval)";
        let row = self.client.query_one(sql, &[token, &ttl])?;
        let (status, lease): (String, Option<String>) = (row.get(0), row.get(1));
        let (running, allowed): (i32, i32) = (row.get(2), row.get(3));
        let right = match status.as_str() {
            "VALID" => lease.is_some() && (1..=allowed).contains(&running),
            "CONCURRENCY_LIMIT_EXCEEDED" => lease.is_none() && running >= allowed,
            _ => false,
        };
        let right = right && allowed == account.allowed && row.get::<_, bool>(4) == lease.is_none();
        self.attack.check(right, || {
            format!("{}: {status}, {running} of {allowed} tasks, lease {lease:?}", account.name)
        });
        self.leases.extend(lease);
        let from = self.leases.len().saturating_sub(20);
        self.leases.drain(..from);
        Ok(())
    }

    fn run(&mut self, sql: &str) -> bool {
        match self.client.batch_execute(sql) {
            Ok(()) => true,
            Err(error) => {
                if let Err(error) = oracle::error(&error) {
                    self.attack.fault(format!("{sql}: {error}"));
                }
                false
            }
        }
    }
}

/// Counts the leases of each account that have not ended, all the time. They are counted when they
/// were committed, so that they were not more at any instant.
fn watch(attack: &Attack, cluster: &Cluster, accounts: &[Account]) {
    let mut random = attack.random(0, WORKERS);
    let mut client = cluster.client();
    let sql = "SELECT count(*)::int FROM vpk.task_leases
                WHERE account = $1 AND expires_at > clock_timestamp()";
    let count = client.prepare(sql).expect("a query");
    while attack.goes_on() {
        for account in accounts {
            let running: i32 = client.query_one(&count, &[&account.name]).expect("a count").get(0);
            attack.check(running <= account.allowed, || {
                format!("{}: {running} tasks run, {} may", account.name, account.allowed)
            });
        }
        // So that there is room for more now and then.
        if random.below(50) == 0 {
            let deleted = client.batch_execute("DELETE FROM vpk.task_leases");
            if let Err(Err(error)) = deleted.map_err(|error| oracle::error(&error)) {
                attack.fault(error);
            }
        }
    }
}
