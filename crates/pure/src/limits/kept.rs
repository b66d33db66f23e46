//! What outlives a restart of the server: the buckets, as the time that is left until each is full,
//! and the key of the hashes by which they are found.

use crate::limits::bucket::Nanos;
use crate::limits::id::{HashKey, SharedHashKey};
use crate::limits::set::Stored;
use crate::limits::sets::Sets;

/// The buckets in memory that processes share.
#[derive(Clone, Copy)]
pub struct Limits<'memory> {
    /// The key of the hashes by which they are found.
    pub hash_key: &'memory SharedHashKey,
    /// Those of accounts and keys.
    pub rates: Sets<'memory>,
    /// Those of identifiers and client addresses.
    pub identifiers: Sets<'memory>,
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
}

impl Limits<'_> {
    /// What survives a restart. Call it when no other process uses the memory. None if a process
    /// died in the middle of a change.
    pub fn export(self, now: Nanos) -> Option<Buckets> {
        let (rates, identifiers) = (self.rates.export(now)?, self.identifiers.export(now)?);
        Some(Buckets { hash_key: self.hash_key.get(), rates, identifiers })
    }

    /// Loads what was exported. A bucket without a place, if there are fewer now, is full.
    pub fn import(self, buckets: &Buckets, now: Nanos) {
        if buckets.rates.is_empty() && buckets.identifiers.is_empty() {
            // Nothing has to be found again, so the key of this start stays.
            return;
        }
        self.hash_key.set(buckets.hash_key);
        self.rates.import(&buckets.rates, now);
        self.identifiers.import(&buckets.identifiers, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::bucket::Bucket;
    use crate::limits::charge::{Limit, Verdict};
    use crate::limits::id::HolderName;
    use crate::limits::policy::Policy;
    use crate::limits::set::Set;
    use crate::limits::sets::Counted;

    const SECOND: Nanos = 1_000_000_000;

    /// Two calls a minute for somebody, under a key.
    fn counted(key: HashKey, name: HolderName) -> [Counted; 1] {
        let policy = Policy::new(2, 60, None).expect("a policy");
        let id = key.holder(5, name).only_bucket();
        [Counted { id, limit: Limit { rate: policy.rate(1), bucket: Bucket::default() } }]
    }

    /// Buckets of accounts and of identifiers are found after a restart, with the time that was
    /// left, under the key that they had, and stay apart.
    #[test]
    fn buckets_are_found_after_a_restart() {
        let memory: Vec<Set> = (0..4).map(|_| Set::default()).collect();
        let (rates, identifiers) = memory.split_at(2);
        let (shared, key) = (SharedHashKey::default(), HashKey([7; 16]));
        shared.set(key);
        let before =
            Limits { hash_key: &shared, rates: Sets(rates), identifiers: Sets(identifiers) };
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
        let after =
            Limits { hash_key: &shared, rates: Sets(rates), identifiers: Sets(identifiers) };
        after.import(&Buckets::default(), SECOND);
        assert_eq!(shared.get(), HashKey([9; 16]), "the key that was drawn, as there is no bucket");
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
