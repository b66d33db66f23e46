//! The ids of buckets: hashes under a key that only this server has. So nobody can choose names
//! whose buckets meet, and the memory says nothing of the names.

use sha2::{Digest, Sha256};

use crate::instant::Micros;
use crate::limits::bucket_set::BucketId;
use crate::limits::name::Name;
use crate::limits::policy::Policy;
use crate::limits::quota_period::Span;
use crate::limits::sip_hash::{halves, sip_hash};
use crate::sync::AtomicU64;
use crate::sync::Ordering::Relaxed;

/// The key of the hashes: random, made when the server starts, and kept with the buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashKey(pub [u8; 16]);

/// The place of a hash key in memory that processes share. All zeroes until it is set.
#[derive(Default)]
pub struct SharedHashKey([AtomicU64; 2]);

impl SharedHashKey {
    /// The key.
    pub fn get(&self) -> HashKey {
        let [first, second] = [0, 1].map(|half| self.0[half].load(Relaxed));
        HashKey((u128::from(first) | u128::from(second) << 64).to_le_bytes())
    }

    /// Sets the key, before other processes use it.
    pub fn set(&self, key: HashKey) {
        self.0.iter().zip(halves(key.0)).for_each(|(to, from)| to.store(from, Relaxed));
    }
}

/// Who has buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HolderName<'call> {
    /// An account, by its name.
    Account(&'call [u8]),
    /// A key, by its id.
    Key(&'call [u8; 16]),
    /// What an application limits by itself, under a policy that is not stored.
    Identifier(&'call [u8], Policy),
    /// The client of requests with invalid keys, by the bytes of its network.
    Client(&'call [u8]),
}

/// The hash of a holder in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolderHash([u64; 2]);

/// An odd number that spreads the hashes of policies, and the one that takes it back.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const INVERSE: u64 = 0xf1de_83e1_9937_733d;
const _: () = assert!(FACTOR.wrapping_mul(INVERSE) == 1);

impl HashKey {
    /// The hash of a holder.
    pub fn holder(&self, database: u32, holder: HolderName) -> HolderHash {
        let kind = |kind: u8| u64::from(database) | u64::from(kind) << 32;
        HolderHash(match holder {
            HolderName::Account(name) => sip_hash(self.0, &[kind(b'A')], name),
            HolderName::Key(id) => sip_hash(self.0, &[kind(b'K')], id),
            HolderName::Client(network) => sip_hash(self.0, &[kind(b'C')], network),
            HolderName::Identifier(name, policy) => {
                let rate = u64::from(policy.amount()) | u64::from(policy.period()) << 32;
                sip_hash(self.0, &[kind(b'I'), rate, policy.burst().into()], name)
            }
        })
    }
}

impl HolderHash {
    /// The id of the bucket of a holder's policy.
    pub fn bucket(self, policy: NameHash) -> BucketId {
        let [holder, seed] = self.0;
        // Of one holder, policies of different hashes have different ids: each step can be undone.
        let mixed = (seed ^ policy.0).wrapping_mul(FACTOR);
        BucketId { holder, policy: mixed ^ mixed >> 32 }
    }

    /// The id that a bucket of this holder gets when it goes to another: that of the same policy.
    pub fn handed_over(self, id: BucketId, to: HolderHash) -> BucketId {
        // Each step of `bucket`, undone.
        let mixed = id.policy ^ id.policy >> 32;
        to.bucket(NameHash(mixed.wrapping_mul(INVERSE) ^ self.0[1]))
    }

    /// What the ids of all its buckets have.
    pub fn holder(self) -> u64 {
        self.0[0]
    }

    /// The id of the bucket of a holder that has one policy without a name.
    pub fn only_bucket(self) -> BucketId {
        let [holder, policy] = self.0;
        BucketId { holder, policy }
    }
}

/// The hash of a policy's name, which a session can keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameHash(u64);

impl NameHash {
    /// The hash of a name.
    pub fn of(name: Name) -> NameHash {
        NameHash(halves(first_half(&Sha256::digest(name.as_str()).into()))[0])
    }

    /// The hash of a quota in one period. No policy's name has its bytes.
    pub fn of_quota(meter: Name, span: Span, period_start: Micros) -> NameHash {
        let mut hash = Sha256::new();
        hash.update([span as u8]);
        hash.update(period_start.to_le_bytes());
        hash.update(meter.as_str());
        NameHash(halves(first_half(&hash.finalize().into()))[0])
    }
}

fn first_half(hash: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    half
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_key_in_shared_memory_is_the_one_that_was_set() {
        let shared = SharedHashKey::default();
        assert_eq!(shared.get(), HashKey::default());
        let key = HashKey(core::array::from_fn(|at| at as u8 + 1));
        shared.set(key);
        assert_eq!(shared.get(), key);
    }

    #[test]
    fn a_bucket_that_goes_to_another_holder_has_the_id_of_its_policy_there() {
        let key = HashKey([3; 16]);
        let [old, new] = [&b"acme"[..], b"corp"].map(|it| key.holder(1, HolderName::Account(it)));
        for name in [&b"minute"[..], b"second", b"calls"] {
            let name = NameHash::of(Name::parse(name).expect("a name"));
            assert_eq!(old.handed_over(old.bucket(name), new), new.bucket(name));
        }
        assert_eq!(old.bucket(NameHash(0)).holder, old.holder());
    }

    #[test]
    fn every_bucket_has_an_id_of_its_own() {
        let policy = |amount| Policy::new(amount, 60, None).expect("a policy");
        let id = [7; 16];
        let names = [
            HolderName::Account(b"acme"),
            HolderName::Account(b"acm"),
            HolderName::Account(&id),
            HolderName::Key(&id),
            HolderName::Client(&id),
            HolderName::Identifier(b"acme", policy(1)),
            HolderName::Identifier(b"acme", policy(2)),
        ];
        let mut ids = HashSet::new();
        for key in [HashKey([1; 16]), HashKey([2; 16])] {
            for (database, name) in (1..3).flat_map(|it| names.map(|name| (it, name))) {
                let holder = key.holder(database, name);
                assert_eq!(key.holder(database, name), holder);
                let hashes = [&b"minute"[..], b"second"]
                    .map(|name| NameHash::of(Name::parse(name).expect("a name")));
                let buckets = hashes.map(|name| holder.bucket(name));
                assert!(buckets.iter().all(|it| it.holder == holder.only_bucket().holder));
                let all = buckets.into_iter().chain([holder.only_bucket()]);
                ids.extend(all.map(|it| (it.holder, it.policy)));
            }
        }
        assert_eq!(ids.len(), 2 * 2 * names.len() * 3);
    }
}
