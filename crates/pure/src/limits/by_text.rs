//! What a session keeps of the texts that say the limits: each is parsed once.
//!
//! A value is found by its text, byte for byte. So it is never out of date: where an operator has
//! changed a row, its text is another. Plans are few, and so are their texts, however many accounts
//! and keys are in use.

use crate::cache::tids;
use crate::fallible;
use crate::limits::applicable::Limits;
use crate::limits::id::NameHash;
use crate::limits::policies::{MAX_POLICIES, NamedPolicy, Policies};

/// How many texts are kept at most. Another one takes the place of an earlier one.
const PLACES: usize = 256;
/// The longest text that is kept, in bytes. Those that the functions write are shorter.
const LONGEST: usize = 2_048;

/// Values that were made of texts.
pub struct ByText<T> {
    /// None, or [`PLACES`] of them.
    places: Vec<Option<Kept<T>>>,
}

/// A text, and what was made of it.
struct Kept<T> {
    text: Vec<u8>,
    value: T,
}

impl<T: Copy> ByText<T> {
    /// Nothing is kept, and no memory is taken.
    pub const fn new() -> ByText<T> {
        ByText { places: Vec::new() }
    }

    /// The value of a text, which `make` returns if it is not kept. Where there is no memory for
    /// it, it is made each time.
    pub fn get(&mut self, text: &[u8], make: impl FnOnce(&[u8]) -> T) -> T {
        let at = tids::tag(0, text) as usize % PLACES;
        if let Some(value) = self.kept(at, text) {
            return *value;
        }
        let value = make(text);
        self.keep(at, text, value);
        value
    }

    /// The value of a text, if it is kept.
    #[inline]
    pub fn find(&self, text: &[u8]) -> Option<&T> {
        self.kept(tids::tag(0, text) as usize % PLACES, text)
    }

    fn kept(&self, at: usize, text: &[u8]) -> Option<&T> {
        let kept = self.places.get(at)?.as_ref().filter(|kept| kept.text == text)?;
        Some(&kept.value)
    }

    /// Keeps a value of a text, instead of the one that was kept. Where there is no memory for it,
    /// it is not kept.
    pub fn set(&mut self, text: &[u8], value: T) {
        self.keep(tids::tag(0, text) as usize % PLACES, text, value);
    }

    fn keep(&mut self, at: usize, text: &[u8], value: T) {
        if text.len() > LONGEST {
            return;
        }
        let Some(mut copy) = fallible::try_vec(text.len()) else { return };
        copy.extend_from_slice(text);
        if self.places.is_empty() {
            let Some(mut places) = fallible::try_vec(PLACES) else { return };
            places.resize_with(PLACES, || None);
            self.places = places;
        }
        if let Some(place) = self.places.get_mut(at) {
            *place = Some(Kept { text: copy, value });
        }
    }
}

impl<T: Copy> Default for ByText<T> {
    fn default() -> ByText<T> {
        ByText::new()
    }
}

/// A policy with the hash of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashedPolicy {
    /// The policy with its name.
    pub named: NamedPolicy,
    /// The hash of the name.
    pub hash: NameHash,
}

/// Policies with the hashes of their names.
#[derive(Clone, Copy)]
pub struct HashedPolicies([Option<HashedPolicy>; MAX_POLICIES]);

impl HashedPolicies {
    /// No policy.
    pub const NONE: HashedPolicies = HashedPolicies([None; MAX_POLICIES]);

    /// The policies of the text of a column. A text that is no list of policies has none: a
    /// verification does not fail for it.
    pub fn parse(text: &[u8]) -> HashedPolicies {
        let mut hashed = HashedPolicies::NONE;
        if let Ok(policies) = Policies::parse(text) {
            for (place, named) in hashed.0.iter_mut().zip(policies.iter()) {
                *place = Some(HashedPolicy { named, hash: NameHash::of(named.name) });
            }
        }
        hashed
    }

    /// The policies, in order.
    pub fn iter(&self) -> impl Iterator<Item = HashedPolicy> + Clone + '_ {
        // They come before the places that are free.
        self.0.iter().map_while(|place| *place)
    }
}

impl Limits for HashedPolicies {
    type Limit = HashedPolicy;

    fn each(&self) -> impl Iterator<Item = HashedPolicy> + Clone {
        self.iter()
    }

    fn has_kind_of(&self, limit: HashedPolicy) -> bool {
        self.iter().any(|it| it.hash == limit.hash && it.named.name == limit.named.name)
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;
    use crate::limits::applicable::applicable;

    #[test]
    fn a_text_is_parsed_once_and_another_text_anew() {
        let mut kept = ByText::new();
        let made = Cell::new(0);
        let mut get = |text: &[u8]| {
            kept.get(text, |text| {
                made.set(made.get() + 1);
                text.len()
            })
        };
        for _ in 0..3 {
            assert_eq!([&b"minute=1/1min"[..], b""].map(&mut get), [13, 0]);
        }
        assert_eq!(made.get(), 2);
        let mut kept = ByText::new();
        assert_eq!(kept.find(b"a"), None);
        kept.set(b"a", 1);
        kept.set(b"a", 2);
        assert_eq!((kept.find(b"a"), kept.find(b"b")), (Some(&2), None));
        // More texts than there are places, and one that is too long.
        for number in 0..3_000 {
            let text = format!("text {number}");
            assert_eq!(get(text.as_bytes()), text.len());
        }
        let long = [b' '; LONGEST + 1];
        let before = made.get();
        assert_eq!([&long[..]; 2].map(&mut get), [LONGEST + 1; 2]);
        assert_eq!(made.get(), before + 2);
    }

    #[test]
    fn a_text_that_says_nothing_has_no_policy() {
        for text in ["", "minute", "minute=0/1s", "a=1/1s, a=2/1s"] {
            assert_eq!(HashedPolicies::parse(text.as_bytes()).iter().count(), 0, "{text}");
        }
    }

    #[test]
    fn hashed_policies_apply_as_policies_do() {
        let [plan, account, key] = ["s=1/1s, m=9/1min", "h=5/1h, s=4/1s", "m=3/1s"]
            .map(|text| HashedPolicies::parse(text.as_bytes()));
        let found = applicable(&plan, &account, &key).map(|(_, it)| it.named.to_string());
        assert_eq!(found.collect::<Vec<_>>(), ["h=5/1h", "s=4/1s", "m=3/1s"]);
    }
}
