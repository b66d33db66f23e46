//! Which accounts have API access, as one epoch of the database showed it.
//!
//! What was found in an epoch need not be looked for again in the same; in another, nothing of it counts.

use crate::cache::epoch::Epoch;

/// How many accounts are remembered, each in a place that its tag gives.
const ACCOUNTS: usize = 64;
/// The longest name of an account that is remembered, in bytes.
const LONGEST: usize = 48;

/// What was found for accounts: 5 kB.
pub struct Accesses([Access; ACCOUNTS]);

#[derive(Clone, Copy)]
struct Access {
    /// None where nothing is remembered.
    epoch: Option<Epoch>,
    included: bool,
    length: u8,
    name: [u8; LONGEST],
}

impl Accesses {
    /// Nothing is remembered yet.
    pub const fn new() -> Accesses {
        const NONE: Access = Access { epoch: None, included: false, length: 0, name: [0; LONGEST] };
        Accesses([NONE; ACCOUNTS])
    }

    /// Whether the account's plan included API access in this very epoch, if that is remembered.
    pub fn find(&self, epoch: Epoch, tag: u32, name: &[u8]) -> Option<bool> {
        let access = &self.0[tag as usize % ACCOUNTS];
        let same = access.epoch == Some(epoch)
            && access.name.get(..usize::from(access.length)) == Some(name);
        same.then_some(access.included)
    }

    /// Remembers it.
    pub fn remember(&mut self, epoch: Epoch, tag: u32, name: &[u8], included: bool) {
        let access = &mut self.0[tag as usize % ACCOUNTS];
        if let Some(room) = access.name.get_mut(..name.len()) {
            room.copy_from_slice(name);
            access.length = name.len() as u8;
            access.included = included;
            access.epoch = Some(epoch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(snapshot: u64) -> Epoch {
        Epoch { snapshot, relations: 1 }
    }

    #[test]
    fn an_account_is_known_in_its_view_alone() {
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
    fn accounts_of_one_place_are_told_apart() {
        let mut accesses = Accesses::new();
        accesses.remember(epoch(1), 7, b"acme", true);
        for other in [&b"acm"[..], b"acme2", b"", b"umbrella"] {
            assert_eq!(accesses.find(epoch(1), 7, other), None, "{other:?}");
            assert_eq!(accesses.find(epoch(1), 7 + ACCOUNTS as u32, other), None);
        }
        accesses.remember(epoch(1), 7 + ACCOUNTS as u32, b"umbrella", false);
        assert_eq!(accesses.find(epoch(1), 7, b"acme"), None);
        assert_eq!(accesses.find(epoch(1), 7, b"umbrella"), Some(false));
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
