//! What a server has acknowledged, written down by the clients that were told; and what must be true of
//! the server's data whatever has happened to it.
//!
//! Each ward has one client that changes its keys, and many that ask for them. What was begun and not
//! acknowledged may have happened or not: then both are possible.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::keys::{Key, create_for, set_plan};
use super::known::{DISABLED, PLAN, REVOKED, VALID};
use super::{Client, Cluster, value};

/// What a key may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Active,
    Disabled,
    Revoked,
}

/// A key, and what it may be now: one thing where the server has acknowledged it.
pub struct Charge {
    pub key: Key,
    pub lives: Vec<Life>,
}

/// An account with its keys, and another one with its tasks.
pub struct Ward {
    pub account: String,
    pub plans: Vec<&'static str>,
    pub charges: Vec<Charge>,
    /// How many keys the server was asked for.
    pub wanted: u64,
    /// A key whose account is on a plan with three tasks at once.
    pub worker: Key,
    pub task_account: String,
    /// Tasks that were acknowledged as started, and not yet ended.
    pub leases: Vec<String>,
    /// Tasks whose end was acknowledged.
    pub ended: Vec<String>,
    /// Goes up with whatever changes here.
    pub version: u64,
}

/// How many tasks an account of the plan Pro may have.
const TASKS: i64 = 3;

impl Ward {
    /// What may be answered for one of its keys.
    fn possible(&self, at: usize) -> Vec<&'static str> {
        let of = |life: &Life| match life {
            Life::Revoked => vec![REVOKED],
            Life::Disabled => vec![DISABLED],
            Life::Active => {
                self.plans.iter().map(|plan| if *plan == "Free" { PLAN } else { VALID }).collect()
            }
        };
        self.charges[at].lives.iter().flat_map(of).collect()
    }
}

/// All wards.
pub struct Journal {
    pub wards: Vec<Mutex<Ward>>,
    /// How often a key was presented: no more uses may be counted.
    pub presented: AtomicU64,
}

/// Whether the server has said that a statement had no effect, in a session that goes on.
pub fn refused(error: &postgres::Error) -> bool {
    let severity = error.as_db_error().and_then(|error| error.parsed_severity());
    severity == Some(postgres::error::Severity::Error)
}

impl Journal {
    /// So many wards, each with a few keys.
    pub fn new(client: &mut Client, wards: usize) -> Journal {
        let ward = |number: usize| {
            let account = format!("ward {number}");
            let task_account = format!("tasks {number}");
            set_plan(client, &account, "Pro");
            set_plan(client, &task_account, "Pro");
            let charges = (0..5).map(|_| {
                let key = create_for(client, "kept", &account);
                Charge { key, lives: vec![Life::Active] }
            });
            let charges: Vec<Charge> = charges.collect();
            let worker = create_for(client, "worker", &task_account);
            Mutex::new(Ward {
                account,
                plans: vec!["Pro"],
                wanted: charges.len() as u64,
                charges,
                worker,
                task_account,
                leases: Vec::new(),
                ended: Vec::new(),
                version: 0,
            })
        };
        Journal { wards: (0..wards).map(ward).collect(), presented: AtomicU64::new(0) }
    }

    /// Changes a ward by what `act` asks of the server: `place` says where it is written down.
    pub fn change<T: Clone, R>(
        ward: &Mutex<Ward>,
        place: impl Fn(&mut Ward) -> &mut Vec<T>,
        to: T,
        act: impl FnOnce() -> Result<R, postgres::Error>,
    ) -> Result<R, postgres::Error> {
        let before = {
            let mut ward = ward.lock().expect("a ward");
            ward.version += 1;
            let before = place(&mut ward).clone();
            place(&mut ward).push(to.clone());
            before
        };
        let result = act();
        let mut ward = ward.lock().expect("a ward");
        ward.version += 1;
        match &result {
            Ok(_) => *place(&mut ward) = vec![to],
            Err(error) if refused(error) => *place(&mut ward) = before,
            Err(_) => {}
        }
        result
    }

    /// Asks for a key of a ward, and compares.
    pub fn ask(
        &self,
        ward: usize,
        at: usize,
        ask: impl FnOnce(&str) -> Result<String, postgres::Error>,
    ) -> Result<(), postgres::Error> {
        let (token, version, before) = {
            let ward = self.wards[ward].lock().expect("a ward");
            let Some(charge) = ward.charges.get(at) else { return Ok(()) };
            (charge.key.token.clone(), ward.version, ward.possible(at))
        };
        self.presented.fetch_add(1, Ordering::SeqCst);
        let found = ask(&token)?;
        let now = self.wards[ward].lock().expect("a ward").version;
        // What was revoked stays so; anything else may have changed meanwhile.
        let same = version == now || before == [REVOKED];
        let possible = if same { before } else { vec![VALID, REVOKED, DISABLED, PLAN] };
        assert!(possible.contains(&found.as_str()), "{found} instead of {possible:?}");
        Ok(())
    }

    /// Whether all that was acknowledged is so, and nothing is half done. Nobody changes anything now.
    pub fn check(&self, cluster: &Cluster) {
        let mut client = cluster.client();
        for ward in &self.wards {
            let ward = ward.lock().expect("a ward");
            for (at, charge) in ward.charges.iter().enumerate() {
                let possible = ward.possible(at);
                for sql in [
                    "SELECT vpk_verify($1)::text",
                    "SELECT status::text FROM vpk_authenticate('Bearer ' || $1)",
                ] {
                    self.presented.fetch_add(1, Ordering::SeqCst);
                    let found = value(&mut client, sql, &[&charge.key.token]);
                    let of = &ward.account;
                    assert!(possible.contains(&found.as_str()), "{of}: {found}, not {possible:?}");
                }
            }
            check_ward(&mut client, &ward);
        }
        let settings = ["enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan"];
        for setting in settings {
            client.batch_execute(&format!("SET {setting} = off")).expect("a setting");
        }
        for (what, sql) in HALVES {
            assert_eq!(value(&mut client, sql, &[]), "0", "{what}");
        }
        let uses: i64 =
            value(&mut client, "SELECT coalesce(sum(uses), 0)::text FROM vpk.key_usage", &[])
                .parse()
                .expect("a number");
        let presented = self.presented.load(Ordering::SeqCst);
        assert!(uses as u64 <= presented, "{uses} uses of {presented} presented");
    }
}

fn check_ward(client: &mut Client, ward: &Ward) {
    let count = |client: &mut Client, sql: &str, parameter: &str| -> i64 {
        value(client, sql, &[&parameter]).parse().expect("a number")
    };
    let keys = "SELECT count(*)::text FROM vpk.keys WHERE account = $1";
    let keys = count(client, keys, &ward.account) as u64;
    let known = ward.charges.len() as u64;
    assert!((known..=ward.wanted).contains(&keys), "{keys} keys, {known} to {}", ward.wanted);
    let plan = "SELECT plan FROM vpk.accounts WHERE account = $1";
    let plan = value(client, plan, &[&ward.account]);
    assert!(ward.plans.contains(&plan.as_str()), "{plan} instead of {:?}", ward.plans);

    let running = "SELECT count(*)::text FROM vpk.task_leases WHERE account = $1
                      AND expires_at > clock_timestamp()";
    assert!(count(client, running, &ward.task_account) <= TASKS, "{}", ward.task_account);
    let lease = "SELECT count(*)::text FROM vpk.task_leases WHERE lease = $1::text::uuid
                    AND expires_at > clock_timestamp()";
    for (leases, number) in [(&ward.leases, 1), (&ward.ended, 0)] {
        for started in leases {
            assert_eq!(count(client, lease, started), number, "lease {started}");
        }
    }
}

/// What must not be there. The tables are read as they are, without their indexes.
const HALVES: &[(&str, &str)] = &[
    (
        "keys that are there twice",
        "SELECT (count(*) - least(count(DISTINCT id), count(DISTINCT key_hash)))::text FROM vpk.keys",
    ),
    (
        "accounts that are there twice",
        "SELECT (count(*) - count(DISTINCT account || '')) ::text FROM vpk.accounts",
    ),
    (
        "rows of usage that are there twice",
        "SELECT (count(*) - count(DISTINCT key_id))::text FROM vpk.key_usage",
    ),
    (
        "rotated keys without exactly one successor",
        "SELECT count(*)::text FROM vpk.keys AS o
           LEFT JOIN (SELECT rotated_from, count(*) FROM vpk.keys GROUP BY rotated_from)
                  AS s ON s.rotated_from = o.id
          WHERE o.rotated_at IS NOT NULL AND s.count IS DISTINCT FROM 1",
    ),
    (
        "successors of keys that were not rotated",
        "SELECT count(*)::text FROM vpk.keys AS s JOIN vpk.keys AS o ON o.id = s.rotated_from
          WHERE o.rotated_at IS NULL OR o.revoked_at IS NULL",
    ),
    (
        "keys without exactly one event of their making",
        "SELECT count(*)::text FROM vpk.keys AS k
           LEFT JOIN (SELECT key_id, count(*) FROM vpk.events WHERE event = 'key_created' GROUP BY key_id)
                  AS e ON e.key_id = k.id
          WHERE e.count IS DISTINCT FROM 1",
    ),
    (
        "revoked keys without exactly one event of their end",
        "SELECT count(*)::text FROM vpk.keys AS k
           LEFT JOIN (SELECT key_id, count(*) FROM vpk.events
                       WHERE event IN ('key_revoked', 'key_rotated') GROUP BY key_id)
                  AS e ON e.key_id = k.id
          WHERE k.revoked_at IS NOT NULL AND e.count IS DISTINCT FROM 1",
    ),
    (
        "events of keys that are not there and were not removed",
        "SELECT count(*)::text FROM vpk.events AS e WHERE e.event = 'key_created'
            AND NOT EXISTS (SELECT FROM vpk.keys AS k WHERE k.id = e.key_id)
            AND NOT EXISTS (SELECT FROM vpk.events AS d WHERE d.key_id = e.key_id
                               AND d.event IN ('key_deleted', 'key_purged'))",
    ),
];
