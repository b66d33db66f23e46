//! Rows of the tables, read on the way to an answer: straight through an index, under one snapshot
//! that is the latest at the time.

use core::cell::RefCell;
use core::ops::ControlFlow;

use pgrx::pg_sys::AttrNumber;

use pure::answer::decision::{self, Key, Request};
use pure::answer::status::Status;
use pure::cache::access::Accesses;
use pure::cache::epoch::Epoch;
use pure::cache::keys::{CachedKey, CachedKeys};
use pure::cache::tids;
use pure::key::environment::Environment;
use pure::key::token::HASH_LENGTH;
use pure::request::network::Network;

use crate::pg::call::Call;
use crate::pg::read::catalog::Table;
use crate::pg::read::scan::{Opened, Wanted};
use crate::pg::read::snapshot::Snapshot;
use crate::pg::read::tuple::Tuple;
use crate::pg::read::{catalog, in_place, snapshot};
use crate::pg::server::{clock, settings};
use crate::pg::types::{Bytes, Json, Text, TextArray};

/// Column numbers, as sql/tables.sql numbers them. Columns are only ever appended.
mod column {
    use crate::store::lookup::{AttrNumber, Table};

    /// The last column that is read of a table.
    pub fn last(table: Table) -> AttrNumber {
        match table {
            Table::Keys => keys::METADATA,
            Table::Accounts => accounts::PLAN,
            Table::Plans => plans::RANK,
            Table::TaskLeases => task_leases::EXPIRES_AT,
        }
    }

    pub mod keys {
        use crate::store::lookup::AttrNumber;
        pub const ID: AttrNumber = 1;
        pub const KEY_HASH: AttrNumber = 2;
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

    /// Accounts and plans have their name first.
    pub const NAME: AttrNumber = 1;

    pub mod accounts {
        use crate::store::lookup::AttrNumber;
        pub const PLAN: AttrNumber = 2;
    }

    pub mod plans {
        use crate::store::lookup::AttrNumber;
        pub const API_ACCESS: AttrNumber = 2;
        pub const CONCURRENT_TASKS: AttrNumber = 3;
        pub const RANK: AttrNumber = 4;
    }

    pub mod task_leases {
        use crate::store::lookup::AttrNumber;
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

impl StoredKey<'_> {
    /// Judges it.
    pub fn judge(&self, api_access: bool, request: &Request) -> Status {
        self.environment.map_or(Status::InvalidApiKey, |environment| {
            let key = Key {
                environment,
                revoked: self.revoked,
                expires_at: self.expires_at,
                disabled: self.disabled,
                allowed_ips: self.allowed_ips,
                scopes: self.details.map_or(&[], |details| details.scopes),
                api_access,
            };
            decision::decide(&key, request)
        })
    }

    /// What is remembered of it; nothing of a key that is limited to addresses.
    pub fn seen(&self, api_access: bool) -> Option<CachedKey> {
        let environment = self.environment.filter(|_| self.allowed_ips.is_none())?;
        Some(CachedKey {
            id: self.id,
            environment,
            revoked: self.revoked,
            disabled: self.disabled,
            expires_at: self.expires_at.unwrap_or(i64::MAX),
            api_access,
        })
    }
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

thread_local! {
    static ACCESSES: RefCell<Accesses> = const { RefCell::new(Accesses::new()) };
    static SEEN: RefCell<CachedKeys> = const { RefCell::new(CachedKeys::new()) };
}

/// A table that has to be open to go on.
#[derive(Clone, Copy)]
pub struct Moved(Table);

/// The tables as they are at one lookup.
///
/// Everything here is unguarded: see [`crate::pg::ffi::unguarded`].
pub struct LookUp<'call> {
    call: &'call Call,
    opened: [Option<Opened>; READ_TOGETHER.len()],
    /// Whose row was not found where it was.
    missed: Option<Table>,
    snapshot: Snapshot,
}

/// The tables that one reading may need, in the order in which they are locked.
const READ_TOGETHER: [Table; 3] = [Table::Keys, Table::Accounts, Table::Plans];

/// Reads the tables as they are now, under one snapshot. What is read is plain data, copied into the
/// call's memory.
///
/// Rows that were read before are looked for where they were, without opening anything
/// ([`crate::pg::read::in_place`]). Where one is not found so, reading begins anew, with its table open: the
/// snapshot is taken after the lock, since a rewrite that the lock waited for is invisible to an older
/// one.
pub fn now<'call, R: Copy>(
    call: &'call Call,
    read: impl Fn(&LookUp<'call>) -> Result<R, Moved>,
) -> R {
    let mut wanted = [false; READ_TOGETHER.len()];
    let mut missed = None;
    loop {
        let mut opened = [const { None }; READ_TOGETHER.len()];
        for table in READ_TOGETHER.into_iter().filter(|table| wanted[*table as usize]) {
            opened[table as usize] = Some(Opened::open(table));
        }
        in_place::accept_invalidations();
        let lookup = LookUp { call, opened, missed, snapshot: snapshot::latest() };
        let result = read(&lookup);
        for opened in lookup.opened.into_iter().rev().flatten() {
            opened.close();
        }
        match result {
            Ok(result) => return result,
            Err(Moved(table)) => {
                missed = Some(table);
                wanted[table as usize] = true;
                // Nothing of these would be found next.
                for table in READ_TOGETHER.into_iter().filter(|table| !in_place::knows(*table)) {
                    wanted[table as usize] = true;
                }
            }
        }
    }
}

/// How many leases of an account have not ended.
pub fn running_tasks(account: Text) -> i64 {
    let leases = Opened::open(Table::TaskLeases);
    let now = clock::now().micros();
    let mut running = 0;
    leases.each_visible(Some(Wanted::text(account)), snapshot::latest(), |tuple| {
        let end = tuple.timestamp(column::task_leases::EXPIRES_AT);
        running += i64::from(end.is_some_and(|end| end.micros() > now));
        ControlFlow::Continue(())
    });
    leases.close();
    running
}

/// Whether what is seen of tables can change with the epoch alone. So it is with heaps, where whoever changes
/// a row has a transaction id; another access method may have transactions of its own.
fn follow_views(tables: &[Table]) -> bool {
    tables.iter().all(|table| in_place::knows(*table))
}

impl<'call> LookUp<'call> {
    /// What `read` makes of the row with a value in the first column of its table's index. The tag
    /// stands for the value; `read` gives None for another value's row.
    fn row<R: Copy>(
        &self,
        table: Table,
        tag: u32,
        value: impl FnOnce() -> Wanted,
        read: impl Fn(&Tuple) -> Option<R>,
    ) -> Result<Option<R>, Moved> {
        if self.missed != Some(table) {
            let columns = column::last(table);
            if let Some(found) = in_place::row(table, tag, columns, self.snapshot, &read) {
                return Ok(Some(found));
            }
        }
        let opened = self.opened[table as usize].as_ref().ok_or(Moved(table))?;
        let mut found = None;
        opened.each_visible(Some(value()), self.snapshot, |tuple| {
            found = read(tuple);
            if found.is_none() {
                return ControlFlow::Continue(());
            }
            in_place::remember(table, opened, tag, tuple);
            ControlFlow::Break(())
        });
        Ok(found)
    }

    /// A key with its access, if it was seen in this epoch: nothing is read then.
    pub fn seen(&self, epoch: Epoch, hash: &[u8; HASH_LENGTH]) -> Option<CachedKey> {
        if self.missed.is_some() {
            return None;
        }
        let limit = settings::cache_share();
        let found = SEEN.with_borrow_mut(|seen| seen.find(epoch, hash, limit))?;
        in_place::may_leave_the_page().then_some(found)
    }

    /// Remembers a key with its access, which were read after the epoch was asked for.
    pub fn remember(&self, epoch: Epoch, hash: &[u8; HASH_LENGTH], key: CachedKey) {
        if !follow_views(&READ_TOGETHER) {
            return;
        }
        let limit = settings::cache_share();
        SEEN.with_borrow_mut(|seen| seen.remember(epoch, hash, key, limit));
    }

    /// The key of a hash.
    pub fn key(&self, hash: &[u8], with_details: bool) -> Result<Option<StoredKey<'call>>, Moved> {
        let tag = hash.first_chunk().map_or(0, |tag| u32::from_ne_bytes(*tag));
        let value = || Wanted::bytes(Bytes::new_unguarded(self.call, hash));
        self.row(Table::Keys, tag, value, |tuple| {
            let stored = tuple.bytea(column::keys::KEY_HASH)?;
            (stored.bytes() == hash).then(|| self.read_key(tuple, with_details))?
        })
    }

    fn read_key(&self, tuple: &Tuple, with_details: bool) -> Option<StoredKey<'call>> {
        use column::keys::*;
        let call = self.call;
        let details = match with_details {
            true => Some(self.read_details(tuple)?),
            false => None,
        };
        Some(StoredKey {
            id: tuple.uuid(ID)?,
            account: tuple.text(ACCOUNT)?.kept(call),
            environment: tuple
                .text(ENVIRONMENT)
                .and_then(|name| Environment::from_name(name.bytes())),
            revoked: tuple.has(REVOKED_AT),
            disabled: tuple.has(DISABLED_AT),
            expires_at: tuple.timestamp(EXPIRES_AT).map(|expires_at| expires_at.micros()),
            // A null among the networks admits nobody.
            allowed_ips: tuple.cidr_array(ALLOWED_IPS).map(|networks| {
                let networks = networks.networks(call);
                &*call.keep_unguarded(networks.iter().filter_map(|network| *network))
            }),
            details,
        })
    }

    fn read_details(&self, tuple: &Tuple) -> Option<Details<'call>> {
        use column::keys::*;
        let scopes_array = tuple.text_array(SCOPES)?.kept(self.call);
        let scopes = scopes_array.elements_unguarded(self.call);
        Some(Details {
            name: tuple.text(NAME)?.kept(self.call),
            scopes: self.call.keep_unguarded(scopes.iter().filter_map(|scope| *scope)),
            scopes_array,
            metadata: tuple.json(METADATA)?.kept(self.call),
        })
    }

    /// Whether an account's plan includes API access. Where no transaction has ended since that was
    /// found out, nothing is read.
    pub fn has_access(&self, account: Text) -> Result<bool, Moved> {
        let name = account.bytes_unguarded(self.call);
        let tag = tids::tag(Table::Accounts as u8, name);
        let epoch = self.epoch();
        let known = |epoch| ACCESSES.with_borrow(|accesses| accesses.find(epoch, tag, name));
        if let Some(known) = epoch.and_then(known) {
            return Ok(known);
        }
        let plan = self.plan_of(account)?;
        let included = plan.map(|plan| self.includes_access(plan)).transpose()?.flatten();
        let included = included.unwrap_or(false);
        if let Some(epoch) = epoch.filter(|_| follow_views(&[Table::Accounts, Table::Plans])) {
            ACCESSES.with_borrow_mut(|accesses| accesses.remember(epoch, tag, name, included));
        }
        Ok(included)
    }

    /// What is seen here, if that can be told from what others see, and may be remembered. A
    /// transaction that gives a table another file ends before its message arrives: until then the
    /// old file is read, under a snapshot that counts that transaction already.
    pub fn epoch(&self) -> Option<Epoch> {
        let snapshot = self.snapshot.number()?;
        let relations = catalog::changes();
        (settings::cache_share() > 0).then_some(Epoch { snapshot, relations })
    }

    /// The name of an account's plan.
    pub fn plan_of(&self, account: Text) -> Result<Option<Text>, Moved> {
        self.named(Table::Accounts, account, |tuple| {
            tuple.text(column::accounts::PLAN).map(|plan| plan.kept(self.call))
        })
    }

    /// A plan by its name.
    pub fn plan(&self, plan: Text) -> Result<Option<Plan<'call>>, Moved> {
        self.named(Table::Plans, plan, |tuple| self.read_plan(tuple))
    }

    /// Whether a plan includes API access; None where there is no such plan.
    pub fn includes_access(&self, plan: Text) -> Result<Option<bool>, Moved> {
        self.named(Table::Plans, plan, |tuple| Some(tuple.is(column::plans::API_ACCESS)))
    }

    /// What `read` makes of the row of a name.
    fn named<R: Copy>(
        &self,
        table: Table,
        name: Text,
        read: impl Fn(&Tuple) -> Option<R>,
    ) -> Result<Option<R>, Moved> {
        let wanted = name.bytes_unguarded(self.call);
        let value = || Wanted::text(name);
        self.row(table, tids::tag(table as u8, wanted), value, |tuple| {
            let stored = tuple.text(column::NAME)?.bytes();
            (stored == wanted).then(|| read(tuple))?
        })
    }

    /// Every plan that includes API access, in order of rank.
    pub fn plans_with_access(&self) -> Result<&'call [Plan<'call>], Moved> {
        let opened = self.opened[Table::Plans as usize].as_ref().ok_or(Moved(Table::Plans))?;
        let each = |visit: &mut dyn FnMut(Plan<'call>)| {
            opened.each_visible(None, self.snapshot, |tuple| {
                if let Some(plan) = self.read_plan(tuple).filter(|plan| plan.api_access) {
                    visit(plan);
                }
                ControlFlow::Continue(())
            });
        };
        let mut count = 0;
        each(&mut |_| count += 1);
        let plans = self.call.keep_unguarded((0..count).map(|_| Plan::default()));
        let mut filled = 0;
        each(&mut |plan| {
            if let Some(place) = plans.get_mut(filled) {
                *place = plan;
                filled += 1;
            }
        });
        let plans = &mut plans[..filled];
        plans.sort_unstable_by_key(|plan| (plan.rank, plan.plan));
        Ok(plans)
    }

    fn read_plan(&self, tuple: &Tuple) -> Option<Plan<'call>> {
        use column::plans::*;
        Some(Plan {
            plan: tuple.text(column::NAME)?.kept(self.call).bytes_unguarded(self.call),
            api_access: tuple.is(API_ACCESS),
            concurrent_tasks: tuple.integer(CONCURRENT_TASKS),
            rank: tuple.integer(RANK).unwrap_or(i32::MAX),
        })
    }
}
