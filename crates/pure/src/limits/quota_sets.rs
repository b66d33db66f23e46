//! What is used of quotas, in memory that processes share.
//!
//! The memory is an array of sets, one beside each set of buckets ([`crate::limits::bucket_sets`]),
//! whose lock guards it. So the policies and quotas of a call are decided and charged under the
//! same locks. A slot holds one quota of a holder in one period: the **base**, which the table has,
//! and what is **pending**, which was used here since. What decides is their sum.
//!
//! The sum is exact, by three rules:
//!
//! 1. A slot is freed only while nothing of it is pending or being flushed: the table has it all.
//!    Otherwise only a change of the account frees it ([`crate::limits::changes`]).
//! 2. A flush adds to the table the numbers that were pending when it began. It commits, and then
//!    settles: under the lock, it sets the base to the table's new number, and subtracts from
//!    `pending` the number that it added. The sum stays the same.
//! 3. Whoever reads a base from the table reads the set's number first ([`QuotaSets::number_of`]),
//!    takes a snapshot after that, and stores the base under the lock. It is stored only if no slot
//!    of the set was settled meanwhile, which changes the number, and if this slot is not being
//!    flushed. Otherwise the table may have what the snapshot does not show. A slot that was freed
//!    meanwhile, after uses that the snapshot does not show, was settled before that.

use crate::limits::bucket_set::BucketId;
use crate::limits::bucket_sets::{Locked, Sets};
use crate::limits::pending_charge::PendingCharge;
use crate::limits::quota_decision::CountedQuota;
use crate::limits::quota_set::{MaxAge, QuotaSet, Reading, SLOTS, Slot, Stored, add};
use crate::limits::quotas::Usage;
use crate::sync::Ordering::{Acquire, Relaxed};

/// How often a base is read for one call before the call is judged by what the table has. Each time
/// a flush or another quota has come between.
const ATTEMPTS: u32 = 100;

/// The sets, and the locks beside them.
#[derive(Clone, Copy)]
pub struct QuotaSets<'memory> {
    /// The sets of buckets.
    pub locks: Sets<'memory>,
    /// As many sets of slots.
    pub sets: &'memory [QuotaSet],
}

impl<'memory> QuotaSets<'memory> {
    /// Looks where the slots of quotas are likely to be, as [`Sets::look_up`] does.
    #[inline]
    pub fn look_up(self, counted: &mut [CountedQuota]) {
        for each in counted {
            each.likely = self.set(each.id).map_or(0, |set| set.likely(each.id));
        }
    }

    /// Runs `act` while the sets of two holders are locked and it is known what is used of their
    /// quotas. It must not fail, nor wait for anything, and is run once. `read_base` takes a
    /// snapshot of the table and reads the base of a quota; it runs while nothing is locked.
    ///
    /// A quota without a slot is judged by what the table has. [`QuotaSets::charge`] does not
    /// charge it.
    pub fn while_known<R>(
        self,
        holders: [u64; 2],
        counted: &mut [CountedQuota],
        reading: Reading,
        mut read_base: impl FnMut(&CountedQuota) -> i64,
        mut act: impl FnMut(Locked, &mut [CountedQuota]) -> R,
    ) -> R {
        let Reading { now, max_age, .. } = reading;
        let (mut without, mut attempts) = (0, 0);
        loop {
            let known = self.locks.while_locked(holders, |locked| {
                let missing = self.read(locked, counted, now, max_age) & !without;
                match missing == 0 {
                    true => Ok(act(locked, counted)),
                    false => Err(missing.trailing_zeros() as usize),
                }
            });
            let missing = match known {
                Ok(result) => return result,
                Err(missing) => missing,
            };
            let Some(each) = counted.get_mut(missing) else { continue };
            let number = self.number_of(each.id);
            let base = read_base(each);
            let stored = self.store_base(each, base, number, reading);
            // A flush that has failed leaves its mark until the next one.
            attempts += if stored == Stored::BeingFlushed { ATTEMPTS / 10 } else { 1 };
            if stored == Stored::NoRoom || attempts >= ATTEMPTS {
                (each.usage.base, each.usage.pending) = (base, 0);
                without |= 1 << missing;
            }
        }
    }

    /// Reads what is used of the quotas of a call, at most 32. Returns those whose base has to be
    /// read from the table first, as bits by their positions.
    pub fn read(
        self,
        locked: Locked,
        counted: &mut [CountedQuota],
        now: u32,
        max_age: MaxAge,
    ) -> u32 {
        let mut missing = 0;
        for (at, each) in counted.iter_mut().enumerate() {
            match self.locked_set(locked, each.id).and_then(|set| set.slot(each.id, each.likely)) {
                Some(slot) => {
                    each.usage.base = slot.base.load(Relaxed);
                    each.usage.pending = slot.pending.load(Relaxed);
                    missing |= u32::from(!slot.is_fresh(now, max_age)) << at;
                }
                None => missing |= 1 << at,
            }
        }
        missing
    }

    /// The number of the set of a quota, for [`QuotaSets::store_base`]. Takes no lock. The caller
    /// takes its snapshot of the table after this.
    pub fn number_of(self, id: BucketId) -> u32 {
        self.set(id).map_or(0, |set| set.number.load(Acquire))
    }

    /// Stores a base that was read since [`QuotaSets::number_of`] returned `number`.
    pub fn store_base(
        self,
        counted: &CountedQuota,
        base: i64,
        number: u32,
        reading: Reading,
    ) -> Stored {
        let Some((set, at)) = self.set(counted.id).zip(self.locks.number_of(counted.id.holder))
        else {
            return Stored::NoRoom;
        };
        let store = || set.store_base(counted, base, number, reading);
        self.locks.while_set_locked(at, store).unwrap_or(Stored::NoRoom)
    }

    /// Charges the quotas that a call is charged to, as [`QuotaSets::read`] has found them under
    /// the same lock. Returns how many have no slot.
    ///
    /// For the history, the charge counts once: with the last of the quotas, which is the key's own
    /// if it has one. Of a refund counts what the quota took back that took back the most.
    pub fn charge(
        self,
        locked: Locked,
        key: &[u8; 16],
        counted: &mut [CountedQuota],
        cost: i64,
    ) -> usize {
        let (mut unstored, mut charged, mut last) = (0, 0_i64, None);
        for each in counted {
            let set = self.locked_set(locked, each.id);
            let Some(slot) = set.and_then(|set| set.slot(each.id, each.likely)) else {
                unstored += 1;
                continue;
            };
            slot.warn_from.store(each.warn_from, Relaxed);
            if each.is_charged && cost != 0 {
                // What is being handed over was used too, and can be given back.
                let handed = slot.handed.load(Relaxed);
                let pending = each.usage.pending.saturating_add(handed);
                let amount = Usage { pending, ..each.usage }.charge(cost);
                slot.note_key(key);
                each.usage.pending = each.usage.pending.saturating_add(amount);
                slot.pending.store(each.usage.pending, Relaxed);
                last = Some(slot);
                charged = if cost < 0 { charged.min(amount) } else { amount };
            }
        }
        if let Some(slot) = last {
            add(&slot.charged, charged);
        }
        unstored
    }

    /// Reads the pending numbers of a database, from a set on and in at most about `limit` slots,
    /// and marks them as being flushed. Also returns the set to continue from, if there are more.
    /// Only one process at a time does this; a mark that a failed one has left goes.
    pub fn collect(
        self,
        database: u32,
        from: usize,
        limit: usize,
    ) -> (Vec<PendingCharge>, Option<usize>) {
        let mut found = Vec::new();
        for (number, set) in self.sets.iter().enumerate().skip(from) {
            if found.len() >= limit {
                return (found, Some(number));
            }
            if !set.is_used() {
                continue;
            }
            // Room for them before the lock is taken.
            found.reserve(SLOTS);
            self.locks.while_set_locked(number, || {
                let slots = set.used().filter(|(_, it)| it.database.load(Relaxed) == database);
                for (at, slot) in slots {
                    // Of a handover that began before this server was promoted.
                    slot.take_back();
                    slot.mark(slot.is_pending());
                    if slot.is_pending() {
                        found.extend(slot.charge((number, at)));
                    }
                }
            });
        }
        (found, None)
    }

    /// Whether a flush has marked numbers of a database that it has not settled yet.
    pub fn are_being_flushed(self, database: u32) -> bool {
        let mut all = self.sets.iter().flat_map(QuotaSet::used).map(|(_, slot)| slot);
        all.any(|slot| slot.database.load(Relaxed) == database && slot.is_being_flushed())
    }

    /// Takes what the tables have now out of the memory: a transaction has committed it. `used` is
    /// what the table of quotas has, for each.
    pub fn settle<'a>(self, flushed: impl Iterator<Item = (&'a PendingCharge, i64)>, now: u32) {
        for (charge, used) in flushed {
            self.flushed(charge, |set, slot| {
                slot.base.store(used, Relaxed);
                slot.base_at.store(now.max(1), Relaxed);
                set.take(slot, charge);
            });
        }
    }

    /// Forgets charges that no row of the table can have.
    pub fn forget<'a>(self, charges: impl Iterator<Item = &'a PendingCharge>) {
        for charge in charges {
            self.flushed(charge, |set, slot| set.take(slot, charge));
        }
    }

    /// Leaves charges for the next flush, except for what the history has of them.
    pub fn release<'a>(self, charges: impl Iterator<Item = &'a PendingCharge>) {
        for charge in charges {
            self.flushed(charge, |_, slot| {
                add(&slot.charged, charge.charged.saturating_neg());
                slot.mark(false);
            });
        }
    }

    /// Has the next charge bring another key, since the key of these is not there.
    pub fn miss_keys<'a>(self, charges: impl Iterator<Item = &'a PendingCharge>, now: u32) {
        for charge in charges {
            self.flushed(charge, |_, slot| slot.miss_key(&charge.key, now));
        }
    }

    /// Forgets the quotas of databases that were dropped.
    pub fn forget_databases(self, is_dropped: impl Fn(u32) -> bool) {
        self.each_used(|set, at, slot| {
            if is_dropped(slot.database.load(Relaxed)) {
                set.free(at);
            }
        });
    }

    /// The databases in which something is pending, in order.
    pub fn databases(self) -> Vec<u32> {
        let mut found = Vec::new();
        let used = self.sets.iter().flat_map(QuotaSet::used).map(|(_, slot)| slot);
        for slot in used.filter(|slot| slot.is_pending()) {
            let database = slot.database.load(Relaxed);
            if let Err(at) = found.binary_search(&database) {
                found.insert(at, database);
            }
        }
        found
    }

    /// All that is pending; None if a set is locked, whose content may be half written.
    pub fn export(self) -> Option<Vec<PendingCharge>> {
        let mut found = Vec::new();
        for (number, (set, beside)) in self.sets.iter().zip(self.locks.0).enumerate() {
            let pending = || {
                let charges = set.used().filter_map(|(at, slot)| slot.charge((number, at)));
                found.extend(charges.filter(|charge| !charge.is_empty()));
            };
            beside.lock.try_with(pending)?;
        }
        Some(found)
    }

    /// Loads what was exported. The bases are read anew. Returns for how many there was no slot.
    pub fn import(self, exported: &[PendingCharge]) -> usize {
        let load = |charge: &&PendingCharge| {
            let Some((set, number)) =
                self.set(charge.id).zip(self.locks.number_of(charge.id.holder))
            else {
                return false;
            };
            self.locks.while_set_locked(number, || set.import(charge)).unwrap_or(false)
        };
        exported.len() - exported.iter().filter(load).count()
    }

    /// Runs `run` with the slot of a charge, if it still has this quota and is being flushed, while
    /// its set is locked.
    fn flushed(self, charge: &PendingCharge, run: impl FnOnce(&QuotaSet, &Slot)) {
        self.at(charge, |set, slot| {
            if slot.is_being_flushed() {
                run(set, slot);
            }
        });
    }

    /// Runs `run` with the slot of a charge, if it still has this quota, while its set is locked.
    pub(super) fn at(self, charge: &PendingCharge, run: impl FnOnce(&QuotaSet, &Slot)) {
        let (number, at) = charge.at;
        let Some((set, slot)) =
            self.sets.get(number).and_then(|set| Some((set, set.slots.get(at)?)))
        else {
            return;
        };
        self.locks.while_set_locked(number, || {
            if set.tags[at].load(Relaxed) != 0 && slot.id() == charge.id {
                run(set, slot);
            }
        });
    }

    /// Runs `run` for each slot in use, while its set is locked.
    pub(super) fn each_used(self, run: impl Fn(&QuotaSet, usize, &Slot)) {
        for (number, set) in self.sets.iter().enumerate().filter(|(_, set)| set.is_used()) {
            let all = || set.used().for_each(|(at, slot)| run(set, at, slot));
            self.locks.while_set_locked(number, all);
        }
    }

    /// The set of a quota.
    fn set(self, id: BucketId) -> Option<&'memory QuotaSet> {
        self.sets.get(self.locks.number_of(id.holder)?)
    }

    /// The set of a quota, if it is locked.
    fn locked_set(self, locked: Locked, id: BucketId) -> Option<&'memory QuotaSet> {
        self.set(id).filter(|_| locked.is_of(id.holder))
    }
}
