//! What a server has acknowledged, and the check that its data agrees with that after a failure.
//!
//! What was acknowledged must be true; what was begun and not acknowledged may be either. A client
//! writes down a change before it asks for it, and settles the record by the answer. Example: a key
//! is active and a client calls `vpk_revoke`. Before the call the record says "active or revoked".
//! An answer leaves "revoked"; an error of the server leaves "active"; a connection that is lost
//! leaves both, and then the check accepts either answer for this key, but no third one.
//!
//! Each tenant has one client that changes its keys, and many that verify them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::keys::{Key, create_for, set_plan};
use super::known::{DISABLED, PLAN, REVOKED, VALID};
use super::{Client, Cluster, value};

/// The state of a key, as far as verification depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    Active,
    Disabled,
    Revoked,
}

/// A key, and the states it may be in: one, unless a change was begun and not acknowledged.
pub struct TrackedKey {
    pub key: Key,
    pub states: Vec<KeyState>,
}

/// An account with its keys, and another one with its tasks.
pub struct Tenant {
    pub account: String,
    pub plans: Vec<&'static str>,
    pub keys: Vec<TrackedKey>,
    /// How many keys the server was asked for.
    pub wanted: u64,
    /// A key whose account is on a plan with three tasks at once.
    pub worker: Key,
    pub task_account: String,
    /// Tasks that were acknowledged as started, and not yet ended.
    pub leases: Vec<String>,
    /// Tasks whose end was acknowledged.
    pub ended: Vec<String>,
    /// Goes up with each change of this tenant.
    pub version: u64,
}

/// How many tasks an account of the plan Pro may have.
const TASKS: i64 = 3;

impl Tenant {
    /// What may be answered for one of its keys.
    fn possible(&self, at: usize) -> Vec<&'static str> {
        let of = |state: &KeyState| match state {
            KeyState::Revoked => vec![REVOKED],
            KeyState::Disabled => vec![DISABLED],
            KeyState::Active => {
                self.plans.iter().map(|plan| if *plan == "Free" { PLAN } else { VALID }).collect()
            }
        };
        self.keys[at].states.iter().flat_map(of).collect()
    }
}

/// All tenants.
pub struct AcknowledgedHistory {
    pub tenants: Vec<Mutex<Tenant>>,
    /// How often a key was presented: no more uses may be counted.
    pub presented: AtomicU64,
}

/// Whether the server has refused a statement in a session that continues: it had no effect.
pub fn refused(error: &postgres::Error) -> bool {
    let severity = error.as_db_error().and_then(|error| error.parsed_severity());
    severity == Some(postgres::error::Severity::Error)
}

impl AcknowledgedHistory {
    /// So many tenants, each with a few keys.
    pub fn new(client: &mut Client, tenants: usize) -> AcknowledgedHistory {
        let tenant = |number: usize| {
            let account = format!("tenant {number}");
            let task_account = format!("tasks {number}");
            set_plan(client, &account, "Pro");
            set_plan(client, &task_account, "Pro");
            let keys = (0..5).map(|_| {
                let key = create_for(client, "kept", &account);
                TrackedKey { key, states: vec![KeyState::Active] }
            });
            let keys: Vec<TrackedKey> = keys.collect();
            let worker = create_for(client, "worker", &task_account);
            Mutex::new(Tenant {
                account,
                plans: vec!["Pro"],
                wanted: keys.len() as u64,
                keys,
                worker,
                task_account,
                leases: Vec::new(),
                ended: Vec::new(),
                version: 0,
            })
        };
        AcknowledgedHistory {
            tenants: (0..tenants).map(tenant).collect(),
            presented: AtomicU64::new(0),
        }
    }

    /// Changes a tenant by what `act` asks of the server: `place` says where it is written down.
    pub fn change<T: Clone, R>(
        tenant: &Mutex<Tenant>,
        place: impl Fn(&mut Tenant) -> &mut Vec<T>,
        to: T,
        act: impl FnOnce() -> Result<R, postgres::Error>,
    ) -> Result<R, postgres::Error> {
        let before = {
            let mut tenant = tenant.lock().expect("the tenant");
            tenant.version += 1;
            let before = place(&mut tenant).clone();
            place(&mut tenant).push(to.clone());
            before
        };
        let result = act();
        let mut tenant = tenant.lock().expect("the tenant");
        tenant.version += 1;
        match &result {
            Ok(_) => *place(&mut tenant) = vec![to],
            Err(error) if refused(error) => *place(&mut tenant) = before,
            Err(_) => {}
        }
        result
    }

    /// Asks for a key of a tenant, and compares.
    pub fn ask(
        &self,
        tenant: usize,
        at: usize,
        ask: impl FnOnce(&str) -> Result<String, postgres::Error>,
    ) -> Result<(), postgres::Error> {
        let (token, version, before) = {
            let tenant = self.tenants[tenant].lock().expect("the tenant");
            let Some(tracked) = tenant.keys.get(at) else { return Ok(()) };
            (tracked.key.token.clone(), tenant.version, tenant.possible(at))
        };
        self.presented.fetch_add(1, Ordering::SeqCst);
        let found = ask(&token)?;
        let now = self.tenants[tenant].lock().expect("the tenant").version;
        // What was revoked stays so; anything else may have changed meanwhile.
        let same = version == now || before == [REVOKED];
        let possible = if same { before } else { vec![VALID, REVOKED, DISABLED, PLAN] };
        assert!(possible.contains(&found.as_str()), "{found} instead of {possible:?}");
        Ok(())
    }

    /// Whether all that was acknowledged is so, and nothing is half done. Nobody changes anything
    /// now.
    pub fn check(&self, cluster: &Cluster) {
        let mut client = cluster.client();
        for tenant in &self.tenants {
            let tenant = tenant.lock().expect("the tenant");
            for (at, tracked) in tenant.keys.iter().enumerate() {
                let possible = tenant.possible(at);
                for sql in [
                    "SELECT vpk_verify($1)::text",
                    "SELECT status::text FROM vpk_authenticate('Bearer ' || $1)",
                ] {
                    self.presented.fetch_add(1, Ordering::SeqCst);
                    let found = value(&mut client, sql, &[&tracked.key.token]);
                    let of = &tenant.account;
                    assert!(possible.contains(&found.as_str()), "{of}: {found}, not {possible:?}");
                }
            }
            check_tenant(&mut client, &tenant);
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

fn check_tenant(client: &mut Client, tenant: &Tenant) {
    let count = |client: &mut Client, sql: &str, parameter: &str| -> i64 {
        value(client, sql, &[&parameter]).parse().expect("a number")
    };
    let keys = "SELECT count(*)::text FROM vpk.keys WHERE account = $1";
    let keys = count(client, keys, &tenant.account) as u64;
    let known = tenant.keys.len() as u64;
    assert!((known..=tenant.wanted).contains(&keys), "{keys} keys, {known} to {}", tenant.wanted);
    let plan = "SELECT plan FROM vpk.accounts WHERE account = $1";
    let plan = value(client, plan, &[&tenant.account]);
    assert!(tenant.plans.contains(&plan.as_str()), "{plan} instead of {:?}", tenant.plans);

    let running = "SELECT count(*)::text FROM vpk.task_leases WHERE account = $1
                      AND expires_at > clock_timestamp()";
    assert!(count(client, running, &tenant.task_account) <= TASKS, "{}", tenant.task_account);
    let lease = "SELECT count(*)::text FROM vpk.task_leases WHERE lease = $1::text::uuid
                    AND expires_at > clock_timestamp()";
    for (leases, number) in [(&tenant.leases, 1), (&tenant.ended, 0)] {
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
                       WHERE event = 'key_revoked' OR details ? 'revoked_at' GROUP BY key_id)
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
