//! Rows of the tables, read on the way to an answer: straight through an index, under one snapshot
//! that is the latest at the time.

use core::ops::ControlFlow;

use pgrx::pg_sys::AttrNumber;

use crate::pg::call::Call;
use crate::pg::clock;
use crate::pg::scan::{Opened, Tuple, Wanted};
use crate::pg::snapshot;
use crate::pg::types::{Bytes, CidrArray, Json, SqlValue, Text, TextArray, Timestamp, Uuid};
use crate::pure::address::Network;
use crate::pure::token::Environment;

/// Column numbers, as sql/tables.sql numbers them. Columns are only ever appended.
mod column {
    use super::AttrNumber;

    pub mod keys {
        use super::AttrNumber;
        pub const ID: AttrNumber = 1;
        pub const ACCOUNT: AttrNumber = 3;
        pub const ENVIRONMENT: AttrNumber = 4;
        pub const NAME: AttrNumber = 5;
        pub const EXPIRES_AT: AttrNumber = 9;
        pub const DISABLED_AT: AttrNumber = 10;
        pub const REVOKED_AT: AttrNumber = 11;
        pub const SCOPES: AttrNumber = 15;
        pub const ALLOWED_IPS: AttrNumber = 16;
        pub const METADATA: AttrNumber = 17;
    }

    pub mod accounts {
        use super::AttrNumber;
        pub const PLAN: AttrNumber = 2;
    }

    pub mod plans {
        use super::AttrNumber;
        pub const PLAN: AttrNumber = 1;
        pub const API_ACCESS: AttrNumber = 2;
        pub const CONCURRENT_TASKS: AttrNumber = 3;
        pub const RANK: AttrNumber = 4;
    }

    pub mod task_leases {
        use super::AttrNumber;
        pub const EXPIRES_AT: AttrNumber = 5;
    }
}

/// A stored key, as far as an answer needs it. What only a full answer needs is read only then.
#[derive(Clone, Copy)]
pub struct StoredKey<'call> {
    pub id: [u8; 16],
    pub account: Text,
    pub environment: Option<Environment>,
    pub revoked: bool,
    pub disabled: bool,
    pub expires_at: Option<i64>,
    pub allowed_ips: Option<&'call [Network]>,
    pub details: Option<Details<'call>>,
}

/// The rest of a stored key.
#[derive(Clone, Copy)]
pub struct Details<'call> {
    pub name: Text,
    pub scopes: &'call [&'call [u8]],
    pub scopes_array: TextArray,
    pub metadata: Json,
}

/// A plan.
#[derive(Clone, Copy, Default)]
pub struct Plan<'call> {
    pub plan: &'call [u8],
    pub api_access: bool,
    /// None is no limit.
    pub concurrent_tasks: Option<i32>,
    pub rank: i32,
}

/// The tables as they are at one instant.
///
/// Everything here is unguarded: see [`crate::pg::unguarded`].
pub struct Instant<'call> {
    call: &'call Call,
    keys: Opened,
    accounts: Opened,
    plans: Opened,
    snapshot: pgrx::pg_sys::Snapshot,
}

/// Reads the tables as they are now. What is read is plain data, copied into the call's memory.
pub fn now<'call, R: Copy>(call: &'call Call, read: impl FnOnce(&Instant<'call>) -> R) -> R {
    let keys = Opened::open(|relations| relations.keys);
    let accounts = Opened::open(|relations| relations.accounts);
    let plans = Opened::open(|relations| relations.plans);
    let result = read(&Instant { call, keys, accounts, plans, snapshot: snapshot::latest() });
    plans.close();
    accounts.close();
    keys.close();
    result
}

/// How many leases of an account have not ended.
pub fn running_tasks(account: Text) -> i64 {
    let leases = Opened::open(|relations| relations.task_leases);
    let now = clock::now().micros();
    let mut running = 0;
    leases.each_visible(Some(Wanted::text(account)), snapshot::latest(), |tuple| {
        let end = tuple.get(column::task_leases::EXPIRES_AT);
        running += i64::from(end.is_some_and(|end| Timestamp::from_raw(end).micros() > now));
        ControlFlow::Continue(())
    });
    leases.close();
    running
}

impl<'call> Instant<'call> {
    /// The key of a hash.
    pub fn key(&self, hash: &[u8], with_details: bool) -> Option<StoredKey<'call>> {
        let mut found = None;
        let wanted = Wanted::bytes(Bytes::new_unguarded(self.call, hash));
        self.keys.each_visible(Some(wanted), self.snapshot, |tuple| {
            found = self.read_key(tuple, with_details);
            ControlFlow::Break(())
        });
        found
    }

    fn read_key(&self, tuple: &Tuple, with_details: bool) -> Option<StoredKey<'call>> {
        use column::keys::*;
        let call = self.call;
        let details = match with_details {
            true => Some(self.read_details(tuple)?),
            false => None,
        };
        Some(StoredKey {
            id: Uuid::from_raw(tuple.get(ID)?).to_bytes(),
            account: Text::from_raw(tuple.get(ACCOUNT)?).kept(call),
            environment: tuple.get(ENVIRONMENT).and_then(|datum| {
                Environment::from_name(Text::from_raw(datum).bytes_unguarded(call))
            }),
            revoked: tuple.get(REVOKED_AT).is_some(),
            disabled: tuple.get(DISABLED_AT).is_some(),
            expires_at: tuple.get(EXPIRES_AT).map(|datum| Timestamp::from_raw(datum).micros()),
            // A null among the networks admits nobody.
            allowed_ips: tuple.get(ALLOWED_IPS).map(|datum| {
                let networks = CidrArray::from_raw(datum).networks_unguarded(call);
                &*call.keep(networks.iter().filter_map(|network| *network))
            }),
            details,
        })
    }

    fn read_details(&self, tuple: &Tuple) -> Option<Details<'call>> {
        use column::keys::*;
        let scopes_array = TextArray::from_raw(tuple.get(SCOPES)?).kept(self.call);
        let scopes = scopes_array.elements_unguarded(self.call);
        Some(Details {
            name: Text::from_raw(tuple.get(NAME)?).kept(self.call),
            scopes: self.call.keep(scopes.iter().filter_map(|scope| *scope)),
            scopes_array,
            metadata: Json::from_raw(tuple.get(METADATA)?).kept(self.call),
        })
    }

    /// The name of an account's plan.
    pub fn plan_of(&self, account: Text) -> Option<Text> {
        let mut plan = None;
        self.accounts.each_visible(Some(Wanted::text(account)), self.snapshot, |tuple| {
            plan = tuple
                .get(column::accounts::PLAN)
                .map(|datum| Text::from_raw(datum).kept(self.call));
            ControlFlow::Break(())
        });
        plan
    }

    /// A plan by its name.
    pub fn plan(&self, plan: Text) -> Option<Plan<'call>> {
        let mut found = None;
        self.each_plan(Some(plan), |plan| found = Some(plan));
        found
    }

    /// Every plan that includes API access, in order of rank.
    pub fn plans_with_access(&self) -> &'call [Plan<'call>] {
        let mut count = 0;
        self.each_plan(None, |_| count += 1);
        let plans = self.call.keep((0..count).map(|_| Plan::default()));
        let mut filled = 0;
        self.each_plan(None, |plan| {
            if plan.api_access && filled < count {
                plans[filled] = plan;
                filled += 1;
            }
        });
        let plans = &mut plans[..filled];
        plans.sort_unstable_by_key(|plan| (plan.rank, plan.plan));
        plans
    }

    fn each_plan(&self, name: Option<Text>, mut visit: impl FnMut(Plan<'call>)) {
        use column::plans::*;
        self.plans.each_visible(name.map(Wanted::text), self.snapshot, |tuple| {
            let is = |column| tuple.get(column).is_some_and(|datum| datum.value() as u8 != 0);
            let integer = |column| tuple.get(column).map(|datum| datum.value() as i32);
            if let Some(plan) = tuple.get(PLAN) {
                visit(Plan {
                    plan: Text::from_raw(plan).kept(self.call).bytes_unguarded(self.call),
                    api_access: is(API_ACCESS),
                    concurrent_tasks: integer(CONCURRENT_TASKS),
                    rank: integer(RANK).unwrap_or(i32::MAX),
                });
            }
            ControlFlow::Continue(())
        });
    }
}
