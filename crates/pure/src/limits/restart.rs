//! What outlives a restart of the server: the buckets, as the time that is left until each is full,
//! the charges of quotas that the table does not have, and the key of the hashes by which all of
//! them are found. [`crate::usage::file`] has their bytes.

use crate::limits::bucket::Nanos;
use crate::limits::bucket_set::Stored;
use crate::limits::bucket_sets::Sets;
use crate::limits::id::{HashKey, SharedHashKey};
use crate::limits::pending_charge::PendingCharge;
use crate::limits::quota_sets::QuotaSets;

/// The buckets in memory that processes share.
#[derive(Clone, Copy)]
pub struct Limits<'memory> {
    /// The key of the hashes by which they are found.
    pub hash_key: &'memory SharedHashKey,
    /// Those of accounts and keys.
    pub rates: Sets<'memory>,
    /// Those of identifiers and client addresses.
    pub identifiers: Sets<'memory>,
    /// What is used of quotas, beside the buckets of accounts and keys.
    pub quotas: QuotaSets<'memory>,
}

/// The buckets between two runs of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    /// The key of the hashes by which they are found.
    pub hash_key: HashKey,
    /// Those of accounts and keys.
    pub rates: Vec<Stored>,
    /// Those of identifiers and client addresses.
    pub identifiers: Vec<Stored>,
    /// The charges of quotas that the table does not have.
    pub charges: Vec<PendingCharge>,
}

impl Buckets {
    /// The charges alone: buckets are full after a crash.
    pub fn without_buckets(self) -> Buckets {
        Buckets { rates: Vec::new(), identifiers: Vec::new(), ..self }
    }
}

impl Limits<'_> {
    /// What survives a restart. Call it when no other process uses the memory. None if a process
    /// died in the middle of a change.
    pub fn export(self, now: Nanos) -> Option<Buckets> {
        let (rates, identifiers) = (self.rates.export(now)?, self.identifiers.export(now)?);
        let charges = self.quotas.export()?;
        Some(Buckets { hash_key: self.hash_key.get(), rates, identifiers, charges })
    }

    /// Loads what was exported. A bucket without a place, if there are fewer now, is full, and a
    /// charge without a slot is forgotten.
    pub fn import(self, buckets: &Buckets, now: Nanos) {
        if buckets.hash_key == HashKey::default() {
            // An earlier release wrote the file: it has no bucket, and the key of this start stays.
            return;
        }
        self.hash_key.set(buckets.hash_key);
        self.rates.import(&buckets.rates, now);
        self.identifiers.import(&buckets.identifiers, now);
        self.quotas.import(&buckets.charges);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::bucket::Bucket;
    use crate::limits::bucket_set::Set;
    use crate::limits::bucket_sets::Counted;
    use crate::limits::id::HolderName;
    use crate::limits::policy::Policy;
    use crate::limits::rate_decision::{Limit, Verdict};

    const SECOND: Nanos = 1_000_000_000;

    fn limits<'memory>(
        hash_key: &'memory SharedHashKey,
        rates: &'memory [Set],
        identifiers: &'memory [Set],
    ) -> Limits<'memory> {
        let (rates, identifiers) = (Sets(rates), Sets(identifiers));
        Limits { hash_key, rates, identifiers, quotas: QuotaSets { locks: rates, sets: &[] } }
    }

    /// Two calls a minute for somebody, under a key.
    fn counted(key: HashKey, name: HolderName) -> [Counted; 1] {
        let policy = Policy::new(2, 60, None).expect("a policy");
        let id = key.holder(5, name).only_bucket();
        [Counted::new(id, Limit { rate: policy.rate(1), bucket: Bucket::default() })]
    }

    /// Buckets of accounts and of identifiers are found after a restart, with the time that was
    /// left, under the key that they had, and stay apart.
    #[test]
    fn buckets_are_found_after_a_restart() {
        let memory: Vec<Set> = (0..4).map(|_| Set::default()).collect();
        let (rates, identifiers) = memory.split_at(2);
        let (shared, key) = (SharedHashKey::default(), HashKey([7; 16]));
        shared.set(key);
        let before = limits(&shared, rates, identifiers);
        let [account, client] = [HolderName::Account(b"acme"), HolderName::Client(b"acme")];
        let charge =
            |sets: Sets, name| sets.charge(5, &mut counted(key, name), 2, || 90 * SECOND).verdict;
        assert_eq!(charge(before.rates, account), Verdict::Passes);
        assert_eq!(charge(before.identifiers, client), Verdict::Passes);
        let buckets = before.export(100 * SECOND).expect("no set is locked");
        assert_eq!((buckets.rates.len(), buckets.identifiers.len()), (1, 1));

        let memory: Vec<Set> = (0..6).map(|_| Set::default()).collect();
        let (rates, identifiers) = memory.split_at(3);
        let shared = SharedHashKey::default();
        shared.set(HashKey([9; 16]));
        let after = limits(&shared, rates, identifiers);
        after.import(&Buckets::default(), SECOND);
        assert_eq!(shared.get(), HashKey([9; 16]), "the key that was drawn, as the file has none");
        after.import(&buckets, SECOND);
        assert_eq!(shared.get(), key);
        for (sets, name) in [(after.rates, account), (after.identifiers, client)] {
            let peek = |now| sets.peek(&mut counted(key, name), 1, now);
            // 10 of 30 seconds have passed before the restart, and 1 is what the clock starts at.
            assert_ne!(peek(21 * SECOND - 1), Verdict::Passes);
            assert_eq!(peek(21 * SECOND), Verdict::Passes);
            assert_eq!(sets.in_use(SECOND), 1);
        }
        for (lock, sets) in [(&memory[0], after.rates), (&memory[3], after.identifiers)] {
            lock.lock.with(|| assert_eq!(after.export(SECOND), None));
            assert!(sets.export(SECOND).is_some());
        }
    }
}
