//! Keys as one epoch of the database showed them: a table in the memory of one process, bounded and
//! growing with use.
//!
//! What was read in an epoch need not be read again in the same; in another, nothing of it counts. It is
//! what the decision is made from, not the decision: the clock and the settings go on meanwhile.

use crate::answer::decision::{Key, Micros};
use crate::cache::epoch::Epoch;
use crate::fallible;
use crate::key::environment::Environment;
use crate::key::token::HASH_LENGTH;

/// How many keys share a set.
const WAYS: usize = 2;
/// How many sets the table begins with.
const FIRST_SETS: usize = 8;

/// A key that is not limited to addresses, with what its account's plan says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedKey {
    pub id: [u8; 16],
    pub environment: Environment,
    pub revoked: bool,
    pub disabled: bool,
    /// [`Micros::MAX`] is never.
    pub expires_at: Micros,
    pub api_access: bool,
}

impl CachedKey {
    /// What of it has a say.
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

/// One key with its hash, flat, so that it fits a cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Entry {
    hash: [u8; HASH_LENGTH],
    id: [u8; 16],
    expires_at: Micros,
    /// The generation of the table in which it was seen; an entry of another one is empty.
    generation: u32,
    environment: Environment,
    revoked: bool,
    disabled: bool,
    api_access: bool,
}

const _: () = assert!(size_of::<Entry>() == 64);

const EMPTY: Entry = Entry {
    hash: [0; HASH_LENGTH],
    id: [0; 16],
    expires_at: Micros::MIN,
    generation: 0,
    environment: Environment::Live,
    revoked: true,
    disabled: true,
    api_access: false,
};

/// The table.
pub struct CachedKeys {
    /// None, or a power of two.
    sets: Vec<[Entry; WAYS]>,
    epoch: Option<Epoch>,
    /// Counts the views.
    generation: u32,
}

impl CachedKeys {
    /// A table that takes no memory yet.
    pub const fn new() -> CachedKeys {
        CachedKeys { sets: Vec::new(), epoch: None, generation: 0 }
    }

    /// The key of a hash, if it was seen in this very epoch. With a limit of fewer bytes than the table
    /// has, everything is forgotten.
    pub fn find(
        &mut self,
        epoch: Epoch,
        hash: &[u8; HASH_LENGTH],
        limit: usize,
    ) -> Option<CachedKey> {
        if size_of_val(self.sets.as_slice()) > limit {
            self.sets = Vec::new();
        }
        if self.epoch != Some(epoch) {
            return None;
        }
        let sets = self.sets_of(hash)?.map(|at| &self.sets[at]);
        let mut entries = sets.into_iter().flatten();
        entries.find(|entry| entry.is(self.generation, hash)).map(Entry::key)
    }

    /// Remembers a key, and forgets another where the table may take no more than `limit` bytes.
    pub fn remember(
        &mut self,
        epoch: Epoch,
        hash: &[u8; HASH_LENGTH],
        key: CachedKey,
        limit: usize,
    ) {
        if self.epoch != Some(epoch) {
            self.begin(epoch);
        }
        if self.sets.is_empty() {
            self.resize(FIRST_SETS, limit);
        }
        let entry = Entry::new(hash, key, self.generation);
        if !self.put(entry, false) {
            self.resize(self.sets.len() * 2, limit);
            self.put(entry, true);
        }
    }

    /// Puts an entry where its hash is already, or else where there is room, or else, if that is
    /// wanted, in place of another. Whether it is there now.
    fn put(&mut self, entry: Entry, in_place_of_another: bool) -> bool {
        let Some(sets) = self.sets_of(&entry.hash) else { return false };
        let generation = self.generation;
        let places = (0..WAYS).flat_map(|way| sets.map(|at| (at, way)));
        let same = |&(at, way): &(usize, usize)| self.sets[at][way].is(generation, &entry.hash);
        // The set that has more room is tried first: sets are filled from their first place on.
        let room = |&(at, way): &(usize, usize)| self.sets[at][way].generation != generation;
        if let Some((at, way)) = places.clone().find(same).or_else(|| places.clone().find(room)) {
            self.sets[at][way] = entry;
            return true;
        }
        if in_place_of_another {
            let set = &mut self.sets[sets[0]];
            set.rotate_right(1);
            set[0] = entry;
        }
        in_place_of_another
    }

    /// Empties the table for another epoch.
    fn begin(&mut self, epoch: Epoch) {
        self.epoch = Some(epoch);
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            // Entries of the generations before could pass for new ones.
            self.sets.fill([EMPTY; WAYS]);
            self.generation = 1;
        }
    }

    /// Makes the table of so many sets, if that is within the limit and there is memory.
    fn resize(&mut self, sets: usize, limit: usize) -> bool {
        if sets * size_of::<[Entry; WAYS]>() > limit {
            return false;
        }
        let Some(mut larger) = fallible::try_vec(sets) else { return false };
        larger.resize(sets, [EMPTY; WAYS]);
        for entry in core::mem::replace(&mut self.sets, larger).into_iter().flatten() {
            if entry.generation == self.generation {
                self.put(entry, true);
            }
        }
        true
    }

    /// The two sets in which a hash may be. With a choice of two, a table that is two thirds full has
    /// room for nearly every hash, where a single one would have it for two of three.
    fn sets_of(&self, hash: &[u8; HASH_LENGTH]) -> Option<[usize; 2]> {
        let [a, b, c, d, e, f, g, h, ..] = *hash;
        let last = self.sets.len().checked_sub(1)?;
        Some([[a, b, c, d], [e, f, g, h]].map(|tag| u32::from_ne_bytes(tag) as usize & last))
    }
}

impl Entry {
    fn new(hash: &[u8; HASH_LENGTH], key: CachedKey, generation: u32) -> Entry {
        let CachedKey { id, environment, revoked, disabled, expires_at, api_access } = key;
        let hash = *hash;
        Entry { hash, id, expires_at, generation, environment, revoked, disabled, api_access }
    }

    fn key(&self) -> CachedKey {
        let Entry { id, environment, revoked, disabled, expires_at, api_access, .. } = *self;
        CachedKey { id, environment, revoked, disabled, expires_at, api_access }
    }

    fn is(&self, generation: u32, hash: &[u8; HASH_LENGTH]) -> bool {
        self.generation == generation && self.hash == *hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::Digest;

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
        CachedKey { id, revoked: false, expires_at: 5, ..EMPTY.key() }
    }

    #[test]
    fn a_key_is_known_in_its_view_alone() {
        let mut seen = CachedKeys::new();
        assert_eq!(seen.find(epoch(1), &hash(1), MUCH), None);
        seen.remember(epoch(1), &hash(1), key(1), MUCH);
        assert_eq!(seen.find(epoch(1), &hash(1), MUCH), Some(key(1)));
        assert_eq!(seen.find(epoch(2), &hash(1), MUCH), None);
        assert_eq!(seen.find(Epoch { snapshot: 1, relations: 2 }, &hash(1), MUCH), None);
        seen.remember(epoch(2), &hash(2), key(2), MUCH);
        assert_eq!(seen.find(epoch(2), &hash(1), MUCH), None);
        assert_eq!(seen.find(epoch(1), &hash(1), MUCH), None);
        assert_eq!(seen.find(epoch(2), &hash(2), MUCH), Some(key(2)));
    }

    #[test]
    fn hashes_that_begin_alike_are_told_apart() {
        let mut seen = CachedKeys::new();
        let mut other = hash(1);
        other[HASH_LENGTH - 1] ^= 1;
        seen.remember(epoch(1), &hash(1), key(1), MUCH);
        assert_eq!(seen.find(epoch(1), &other, MUCH), None);
        assert_eq!(seen.find(epoch(1), &[0; HASH_LENGTH], MUCH), None);
    }

    #[test]
    fn generations_that_come_round_bring_nothing_back() {
        let mut seen = CachedKeys::new();
        seen.remember(epoch(1), &hash(1), key(1), MUCH);
        let first = seen.generation;
        seen.generation = u32::MAX;
        seen.remember(epoch(2), &hash(2), key(2), MUCH);
        assert_eq!(seen.generation, first);
        assert_eq!(seen.find(epoch(2), &hash(1), MUCH), None);
        assert_eq!(seen.find(epoch(2), &hash(2), MUCH), Some(key(2)));
    }

    #[test]
    fn a_table_that_is_two_thirds_full_has_nearly_every_key() {
        let mut seen = CachedKeys::new();
        let hash = |number: u32| sha2::Sha256::digest(number.to_ne_bytes()).into();
        for number in 0..10_000 {
            seen.remember(epoch(1), &hash(number), key(number), MUCH);
        }
        assert!(size_of_val(seen.sets.as_slice()) <= MUCH);
        let found = (0..10_000).filter(|number| {
            seen.find(epoch(1), &hash(*number), MUCH)
                .inspect(|found| assert_eq!(*found, key(*number)))
                .is_some()
        });
        assert!(found.count() > 9_700);
    }

    #[test]
    fn nothing_is_kept_without_room_for_it() {
        let mut seen = CachedKeys::new();
        seen.remember(epoch(1), &hash(1), key(1), 0);
        assert_eq!(seen.find(epoch(1), &hash(1), 0), None);
        seen.remember(epoch(1), &hash(1), key(1), MUCH);
        assert_eq!(seen.find(epoch(1), &hash(1), 64), None);
        assert!(seen.sets.is_empty());
    }

    proptest! {
        /// What is found is what was last remembered for that very hash in that very epoch.
        #[test]
        fn a_key_is_never_another_hashs(
            steps in prop::collection::vec((0u32..200, any::<u32>(), 0u64..3, 0usize..3), 0..500),
        ) {
            let mut seen = CachedKeys::new();
            let mut last = std::collections::HashMap::new();
            for (number, id, snapshot, limit) in steps {
                let limit = [0, 4_096, MUCH][limit];
                let (epoch, hash) = (epoch(snapshot), hash(number));
                if let Some(found) = seen.find(epoch, &hash, limit) {
                    prop_assert_eq!(Some(&found), last.get(&(snapshot, number)));
                }
                seen.remember(epoch, &hash, key(id), limit);
                last.insert((snapshot, number), key(id));
                prop_assert!(size_of_val(seen.sets.as_slice()) <= limit);
            }
        }
    }
}
