//! Charges that a standby hands over to the primary: those that it has shown, and that somebody
//! adds to the primary's table.
//!
//! The standby decides by its copy of the table and by the pending numbers in its memory. Once a
//! charge is shown, the copy may have it too, and it must not count twice. So the charge moves from
//! `pending` to `handed`, which decides nothing. It is settled there. Otherwise it moves back when
//! the transaction ends that it was shown to.

use crate::limits::pending_charge::PendingCharge;
use crate::limits::quota_set::{Reading, SLOTS, Slot, add};
use crate::limits::quota_sets::QuotaSets;
use crate::sync::Ordering::Relaxed;

impl QuotaSets<'_> {
    /// Returns the pending charges of a database, of at most so many slots. From now on they do not
    /// count. No other handover of this database is going on.
    pub fn show(self, database: u32, limit: usize) -> Vec<PendingCharge> {
        let mut found = Vec::new();
        for (number, set) in self.sets.iter().enumerate().filter(|(_, set)| set.is_used()) {
            let left = limit - found.len();
            if left == 0 {
                break;
            }
            // Room for them before the lock is taken.
            found.reserve(SLOTS);
            self.locks.while_set_locked(number, || {
                let pending = set.used().filter(|(_, slot)| {
                    slot.database.load(Relaxed) == database && slot.is_pending()
                });
                for (at, slot) in pending.take(left) {
                    if let Some(charge) = slot.charge((number, at)) {
                        slot.hand();
                        found.push(charge);
                    }
                }
            });
        }
        found
    }

    /// Takes a charge that was shown out of the memory. The base is read anew, with all that the
    /// table has now.
    pub fn settle_shown(self, charge: &PendingCharge, reading: Reading) {
        let older = reading.now.saturating_sub(reading.max_age.pending).saturating_sub(1).max(1);
        self.at(charge, |set, slot| {
            slot.handed.store(0, Relaxed);
            let base_at = slot.base_at.load(Relaxed).min(older);
            slot.base_at.store(base_at, Relaxed);
            set.take(slot, &PendingCharge { amount: 0, ..*charge });
        });
    }

    /// Has what was shown of a database and not settled count again. It cannot fail, and waits for
    /// nothing but the locks.
    pub fn take_back(self, database: u32) {
        self.each_used(|_, _, slot| {
            if slot.database.load(Relaxed) == database {
                slot.take_back();
            }
        });
    }
}

impl Slot {
    /// Stops counting the pending number: it is being handed over.
    fn hand(&self) {
        add(&self.handed, self.pending.swap(0, Relaxed));
    }

    /// Counts the number again that is being handed over.
    pub(super) fn take_back(&self) {
        add(&self.pending, self.handed.swap(0, Relaxed));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::limits::applicable::Holder;
    use crate::limits::bucket_set::{BucketId, Set};
    use crate::limits::bucket_sets::Sets;
    use crate::limits::name::Name;
    use crate::limits::quota_decision::{CountedQuota, Counts};
    use crate::limits::quota_period::Span;
    use crate::limits::quota_set::{MaxAge, QuotaSet};
    use crate::limits::quotas::Usage;

    /// How a standby reads bases.
    fn at(now: u32) -> Reading {
        Reading { database: 1, now, max_age: MaxAge { idle: 1, pending: 1 }, over: 0 }
    }

    fn quota(holder: u64) -> CountedQuota {
        let meter = Name::parse(b"calls").expect("a name");
        CountedQuota {
            id: BucketId { holder, policy: holder << 8 },
            counts: Counts { holder: Holder::Account, meter, span: Span::Month, period_start: 9 },
            warn_from: 0,
            is_charged: true,
            period_end: 10,
            renewed: 10,
            usage: Usage { allowed: 10, base: 0, pending: 0 },
            likely: 0,
        }
    }

    #[derive(Default)]
    struct Memory(Vec<Set>, Vec<QuotaSet>);

    impl Memory {
        fn new(number: usize) -> Memory {
            let sets = (0..number).map(|_| Set::default()).collect();
            Memory(sets, (0..number).map(|_| QuotaSet::default()).collect())
        }

        fn quotas(&self) -> QuotaSets<'_> {
            QuotaSets { locks: Sets(&self.0), sets: &self.1 }
        }

        /// Charges a quota of which the table has so much. Returns what is used then.
        fn charge(&self, holder: u64, cost: i64, base: i64, now: u32) -> i64 {
            let (quotas, mut all) = (self.quotas(), [quota(holder)]);
            quotas.while_known(
                [holder; 2],
                &mut all,
                at(now),
                |_| base,
                |locked, all| {
                    assert_eq!(quotas.charge(locked, &[7; 16], all, cost), 0);
                    all[0].usage.used()
                },
            )
        }
    }

    fn amounts(charges: &[PendingCharge]) -> Vec<(i64, i64)> {
        charges.iter().map(|charge| (charge.amount, charge.charged)).collect()
    }

    /// G12: what was shown does not count, whether the table has it or not, until it is given back.
    #[test]
    fn what_was_shown_counts_again_when_it_is_taken_back() {
        let memory = Memory::new(1);
        let quotas = memory.quotas();
        assert_eq!(memory.charge(1, 6, 2, 5), 8);
        assert_eq!(amounts(&quotas.show(1, 9)), [(6, 6)]);
        assert_eq!(memory.charge(1, 1, 2, 5), 3);
        // The primary has added it, and the copy of the table shows it.
        assert_eq!(memory.charge(1, 1, 8, 7), 10);
        quotas.take_back(2);
        assert_eq!(memory.charge(1, 0, 8, 7), 10);
        quotas.take_back(1);
        assert_eq!(memory.charge(1, 0, 8, 7), 16);
        assert_eq!(amounts(&quotas.show(1, 9)), [(8, 8)]);
    }

    /// G12: what is settled is gone, and what came meanwhile is not.
    #[test]
    fn what_is_settled_leaves_what_was_charged_meanwhile() {
        let memory = Memory::new(1);
        let quotas = memory.quotas();
        memory.charge(1, 6, 2, 5);
        let shown = quotas.show(1, 9);
        memory.charge(1, 3, 2, 5);
        quotas.settle_shown(&shown[0], at(5));
        // The base was young enough, and is read anew.
        assert_eq!(memory.charge(1, 0, 8, 5), 11);
        quotas.take_back(1);
        assert_eq!(memory.charge(1, 0, 8, 5), 11);
        assert_eq!(amounts(&quotas.show(1, 9)), [(3, 3)]);
        // A base of before the settling is not stored.
        let (counted, number) = (quota(1), quotas.number_of(quota(1).id));
        quotas.settle_shown(&quotas.show(1, 9)[0], at(5));
        let stored = quotas.store_base(&counted, 8, number, at(5));
        assert_eq!(stored, crate::limits::quota_set::Stored::Outdated);
    }

    /// A refund gives back what is being handed over, too.
    #[test]
    fn a_refund_reaches_what_was_shown() {
        let memory = Memory::new(1);
        let quotas = memory.quotas();
        memory.charge(1, 6, 0, 5);
        let shown = quotas.show(1, 9);
        memory.charge(1, -4, 0, 5);
        quotas.settle_shown(&shown[0], at(5));
        assert_eq!(memory.charge(1, 0, 6, 5), 2);
        assert_eq!(amounts(&quotas.show(1, 9)), [(-4, -4)]);
    }

    #[test]
    fn no_more_slots_are_shown_than_were_asked_for() {
        let memory = Memory::new(2);
        let quotas = memory.quotas();
        for holder in [1, 2, 3, u64::MAX] {
            memory.charge(holder, 1, 0, 5);
        }
        for limit in 0..6 {
            assert_eq!(quotas.show(1, limit).len(), limit.min(4), "{limit}");
            quotas.take_back(1);
        }
        assert_eq!(quotas.show(2, 9).len(), 0);
    }

    /// A slot stays while it is handed over, and is saved with all that it has.
    #[test]
    fn a_slot_that_is_handed_over_is_not_taken() {
        let memory = Memory::new(1);
        let quotas = memory.quotas();
        for holder in 0..SLOTS as u64 {
            memory.charge(holder, 2, 0, 5);
        }
        let shown = quotas.show(1, SLOTS);
        let mut all = [quota(99)];
        let late = Reading { over: i64::MAX, ..at(5) };
        let store =
            |quota: &CountedQuota| quotas.store_base(quota, 0, quotas.number_of(quota.id), late);
        assert_eq!(store(&all[0]), crate::limits::quota_set::Stored::NoRoom);
        let exported = quotas.export().expect("no set is locked");
        assert_eq!(amounts(&exported), amounts(&shown));
        // The server is promoted, and flushes.
        let (batch, _) = quotas.collect(1, 0, SLOTS);
        assert_eq!(amounts(&batch), amounts(&shown));
        quotas.settle(batch.iter().map(|charge| (charge, 2)), 6);
        quotas.take_back(1);
        assert_eq!(memory.charge(3, 0, 2, 6), 2);
        all[0].usage.allowed = 1;
        assert_eq!(store(&all[0]), crate::limits::quota_set::Stored::Yes);
    }
}
