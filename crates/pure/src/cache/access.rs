//! Which accounts have API access, as it was in one epoch: a cache in the memory of one process.
//!
//! Entries are valid only in the epoch they were read in.

use crate::cache::epoch::Epoch;
use crate::cache::table::{Entry, Table};

/// The longest name of an account that is remembered, in bytes.
const LONGEST: usize = 54;
/// How many accounts share a set.
const WAYS: usize = 2;
/// How many sets the table begins with.
const FIRST_SETS: usize = 4;
/// How many bytes the cache takes at most: room for 64 accounts.
const LIMIT: usize = 64 * size_of::<Access>();

/// One account, flat, so that it fits a cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Access {
    tag: u32,
    /// The generation of the table in which it was inserted; 0 means no entry.
    generation: u32,
    included: bool,
    /// The length of the name; the rest is zeroes.
    length: u8,
    name: [u8; LONGEST],
}

const _: () = assert!(size_of::<Access>() == 64);

impl Entry<1> for Access {
    const UNUSED: Access =
        Access { tag: 0, generation: 0, included: false, length: 0, name: [0; LONGEST] };

    #[inline]
    fn tags(&self) -> [u32; 1] {
        [self.tag]
    }

    #[inline]
    fn is_used(&self, generation: u32) -> bool {
        self.generation == generation
    }

    #[inline]
    fn is_same(&self, other: &Access) -> bool {
        (self.tag, self.length, self.name) == (other.tag, other.length, other.name)
    }
}

/// The accounts of one epoch by their tags and names.
pub struct Accesses {
    table: Table<Access, WAYS, 1>,
    epoch: Option<Epoch>,
}

impl Accesses {
    /// A cache that takes no memory yet.
    pub const fn new() -> Accesses {
        Accesses { table: Table::new(), epoch: None }
    }

    /// Whether the account's plan included API access, if that was remembered in this epoch.
    #[inline]
    pub fn find(&self, epoch: Epoch, tag: u32, name: &[u8]) -> Option<bool> {
        if self.epoch != Some(epoch) {
            return None;
        }
        let generation = self.table.generation();
        let is = |access: &Access| {
            access.tag == tag
                && access.generation == generation
                && access.name.get(..usize::from(access.length)) == Some(name)
        };
        self.table.find([tag], is).map(|access| access.included)
    }

    /// Remembers whether the account's plan includes API access, unless the name is too long.
    pub fn remember(&mut self, epoch: Epoch, tag: u32, name: &[u8], included: bool) {
        if self.epoch != Some(epoch) {
            self.epoch = Some(epoch);
            self.table.clear();
        }
        let mut access = Access { tag, included, ..Access::UNUSED };
        if let (Some(room), Ok(length)) =
            (access.name.get_mut(..name.len()), u8::try_from(name.len()))
        {
            room.copy_from_slice(name);
            access.length = length;
            access.generation = self.table.generation();
            self.table.insert(access, FIRST_SETS, LIMIT);
        }
    }
}

impl Default for Accesses {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(snapshot: u64) -> Epoch {
        Epoch { snapshot, relations: 1 }
    }

    #[test]
    fn an_account_is_found_in_its_epoch_only() {
        let mut accesses = Accesses::new();
        assert_eq!(accesses.find(epoch(1), 7, b"acme"), None);
        accesses.remember(epoch(1), 7, b"acme", true);
        assert_eq!(accesses.find(epoch(1), 7, b"acme"), Some(true));
        assert_eq!(accesses.find(epoch(2), 7, b"acme"), None);
        assert_eq!(accesses.find(Epoch { snapshot: 1, relations: 2 }, 7, b"acme"), None);
        accesses.remember(epoch(2), 7, b"acme", false);
        assert_eq!(accesses.find(epoch(2), 7, b"acme"), Some(false));
        assert_eq!(accesses.find(epoch(1), 7, b"acme"), None);
    }

    #[test]
    fn accounts_with_one_tag_are_different_accounts() {
        let mut accesses = Accesses::new();
        accesses.remember(epoch(1), 7, b"acme", true);
        for other in [&b"acm"[..], b"acme2", b"", b"umbrella"] {
            assert_eq!(accesses.find(epoch(1), 7, other), None, "{other:?}");
            assert_eq!(accesses.find(epoch(1), 7 + 64, other), None);
        }
        accesses.remember(epoch(1), 7, b"umbrella", false);
        assert_eq!(accesses.find(epoch(1), 7, b"acme"), Some(true));
        assert_eq!(accesses.find(epoch(1), 7, b"umbrella"), Some(false));
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut accesses = Accesses::new();
        for number in 0..1_000u32 {
            accesses.remember(epoch(1), number, &number.to_ne_bytes(), true);
        }
        assert_eq!(accesses.table.size(), LIMIT);
        let found =
            |number: &u32| accesses.find(epoch(1), *number, &number.to_ne_bytes()).is_some();
        assert_eq!((0..1_000).filter(found).count(), 64);
    }

    #[test]
    fn a_long_name_is_not_remembered() {
        let mut accesses = Accesses::new();
        let (fits, long) = ([b'a'; LONGEST], [b'a'; LONGEST + 1]);
        accesses.remember(epoch(1), 7, &fits, true);
        accesses.remember(epoch(1), 7, &long, false);
        assert_eq!(accesses.find(epoch(1), 7, &long), None);
        assert_eq!(accesses.find(epoch(1), 7, &fits), Some(true));
    }
}
