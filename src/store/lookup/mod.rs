//! Lookups on the way to an answer: rows of the tables, read through an index without SQL, under
//! the latest snapshot.

mod stored;

use core::cell::Cell;
use core::ops::ControlFlow;

use pure::cache::tids;

use crate::pg::call::Call;
use crate::pg::read::catalog::Table;
use crate::pg::read::scan::{Opened, Wanted};
use crate::pg::read::snapshot::Snapshot;
use crate::pg::read::tuple::Tuple;
use crate::pg::read::{in_place, snapshot};
use crate::pg::types::{Bytes, Text};
use crate::store::columns;

pub use self::stored::{Limits, Plan, StoredKey, Texts};

/// The row was not where it was before, or nobody knows where it is: this table must be open for
/// the lookup to go on.
#[derive(Clone, Copy)]
pub struct Moved(Table);

/// A reader of the tables, under one snapshot.
///
/// Everything here is unguarded: see [`crate::pg::ffi::unguarded`].
pub struct LookUp<'call> {
    call: &'call Call,
    /// The tables that are open, by their numbers.
    opened: [Option<Opened>; READ_TOGETHER.len()],
    /// The table whose row was not where it was before.
    missed: Option<Table>,
    snapshot: Snapshot,
    /// What the rows of a key, its account and the account's plan that were read say of limits.
    /// Most say nothing. Kept here, it makes no result larger.
    limits: Cell<Option<&'call Limits<'call>>>,
}

/// The tables that one lookup may need, in the order in which they are locked.
const READ_TOGETHER: [Table; 3] = [Table::Keys, Table::Accounts, Table::Plans];

/// Reads the tables as they are now, under one snapshot. `read` returns plain data, copied into the
/// call's memory.
///
/// Rows that were read before are looked up by their cached TID, without opening a table
/// ([`crate::pg::read::in_place`]). Where that fails, reading begins anew with the table open. The
/// snapshot is taken after the lock: an older snapshot does not show the rows of a table that was
/// rewritten while the lock was waited for.
pub fn now<'call, R: Copy>(
    call: &'call Call,
    read: impl Fn(&LookUp<'call>) -> Result<R, Moved>,
) -> R {
    let mut wanted = [false; READ_TOGETHER.len()];
    let mut missed = None;
    loop {
        let mut opened = [const { None }; READ_TOGETHER.len()];
        for &table in READ_TOGETHER.iter().filter(|table| wanted[**table as usize]) {
            opened[table as usize] = Some(Opened::open(table, columns::shape(table)));
        }
        in_place::accept_invalidations();
        let (snapshot, limits) = (snapshot::latest(), Cell::new(None));
        let mut lookup = LookUp { call, opened, missed, snapshot, limits };
        let result = read(&lookup);
        for opened in lookup.opened.iter_mut().rev().filter_map(Option::take) {
            opened.close();
        }
        match result {
            Ok(result) => return result,
            Err(Moved(table)) => {
                missed = Some(table);
                wanted[table as usize] = true;
                // The lookups that follow need these tables too, and have no cached TID for them.
                for table in READ_TOGETHER.into_iter().filter(|table| !in_place::knows(*table)) {
                    wanted[table as usize] = true;
                }
            }
        }
    }
}

/// How many tasks an account's plan allows at once, Some(None) being no limit; None where there is
/// no such account or plan.
pub fn tasks_allowed(call: &Call, account: Text) -> Option<Option<i32>> {
    now(call, |tables| {
        let plan = tables.plan_of(account)?.map(|plan| tables.plan(plan)).transpose()?.flatten();
        Ok(plan.map(|plan| plan.concurrent_tasks))
    })
}

impl<'call> LookUp<'call> {
    /// Applies `read` to the row that has a value in the first column of its table's index. The
    /// tag stands for the value in the cache of TIDs; since values can share a tag, `read` returns
    /// None for the row of another value.
    fn row<R: Copy>(
        &self,
        table: Table,
        tag: u32,
        value: impl FnOnce() -> Wanted,
        read: impl Fn(&Tuple) -> Option<R>,
    ) -> Result<Option<R>, Moved> {
        if self.missed != Some(table)
            && let Some(found) = in_place::row(table, tag, self.snapshot, &read)
        {
            return Ok(Some(found));
        }
        let opened = self.opened[table as usize].as_ref().ok_or(Moved(table))?;
        let mut found = None;
        opened.each_visible(Some(value()), self.snapshot, |tuple| {
            found = read(tuple);
            if found.is_none() {
                return ControlFlow::Continue(());
            }
            in_place::remember(table, columns::shape(table), opened, tag, tuple);
            ControlFlow::Break(())
        });
        Ok(found)
    }

    /// The key of a hash.
    pub fn key(&self, hash: &[u8], with_details: bool) -> Result<Option<StoredKey<'call>>, Moved> {
        let tag = hash.first_chunk().map_or(0, |tag| u32::from_ne_bytes(*tag));
        let value = || Wanted::bytes(Bytes::new_unguarded(self.call, hash));
        self.row(Table::Keys, tag, value, |tuple| {
            StoredKey::has_hash(tuple, hash)
                .then(|| StoredKey::read(self.call, tuple, with_details))?
                .inspect(|_| self.note(Texts::of_key(self.call, tuple), |it| &mut it.key))
        })
    }

    /// Notes what a row says of limits, if it says anything.
    #[inline(always)]
    fn note(
        &self,
        texts: Option<Texts<'call>>,
        of: impl for<'a> FnOnce(&'a mut Limits<'call>) -> &'a mut Texts<'call>,
    ) {
        if let Some(texts) = texts {
            let mut limits = self.limits.get().copied().unwrap_or_default();
            *of(&mut limits) = texts;
            self.limits.set(self.call.copy_unguarded(&[limits]).first());
        }
    }

    /// What the key, its account and the account's plan say of limits that were read; None where
    /// none of them says anything.
    pub fn limits(&self) -> Option<&'call Limits<'call>> {
        self.limits.get()
    }

    /// The name of an account's plan.
    pub fn plan_of(&self, account: Text) -> Result<Option<Text>, Moved> {
        self.named(Table::Accounts, account, |tuple| {
            self.note(Texts::of_account(self.call, tuple), |it| &mut it.account);
            tuple.text(columns::accounts::PLAN).map(|plan| plan.kept(self.call))
        })
    }

    /// A plan by its name.
    pub fn plan(&self, plan: Text) -> Result<Option<Plan<'call>>, Moved> {
        self.named(Table::Plans, plan, |tuple| Plan::read(self.call, tuple))
    }

    /// Whether a plan includes API access; None where there is no such plan.
    #[inline(always)]
    pub fn includes_access(&self, plan: Text) -> Result<Option<bool>, Moved> {
        self.named(Table::Plans, plan, |tuple| {
            self.note(Texts::of_plan(self.call, tuple), |it| &mut it.plan);
            Some(tuple.is(columns::plans::API_ACCESS))
        })
    }

    /// Applies `read` to the row of a name.
    fn named<R: Copy>(
        &self,
        table: Table,
        name: Text,
        read: impl Fn(&Tuple) -> Option<R>,
    ) -> Result<Option<R>, Moved> {
        let wanted = name.bytes_unguarded(self.call);
        let value = || Wanted::text(name);
        self.row(table, tids::tag(table as u8, wanted), value, |tuple| {
            let stored = tuple.text(columns::NAME)?.bytes();
            (stored == wanted).then(|| read(tuple))?
        })
    }

    /// Every plan that includes API access, in order of rank.
    pub fn plans_with_access(&self) -> Result<&'call [Plan<'call>], Moved> {
        let opened = self.opened[Table::Plans as usize].as_ref().ok_or(Moved(Table::Plans))?;
        let each = |visit: &mut dyn FnMut(Plan<'call>)| {
            opened.each_visible(None, self.snapshot, |tuple| {
                if let Some(plan) = Plan::read(self.call, tuple).filter(|plan| plan.api_access) {
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
}
