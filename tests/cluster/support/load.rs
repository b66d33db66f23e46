//! A load of real clients that call everything, compare every answer and record what the server
//! has acknowledged, while something happens to the server.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::history::{AcknowledgedHistory, KeyState, Tenant, TrackedKey, refused};
use super::keys::Key;
use super::random::Random;
use super::usage::Done;
use super::{Client, Cluster, report, wait_until};

/// The sessions' ends, and what they are refused while there is no server to speak of.
pub const LOST: &[&str] = &["57P01", "57P02", "57P03"];

/// The clients, while they are at it.
pub struct Load<'load> {
    cluster: &'load Cluster,
    pub history: AcknowledgedHistory,
    /// What the server may raise, beside what it says when a session ends.
    accepted: &'load [&'load str],
    /// How many calls were answered, and how many refused with one of those.
    answered: AtomicU64,
    refused: AtomicU64,
    done: AtomicBool,
    seed: u64,
}

type Outcome = Result<(), postgres::Error>;

impl<'load> Load<'load> {
    /// So many clients, until `happen` has returned; then everything is checked.
    pub fn during(
        cluster: &'load Cluster,
        clients: usize,
        accepted: &'load [&'load str],
        happen: impl FnOnce(&Load, &mut Random),
    ) {
        let mut random = Random::new();
        let load = Load {
            cluster,
            history: AcknowledgedHistory::new(&mut cluster.client(), clients),
            accepted,
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            done: AtomicBool::new(false),
            seed: random.next(),
        };
        thread::scope(|scope| {
            let done = Done(&load.done);
            let clients: Vec<_> = (0..clients)
                .map(|number| {
                    let load = &load;
                    scope.spawn(move || load.client(number))
                })
                .collect();
            load.goes_on(200);
            happen(&load, &mut random);
            load.goes_on(200);
            drop(done);
            clients.into_iter().for_each(|client| client.join().expect("a client"));
        });
        load.history.check(cluster);
    }

    /// Waits until so many more calls were answered.
    pub fn goes_on(&self, number: u64) {
        let before = self.answered.load(Ordering::SeqCst);
        wait_until("the server answers", || {
            // A client that fails ends the load.
            self.done.load(Ordering::SeqCst)
                || self.answered.load(Ordering::SeqCst) >= before + number
        });
        self.still_there();
    }

    /// Fails where a client has.
    pub fn still_there(&self) {
        assert!(!self.done.load(Ordering::SeqCst), "a client has failed");
    }

    /// How many calls the server has refused with what it may raise.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::SeqCst)
    }

    fn client(&self, number: usize) {
        let _failed = OnPanic(&self.done);
        let mut random = Random::seeded(self.seed ^ number as u64);
        let mut session: Option<Client> = None;
        while !self.done.load(Ordering::SeqCst) {
            let Some(client) = session.as_mut().filter(|client| !client.is_closed()) else {
                session = match self.cluster.try_connect("postgres", "postgres") {
                    Ok(client) => Some(client),
                    Err(error) => {
                        self.judge(&error);
                        thread::yield_now();
                        None
                    }
                };
                continue;
            };
            match self.step(client, number, &mut random) {
                Ok(()) => drop(self.answered.fetch_add(1, Ordering::SeqCst)),
                Err(error) => self.judge(&error),
            }
        }
    }

    /// Checks that the server's error is one that the test expects.
    fn judge(&self, error: &postgres::Error) {
        let Some(code) = error.code().map(|code| code.code()) else {
            // The connection is lost, or there was none.
            let lost =
                std::error::Error::source(error).is_some_and(|source| source.is::<io::Error>());
            assert!(lost || error.is_closed(), "{error:?}");
            return;
        };
        let known = self.accepted.contains(&code);
        assert!(known || LOST.contains(&code), "{}", report(error));
        if known {
            self.refused.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// One call or another.
    fn step(&self, client: &mut Client, number: usize, random: &mut Random) -> Outcome {
        let tenant = &self.history.tenants[number];
        match random.below(24) {
            0 | 1 => self.create(client, tenant, random),
            2 => {
                let sql = [
                    "SELECT vpk_revoke($1::text::uuid)::text",
                    "SELECT vpk_revoke_token($2)::text",
                ];
                let sql = sql[random.below(2)];
                self.retire(client, tenant, random, sql, KeyState::Revoked)
            }
            3 => self.rotate(client, tenant, random),
            4 => {
                let plan = *random.pick(&["Pro", "Free", "Plus"]);
                let account = tenant.lock().expect("the tenant").account.clone();
                AcknowledgedHistory::change(
                    tenant,
                    |tenant| &mut tenant.plans,
                    plan,
                    || client.execute("SELECT vpk_set_plan($1, $2)", &[&account, &plan]),
                )
                .map(drop)
            }
            5 => self.retire(
                client,
                tenant,
                random,
                "SELECT vpk_disable($1::text::uuid)::text",
                KeyState::Disabled,
            ),
            6 => self.retire(
                client,
                tenant,
                random,
                "SELECT vpk_enable($1::text::uuid)::text",
                KeyState::Active,
            ),
            7..=9 => self.task(client, tenant, random),
            10 => self.aside(client, number, random),
            _ => {
                let tenant = random.below(self.history.tenants.len());
                let keys = self.history.tenants[tenant].lock().expect("the tenant").keys.len();
                let sql = *random.pick(ASK);
                self.history.ask(tenant, random.below(keys), |token| {
                    Ok(client.query_one(sql, &[&token])?.get(0))
                })
            }
        }
    }

    fn create(&self, client: &mut Client, tenant: &Mutex<Tenant>, random: &mut Random) -> Outcome {
        // As one row, or as one statement that calls for several.
        let number = [1, 1, 4][random.below(3)];
        let account = {
            let mut tenant = tenant.lock().expect("the tenant");
            tenant.wanted += number;
            tenant.account.clone()
        };
        let sql = "SELECT id::text, token FROM generate_series(1, $2) AS g, vpk_create('made ' || g, account => $1)";
        let rows = client.query(sql, &[&account, &(number as i32)])?;
        let made = rows.iter().map(|row| TrackedKey {
            key: Key { id: row.get(0), token: row.get(1) },
            states: vec![KeyState::Active],
        });
        tenant.lock().expect("the tenant").keys.extend(made);
        Ok(())
    }

    fn retire(
        &self,
        client: &mut Client,
        tenant: &Mutex<Tenant>,
        random: &mut Random,
        sql: &str,
        to: KeyState,
    ) -> Outcome {
        // Whether a key is disabled or enabled does not matter once it may be revoked.
        let Some((at, key)) = pick(tenant, random, |states| !states.contains(&KeyState::Revoked))
        else {
            return Ok(());
        };
        AcknowledgedHistory::change(
            tenant,
            |tenant| &mut tenant.keys[at].states,
            to,
            || client.execute(&format!("{sql}, $1::text, $2::text"), &[&key.id, &key.token]),
        )
        .map(drop)
    }

    fn rotate(&self, client: &mut Client, tenant: &Mutex<Tenant>, random: &mut Random) -> Outcome {
        let Some((at, old)) = pick(tenant, random, |states| *states == [KeyState::Active]) else {
            return Ok(());
        };
        tenant.lock().expect("the tenant").wanted += 1;
        let row = AcknowledgedHistory::change(
            tenant,
            |tenant| &mut tenant.keys[at].states,
            KeyState::Revoked,
            || {
                client
                    .query_one("SELECT id::text, token FROM vpk_rotate($1::text::uuid)", &[&old.id])
            },
        )?;
        let key = Key { id: row.get(0), token: row.get(1) };
        tenant
            .lock()
            .expect("the tenant")
            .keys
            .push(TrackedKey { key, states: vec![KeyState::Active] });
        Ok(())
    }

    /// Starts a task, or ends one.
    fn task(&self, client: &mut Client, tenant: &Mutex<Tenant>, random: &mut Random) -> Outcome {
        let mut open = tenant.lock().expect("the tenant");
        let token = open.worker.token.clone();
        let lease = if random.below(3) > 0 { open.leases.pop() } else { None };
        drop(open);
        let Some(lease) = lease else {
            self.history.presented.fetch_add(1, Ordering::SeqCst);
            let sql = "SELECT status::text, lease::text, running, allowed FROM vpk_task_start($1, '1 hour')";
            let row = client.query_one(sql, &[&token])?;
            let (running, allowed): (i32, i32) = (row.get(2), row.get(3));
            assert!(running <= allowed && allowed == 3, "{running} of {allowed}");
            if let Some(lease) = row.get(1) {
                tenant.lock().expect("the tenant").leases.push(lease);
            }
            return Ok(());
        };
        if random.below(3) == 0 {
            let sql = "SELECT vpk_task_extend($1::text::uuid, '2 hours') IS NOT NULL";
            let extended = client.query_one(sql, &[&lease]);
            tenant.lock().expect("the tenant").leases.push(lease);
            assert!(extended?.get::<_, bool>(0), "the lease was there");
            return Ok(());
        }
        // Where the end is not acknowledged, the lease may be there or not.
        match client.query_one("SELECT vpk_task_finish($1::text::uuid)", &[&lease]) {
            Ok(row) => {
                assert!(row.get::<_, bool>(0), "the lease was there");
                tenant.lock().expect("the tenant").ended.push(lease);
                Ok(())
            }
            Err(error) => {
                if refused(&error) {
                    tenant.lock().expect("the tenant").leases.push(lease);
                }
                Err(error)
            }
        }
    }

    /// The calls that no key of a tenant is changed by.
    fn aside(&self, client: &mut Client, number: usize, random: &mut Random) -> Outcome {
        let sql = match random.below(20) {
            0 => "SELECT count(*) FROM vpk_doctor()".to_owned(),
            at => ASIDE[at % ASIDE.len()].replace("NUMBER", &number.to_string()),
        };
        client.batch_execute(&sql)
    }
}

/// The ways to ask for the key $1.
const ASK: &[&str] = &[
    "SELECT vpk_verify($1)::text",
    "SELECT vpk_verify($1)::text",
    "SELECT vpk_verify_hash(sha256($1::text::bytea))::text",
    "SELECT status::text FROM vpk_authenticate('Bearer ' || $1)",
];

const ASIDE: &[&str] = &[
    "SELECT count(*) FROM vpk_list('tenant NUMBER')",
    "SELECT vpk_error('PLAN_REQUIRED', account => 'tenant NUMBER')",
    "SELECT count(*) FROM vpk.stats, vpk.status_codes",
    "SELECT vpk_update(id, metadata => '{\"a\": 1}') FROM vpk_list('tasks NUMBER') LIMIT 1",
    "SELECT vpk_set_plan('scratch NUMBER', 'Plus')",
    "SELECT vpk_create('scratch', account => 'scratch NUMBER') FROM vpk.accounts WHERE account = 'scratch NUMBER'",
    "SELECT vpk_revoke_account('scratch NUMBER') FROM vpk.accounts WHERE account = 'scratch NUMBER'",
    "SELECT vpk_delete_account('scratch NUMBER') FROM vpk.accounts WHERE account = 'scratch NUMBER'",
    "SELECT vpk_purge('2001-01-01')",
];

/// A key of a tenant that may be what is asked for.
fn pick(
    tenant: &Mutex<Tenant>,
    random: &mut Random,
    suits: impl Fn(&Vec<KeyState>) -> bool,
) -> Option<(usize, Key)> {
    let tenant = tenant.lock().expect("the tenant");
    let suit: Vec<usize> =
        (0..tenant.keys.len()).filter(|at| suits(&tenant.keys[*at].states)).collect();
    // Some are kept.
    let at = *(suit.len() > 2).then(|| random.pick(&suit))?;
    Some((at, tenant.keys[at].key.clone()))
}

/// Ends the load where a client fails.
struct OnPanic<'flag>(&'flag AtomicBool);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}
