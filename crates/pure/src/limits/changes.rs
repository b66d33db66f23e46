//! Changes of accounts and quotas that concern what is used of limits.
//!
//! A transaction notes them, and carries them out when it has committed. Until then, other sessions
//! see the account as it was, and charge its limits. Where the transaction is rolled back, nothing
//! of that was touched.

use crate::limits::applicable::Holder;
use crate::limits::bucket::Nanos;
use crate::limits::bucket_set::{Set, Stored};
use crate::limits::id::HolderHash;
use crate::limits::name::Name;
use crate::limits::pending_charge::PendingCharge;
use crate::limits::quota_decision::Counts;
use crate::limits::quota_period::Span;
use crate::limits::quota_set::{QuotaSet, SLOTS, add};
use crate::limits::quota_sets::QuotaSets;
use crate::sync::Ordering::Relaxed;

/// A change of an account or of a quota.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// An account was deleted.
    Deleted(HolderHash),
    /// An account got another name.
    Renamed {
        /// Its old name.
        from: HolderHash,
        /// Its new name.
        to: HolderHash,
    },
    /// A holder has a quota that counts from now on. The table has nothing of it.
    Begun {
        /// Who has it.
        holder: HolderHash,
        /// What is counted.
        meter: Name,
        /// The length of a period.
        span: Span,
    },
    /// The same for all accounts of a plan, which are not known by their hashes.
    BegunOnPlan {
        /// The OID of their database.
        database: u32,
        /// What is counted.
        meter: Name,
        /// The length of a period.
        span: Span,
    },
    /// What was pending of an earlier quota of the same kind when this one began.
    Ended(PendingCharge),
}

impl Change {
    /// Carries the change out, as the transaction has committed. It cannot fail.
    pub fn carry_out(&self, quotas: QuotaSets, now: Nanos) {
        match self {
            Change::Deleted(holder) => quotas.forget_holder(holder.holder()),
            Change::Renamed { from, to } => quotas.rename(*from, *to, now),
            Change::Begun { holder, meter, span } => quotas.empty(holder.holder(), *meter, *span),
            Change::BegunOnPlan { .. } => {}
            Change::Ended(charge) => quotas.end_charge(charge),
        }
        self.read_again(quotas);
    }

    /// Has read again what calls of the transaction may have read from the table: only they have
    /// seen its changes before the commit. It cannot fail.
    pub fn read_again(&self, quotas: QuotaSets) {
        match self {
            Change::Deleted(holder) | Change::Begun { holder, .. } => {
                quotas.read_again(holder.holder());
            }
            Change::Renamed { from, to } => {
                quotas.read_again(from.holder());
                quotas.read_again(to.holder());
            }
            Change::BegunOnPlan { database, meter, span } => {
                quotas.read_all_again(*database, *meter, *span);
            }
            Change::Ended(charge) => quotas.read_again(charge.id.holder),
        }
    }
}

impl<'memory> QuotaSets<'memory> {
    /// What is pending of the quotas of a holder.
    pub fn pending_of(self, holder: HolderHash) -> Vec<PendingCharge> {
        // Room for them before the lock is taken.
        let mut found = Vec::with_capacity(SLOTS);
        self.while_locked(holder.holder(), |_, set| {
            let all = set.used().filter_map(|(at, slot)| slot.charge((0, at)));
            found.extend(all.filter(|it| it.id.holder == holder.holder() && !it.is_empty()));
        });
        found
    }

    /// What is pending of a kind of quota of all accounts of a database.
    pub fn pending_of_accounts(self, database: u32, meter: Name, span: Span) -> Vec<PendingCharge> {
        let mut found = Vec::new();
        for (number, set) in self.sets.iter().enumerate().filter(|(_, set)| set.is_used()) {
            // Room for them before the lock is taken.
            found.reserve(SLOTS);
            self.locks.while_set_locked(number, || {
                let all = set.used().filter_map(|(at, slot)| slot.charge((number, at)));
                found.extend(
                    all.filter(|it| it.is_of_account(database, meter, span) && !it.is_empty()),
                );
            });
        }
        found
    }

    /// Forgets what a holder has used of its rate limits and quotas.
    fn forget_holder(self, holder: u64) {
        self.while_locked(holder, |buckets, set| {
            buckets.take(holder, |_| ());
            for (at, _) in set.used().filter(|(_, slot)| slot.id().holder == holder) {
                set.free(at);
            }
        });
    }

    /// Has another holder take over what one has used of its rate limits and quotas, on top of what
    /// it has used already.
    fn rename(self, from: HolderHash, to: HolderHash, now: Nanos) {
        let sets = self.sets_of(from.holder()).zip(self.sets_of(to.holder()));
        let Some(((buckets, set), (to_buckets, to_set))) = sets else { return };
        self.locks.while_locked([from.holder(), to.holder()], |_| {
            buckets.take(from.holder(), |stored| {
                let id = from.handed_over(stored.id, to);
                to_buckets.add(Stored { id, ..stored }, now);
            });
            hand_over(set, from, to_set, to);
        });
    }

    /// Stops counting what was pending of a quota when it was set anew. The table has nothing of
    /// it. A later refund gives back no more than later calls have used.
    fn end_charge(self, charge: &PendingCharge) {
        self.while_locked(charge.id.holder, |_, set| {
            if let Some(slot) = set.slot(charge.id, 0) {
                let left = slot.pending.load(Relaxed).saturating_sub(charge.amount);
                slot.pending.store(left.max(0), Relaxed);
                slot.base.store(0, Relaxed);
            }
        });
    }

    /// Has the bases of a holder's kind of quota be those of a table that has nothing of it.
    fn empty(self, holder: u64, meter: Name, span: Span) {
        self.while_locked(holder, |_, set| {
            for (at, slot) in set.used().filter(|(_, slot)| slot.id().holder == holder) {
                let counts = slot.charge((0, at)).map(|charge| charge.counts);
                if counts.is_some_and(|it| it.meter == meter && it.span == span) {
                    slot.base.store(0, Relaxed);
                }
            }
        });
    }

    /// Has the bases of a holder's quotas read again.
    fn read_again(self, holder: u64) {
        self.while_locked(holder, |_, set| {
            for (_, slot) in set.used().filter(|(_, slot)| slot.id().holder == holder) {
                slot.base_at.store(0, Relaxed);
            }
            set.renumber();
        });
    }

    /// Has the bases of a kind of quota read again, of all accounts of a database.
    fn read_all_again(self, database: u32, meter: Name, span: Span) {
        self.each_used(|set, at, slot| {
            if slot.charge((0, at)).is_some_and(|it| it.is_of_account(database, meter, span)) {
                slot.base_at.store(0, Relaxed);
                set.renumber();
            }
        });
    }

    /// Runs `run` with the sets of a holder, which are locked.
    fn while_locked(self, holder: u64, run: impl FnOnce(&Set, &QuotaSet)) {
        if let Some((buckets, set)) = self.sets_of(holder) {
            buckets.lock.with(|| run(buckets, set));
        }
    }

    /// The sets of a holder: of its buckets, which has the lock, and of its quotas.
    fn sets_of(self, holder: u64) -> Option<(&'memory Set, &'memory QuotaSet)> {
        self.locks.set(holder).zip(self.sets.get(self.locks.number_of(holder)?))
    }
}

impl PendingCharge {
    fn is_of_account(&self, database: u32, meter: Name, span: Span) -> bool {
        let Counts { holder, meter: counted, span: length, .. } = self.counts;
        self.database == database && (holder, counted, length) == (Holder::Account, meter, span)
    }
}

/// Moves the pending numbers of a holder's quotas to another holder. Its bases are read again.
/// What finds no slot stays: a flush finds the account by the key. The caller holds the locks of
/// both sets.
fn hand_over(set: &QuotaSet, from: HolderHash, to_set: &QuotaSet, to: HolderHash) {
    for (at, slot) in set.used() {
        let charge = slot.charge((0, at)).filter(|it| it.id.holder == from.holder());
        let Some(charge) = charge else { continue };
        if !charge.is_empty() {
            let id = from.handed_over(charge.id, to);
            let Some(taken) = to_set.slot_for(id, &charge) else { continue };
            add(&taken.pending, charge.amount);
            add(&taken.charged, charge.charged);
            taken.warn_from.store(charge.warn_from, Relaxed);
        }
        if slot.is_being_flushed() {
            // What the flush adds to the table it takes out of this slot, which is then below 0:
            // the next flush evens it out.
            slot.pending.store(0, Relaxed);
            slot.charged.store(0, Relaxed);
        } else {
            set.free(at);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::limits::bucket::Bucket;
    use crate::limits::bucket_set::BucketId;
    use crate::limits::id::{HashKey, HolderName, NameHash};
    use crate::limits::quota_decision::CountedQuota;
    use crate::limits::quota_set::Stored as StoredBase;
    use crate::limits::quota_tests::{AT_1, KEY, Memory, counted};

    fn holder(name: &str) -> HolderHash {
        HashKey([5; 16]).holder(1, HolderName::Account(name.as_bytes()))
    }

    /// The quota of ten calls of an account.
    fn quota(name: &str) -> CountedQuota {
        let counted = counted(0, 1, 10);
        let hash = NameHash::of_quota(counted.counts.meter, counted.counts.span, 9);
        CountedQuota { id: holder(name).bucket(hash), ..counted }
    }

    /// How many of so many calls of an account pass, of which the table has `base`.
    fn passing(quotas: QuotaSets, name: &str, base: i64, calls: usize) -> usize {
        let holders = [holder(name).holder(); 2];
        let call = || {
            quotas.while_known(
                holders,
                &mut [quota(name)],
                AT_1,
                |_| base,
                |locked, all| all[0].admits(1) && quotas.charge(locked, &KEY, all, 1) == 0,
            )
        };
        (0..calls).filter(|_| call()).count()
    }

    /// What is pending of an account, for the quota and for the history; None without a slot.
    fn pending(quotas: QuotaSets, name: &str) -> Option<(i64, i64)> {
        let mut found = None;
        quotas.while_locked(holder(name).holder(), |_, set| {
            let slot = set.slot(quota(name).id, 0);
            found = slot.map(|slot| (slot.pending.load(Relaxed), slot.charged.load(Relaxed)));
        });
        found
    }

    /// G12: an account takes over the pending numbers of its old name, on top of what calls of the
    /// transaction itself have used under the new one.
    #[test]
    fn what_is_pending_goes_to_the_new_name() {
        for sets in [1, 64] {
            let memory = Memory::new(sets);
            let quotas = memory.quotas();
            let renamed = Change::Renamed { from: holder("acme"), to: holder("corp") };
            assert_eq!(passing(quotas, "acme", 2, 3), 3);
            assert_eq!(passing(quotas, "corp", 2, 1), 1);
            assert_eq!(passing(quotas, "else", 0, 1), 1);
            renamed.read_again(quotas);
            assert_eq!(pending(quotas, "acme"), Some((3, 3)));
            renamed.carry_out(quotas, 0);
            assert_eq!((pending(quotas, "acme"), pending(quotas, "corp")), (None, Some((4, 4))));
            assert_eq!((pending(quotas, "else"), quotas.databases()), (Some((1, 1)), vec![1]));
            assert_eq!(quotas.pending_of(holder("corp"))[0].key, KEY);
            // The base of the new name is read anew.
            assert_eq!(passing(quotas, "corp", 3, 9), 3);
            // What has nothing pending leaves.
            let (batch, _) = quotas.collect(1, 0, 10);
            quotas.settle(batch.iter().map(|charge| (charge, 10)), 1);
            Change::Renamed { from: holder("corp"), to: holder("acme") }.carry_out(quotas, 0);
            assert_eq!((pending(quotas, "acme"), pending(quotas, "corp")), (None, None));
        }
    }

    /// G12: what a flush has in its hands when the account gets its new name is neither lost nor
    /// counted twice, whether the flush adds it to the table or not.
    #[test]
    fn a_flush_and_a_renaming_lose_nothing() {
        for is_added in [true, false] {
            let memory = Memory::new(64);
            let quotas = memory.quotas();
            passing(quotas, "acme", 0, 4);
            let (batch, _) = quotas.collect(1, 0, 10);
            passing(quotas, "acme", 0, 1);
            Change::Renamed { from: holder("acme"), to: holder("corp") }.carry_out(quotas, 0);
            assert_eq!(pending(quotas, "acme"), Some((0, 0)));
            assert_eq!(pending(quotas, "corp"), Some((5, 5)));
            if is_added {
                quotas.settle(batch.iter().map(|charge| (charge, 4)), 1);
                assert_eq!(pending(quotas, "acme"), Some((-4, -4)));
            } else {
                let unnoted = batch.iter().map(|charge| PendingCharge { charged: 0, ..*charge });
                quotas.release(unnoted.collect::<Vec<_>>().iter());
                assert_eq!(pending(quotas, "acme"), Some((0, 0)));
            }
            assert_eq!(pending(quotas, "corp"), Some((5, 5)));
        }
    }

    #[test]
    fn what_finds_no_slot_stays_under_the_old_name() {
        let memory = Memory::new(1);
        let quotas = memory.quotas();
        passing(quotas, "acme", 0, 4);
        let others: Vec<String> = (1..SLOTS).map(|number| number.to_string()).collect();
        others.iter().for_each(|other| _ = passing(quotas, other, 0, 1));
        Change::Renamed { from: holder("acme"), to: holder("corp") }.carry_out(quotas, 0);
        assert_eq!((pending(quotas, "acme"), pending(quotas, "corp")), (Some((4, 4)), None));
    }

    #[test]
    fn an_account_that_is_deleted_has_used_nothing() {
        let memory = Memory::new(1);
        let quotas = memory.quotas();
        passing(quotas, "acme", 0, 4);
        passing(quotas, "else", 0, 4);
        let (batch, _) = quotas.collect(1, 0, 10);
        Change::Deleted(holder("acme")).read_again(quotas);
        assert_eq!(pending(quotas, "acme"), Some((4, 4)));
        Change::Deleted(holder("acme")).carry_out(quotas, 0);
        assert_eq!((pending(quotas, "acme"), pending(quotas, "else")), (None, Some((4, 4))));
        // The flush takes nothing from an account that is made anew.
        passing(quotas, "acme", 0, 1);
        quotas.settle(batch.iter().map(|charge| (charge, 4)), 1);
        assert_eq!(
            (pending(quotas, "acme"), pending(quotas, "else")),
            (Some((1, 1)), Some((0, 0)))
        );
    }

    /// G12: a new quota counts from its making. What was pending then does not count, and what came
    /// after does. The history keeps both.
    #[test]
    fn a_quota_that_begins_counts_from_then_on() {
        // What calls and refunds of others charge between the making and its commit, and what of it
        // counts.
        for (since, left) in [(2, 2), (0, 0), (-1, 0)] {
            let memory = Memory::new(1);
            let quotas = memory.quotas();
            passing(quotas, "acme", 2, 3);
            let ended: Vec<_> = quotas.pending_of(holder("acme"));
            assert_eq!((ended.len(), ended[0].amount), (1, 3));
            match usize::try_from(since) {
                Ok(calls) => assert_eq!(passing(quotas, "acme", 2, calls), calls),
                Err(_) => quotas.while_locked(holder("acme").holder(), |_, set| {
                    set.used().for_each(|(_, slot)| add(&slot.pending, since));
                }),
            }
            Change::Ended(ended[0]).carry_out(quotas, 0);
            assert_eq!(pending(quotas, "acme").map(|(pending, _)| pending), Some(left));
            assert_eq!(passing(quotas, "acme", 0, 99) as i64, 10 - left);
        }
        // Of a charge that is not there any more, nothing is left.
        let (memory, other) = (Memory::new(1), Memory::new(1));
        passing(other.quotas(), "acme", 0, 3);
        let ended = other.quotas().pending_of(holder("acme"))[0];
        Change::Ended(ended).carry_out(memory.quotas(), 0);
        assert_eq!(pending(memory.quotas(), "acme"), None);
    }

    /// G12: while a flush holds the slot, nobody can read the base again.
    #[test]
    fn a_quota_that_begins_during_a_flush_has_no_base() {
        let memory = Memory::new(1);
        let quotas = memory.quotas();
        passing(quotas, "acme", 7, 0);
        assert_eq!(passing(quotas, "acme", 7, 1), 1);
        quotas.collect(1, 0, 10);
        let Counts { meter, span, .. } = quota("acme").counts;
        Change::Begun { holder: holder("acme"), meter, span }.carry_out(quotas, 0);
        assert_eq!(passing(quotas, "acme", 0, 99), 9);
    }

    /// A base that was read before the commit, or by the transaction that was rolled back, is not
    /// used after it.
    #[test]
    fn bases_are_read_again_after_a_change() {
        for is_committed in [true, false] {
            let memory = Memory::new(1);
            let quotas = memory.quotas();
            passing(quotas, "acme", 7, 1);
            let number = quotas.number_of(quota("acme").id);
            let Counts { meter, span, .. } = quota("acme").counts;
            let begun = Change::Begun { holder: holder("acme"), meter, span };
            match is_committed {
                true => begun.carry_out(quotas, 0),
                false => begun.read_again(quotas),
            }
            let stored = quotas.store_base(&quota("acme"), 7, number, AT_1);
            assert_eq!(stored, StoredBase::Outdated);
            assert_eq!(passing(quotas, "acme", 0, 99), 9);
        }
    }

    /// The bucket of an account's policy.
    fn bucket(name: &str) -> BucketId {
        holder(name).bucket(NameHash::of(Name::parse(b"minute").expect("a name")))
    }

    /// G11: what is used of rate limits goes to the new name too, on top of what is used there.
    #[test]
    fn buckets_go_to_the_new_name() {
        for (sets, used_by_new, expected) in [(1, 0, 90), (64, 0, 90), (1, 50, 130), (64, 50, 130)]
        {
            let memory = Memory::new(sets);
            let quotas = memory.quotas();
            let full_at = |name: &str| {
                let found = quotas.locks.set(bucket(name).holder)?.bucket(bucket(name), 0);
                Some(found?.to_words(0)[0])
            };
            let store = |name: &str, full_at: Nanos| {
                let (_, full) = Bucket::from_words([full_at, 0]);
                let stored = Stored { database: 3, id: bucket(name), bucket: full };
                quotas.while_locked(bucket(name).holder, |set, _| assert!(set.store(stored, 0, 0)));
            };
            store("acme", 90);
            store("else", 70);
            store("corp", used_by_new);
            Change::Renamed { from: holder("acme"), to: holder("corp") }.carry_out(quotas, 10);
            assert_eq!((full_at("acme"), full_at("corp")), (None, Some(expected)));
            assert_eq!(full_at("else"), Some(70));
            Change::Deleted(holder("corp")).carry_out(quotas, 10);
            assert_eq!((full_at("corp"), full_at("else")), (None, Some(70)));
        }
    }
}
