//! Keys as they were in one epoch: a cache in the memory of one process.
//!
//! Entries are valid only in the epoch they were read in. They hold the facts for a decision and
//! not the decision, which also depends on the clock and the settings.

use crate::answer::decision::Key;
use crate::cache::epoch::Epoch;
use crate::cache::table::{self, Table};
use crate::instant::Micros;
use crate::key::environment::Environment;
use crate::key::token::HASH_LENGTH;

/// How many keys share a set. With two sets for each key, a table that is two thirds full has room
/// for nearly every key; with one, it would have room for two thirds of them.
const WAYS: usize = 2;
/// How many sets the table begins with.
const FIRST_SETS: usize = 8;

/// A key that is not limited to addresses, and whether its account's plan includes API access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedKey {
    /// The key's id.
    pub id: [u8; 16],
    /// The environment it belongs to.
    pub environment: Environment,
    /// Whether it has been revoked.
    pub revoked: bool,
    /// Whether it is disabled.
    pub disabled: bool,
    /// When it expires; [`Micros::MAX`] is never.
    pub expires_at: Micros,
    /// Whether the account's plan includes API access.
    pub api_access: bool,
}

impl CachedKey {
    /// The properties that the decision depends on.
    pub const fn key(&self) -> Key<'static> {
        Key {
            environment: self.environment,
            revoked: self.revoked,
            expires_at: Some(self.expires_at),
            disabled: self.disabled,
            allowed_ips: None,
            scopes: &[],
            api_access: self.api_access,
        }
    }
}

/// One key with its hash, flat, so that it fits a cache line. Three bytes are free.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Entry {
    hash: [u8; HASH_LENGTH],
    id: [u8; 16],
    expires_at: Micros,
    /// The generation of the table in which it was inserted; 0 means no entry.
    generation: u32,
    /// The bits below.
    facts: u8,
}

const _: () = assert!(size_of::<Entry>() == 64);

/// The bits of [`Entry::facts`].
const TEST: u8 = 1;
const REVOKED: u8 = 2;
const DISABLED: u8 = 4;
const API_ACCESS: u8 = 8;

impl Entry {
    #[inline]
    fn new(hash: &[u8; HASH_LENGTH], key: CachedKey, generation: u32) -> Entry {
        let CachedKey { id, environment, revoked, disabled, expires_at, api_access } = key;
        let bit = |is: bool, bit: u8| if is { bit } else { 0 };
        let facts = bit(environment == Environment::Test, TEST)
            | bit(revoked, REVOKED)
            | bit(disabled, DISABLED)
            | bit(api_access, API_ACCESS);
        Entry { hash: *hash, id, expires_at, generation, facts }
    }

    #[inline]
    fn key(&self) -> CachedKey {
        let is = |bit: u8| self.facts & bit != 0;
        CachedKey {
            id: self.id,
            environment: if is(TEST) { Environment::Test } else { Environment::Live },
            revoked: is(REVOKED),
            disabled: is(DISABLED),
            expires_at: self.expires_at,
            api_access: is(API_ACCESS),
        }
    }
}

impl table::Entry<2> for Entry {
    const UNUSED: Entry = Entry {
        hash: [0; HASH_LENGTH],
        id: [0; 16],
        expires_at: Micros::MIN,
        generation: 0,
        facts: REVOKED | DISABLED,
    };

    #[inline]
    fn tags(&self) -> [u32; 2] {
        tags(&self.hash)
    }

    #[inline]
    fn is_used(&self, generation: u32) -> bool {
        self.generation == generation
    }

    #[inline]
    fn is_same(&self, other: &Entry) -> bool {
        self.hash == other.hash
    }
}

/// Two parts of a hash.
#[inline]
fn tags(hash: &[u8; HASH_LENGTH]) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
}

/// The keys of one epoch by their hashes.
pub struct CachedKeys {
    table: Table<Entry, WAYS, 2>,
    epoch: Option<Epoch>,
}

impl CachedKeys {
    /// A cache that takes no memory yet.
    pub const fn new() -> CachedKeys {
        CachedKeys { table: Table::new(), epoch: None }
    }

    /// The key of a hash, if it was remembered in this epoch. If the cache takes more than `limit`
    /// bytes, it is emptied first.
    #[inline]
    pub fn find(
        &mut self,
        epoch: Epoch,
        hash: &[u8; HASH_LENGTH],
        limit: usize,
    ) -> Option<CachedKey> {
        self.table.shrink(limit);
        if self.epoch != Some(epoch) {
            return None;
        }
        let generation = self.table.generation();
        let is = |entry: &Entry| entry.generation == generation && entry.hash == *hash;
        self.table.find(tags(hash), is).map(Entry::key)
    }

    /// Remembers a key. The cache takes `limit` bytes at most; beyond that, it replaces another
    /// key.
    pub fn remember(
        &mut self,
        epoch: Epoch,
        hash: &[u8; HASH_LENGTH],
        key: CachedKey,
        limit: usize,
    ) {
        if self.epoch != Some(epoch) {
            self.epoch = Some(epoch);
            self.table.clear();
        }
        self.table.insert(Entry::new(hash, key, self.table.generation()), FIRST_SETS, limit);
    }
}

impl Default for CachedKeys {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::Digest;

    use super::*;
    use crate::cache::table::Entry as _;

    const MUCH: usize = 1 << 20;

    fn epoch(snapshot: u64) -> Epoch {
        Epoch { snapshot, relations: 1 }
    }

    fn hash(number: u32) -> [u8; HASH_LENGTH] {
        let mut hash = [7; HASH_LENGTH];
        hash[..4].copy_from_slice(&number.to_ne_bytes());
        hash[28..].copy_from_slice(&number.to_be_bytes());
        hash
    }

    fn key(number: u32) -> CachedKey {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_ne_bytes());
        CachedKey { id, revoked: false, expires_at: 5, ..Entry::UNUSED.key() }
    }

    #[test]
    fn a_key_is_found_in_its_epoch_only() {
        let mut cached = CachedKeys::new();
        assert_eq!(cached.find(epoch(1), &hash(1), MUCH), None);
        cached.remember(epoch(1), &hash(1), key(1), MUCH);
        assert_eq!(cached.find(epoch(1), &hash(1), MUCH), Some(key(1)));
        assert_eq!(cached.find(epoch(2), &hash(1), MUCH), None);
        assert_eq!(cached.find(Epoch { snapshot: 1, relations: 2 }, &hash(1), MUCH), None);
        cached.remember(epoch(2), &hash(2), key(2), MUCH);
        assert_eq!(cached.find(epoch(2), &hash(1), MUCH), None);
        assert_eq!(cached.find(epoch(1), &hash(1), MUCH), None);
        assert_eq!(cached.find(epoch(2), &hash(2), MUCH), Some(key(2)));
    }

    #[test]
    fn similar_hashes_are_different_keys() {
        let mut cached = CachedKeys::new();
        let mut other = hash(1);
        other[HASH_LENGTH - 1] ^= 1;
        cached.remember(epoch(1), &hash(1), key(1), MUCH);
        assert_eq!(cached.find(epoch(1), &other, MUCH), None);
        assert_eq!(cached.find(epoch(1), &[0; HASH_LENGTH], MUCH), None);
    }

    #[test]
    fn every_fact_comes_back() {
        for bits in 0..16u8 {
            let is = |bit: u8| bits >> bit & 1 == 1;
            let known = CachedKey {
                environment: if is(0) { Environment::Test } else { Environment::Live },
                revoked: is(1),
                disabled: is(2),
                api_access: is(3),
                ..key(7)
            };
            let mut cached = CachedKeys::new();
            cached.remember(epoch(1), &hash(1), known, MUCH);
            assert_eq!(cached.find(epoch(1), &hash(1), MUCH), Some(known));
        }
    }

    #[test]
    fn a_table_that_is_two_thirds_full_has_nearly_every_key() {
        let mut cached = CachedKeys::new();
        let hash = |number: u32| sha2::Sha256::digest(number.to_ne_bytes()).into();
        for number in 0..10_000 {
            cached.remember(epoch(1), &hash(number), key(number), MUCH);
        }
        assert!(cached.table.size() <= MUCH);
        let found = (0..10_000).filter(|number| {
            cached
                .find(epoch(1), &hash(*number), MUCH)
                .inspect(|found| assert_eq!(*found, key(*number)))
                .is_some()
        });
        assert!(found.count() > 9_700);
    }

    #[test]
    fn without_room_nothing_is_remembered() {
        let mut cached = CachedKeys::new();
        cached.remember(epoch(1), &hash(1), key(1), 0);
        assert_eq!(cached.find(epoch(1), &hash(1), 0), None);
        cached.remember(epoch(1), &hash(1), key(1), MUCH);
        assert_eq!(cached.find(epoch(1), &hash(1), 64), None);
        assert_eq!(cached.table.size(), 0);
    }

    proptest! {
        /// A key that is found is the last one that was remembered for the hash in the epoch.
        #[test]
        fn a_found_key_is_the_hashs_last_one_of_the_epoch(
            steps in prop::collection::vec((0u32..200, any::<u32>(), 0u64..3, 0usize..3), 0..500),
        ) {
            let mut cached = CachedKeys::new();
            let mut last = std::collections::HashMap::new();
            for (number, id, snapshot, limit) in steps {
                let limit = [0, 4_096, MUCH][limit];
                let (epoch, hash) = (epoch(snapshot), hash(number));
                if let Some(found) = cached.find(epoch, &hash, limit) {
                    prop_assert_eq!(Some(&found), last.get(&(snapshot, number)));
                }
                cached.remember(epoch, &hash, key(id), limit);
                last.insert((snapshot, number), key(id));
                prop_assert!(cached.table.size() <= limit);
            }
        }
    }
}
