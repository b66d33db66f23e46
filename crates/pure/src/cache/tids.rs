//! Where rows were last seen: a table of places in the memory of one process, bounded and growing with
//! use.
//!
//! A place is found by a tag, 32 bits that stand for what a row is looked up by. It is a hint and no
//! more: two rows may share a tag, and a row may have moved or gone since. Whoever follows a place
//! looks at what is there.

use crate::fallible;

/// How many places are looked at for one tag, which is as many as share a cache line.
const WAYS: usize = 4;
/// How many sets of places the table begins with.
const FIRST_SETS: usize = 16;

/// The place of a row: see src/include/storage/itemptr.h and buf.h.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CachedTid {
    /// The block of the table's file.
    pub block: u32,
    /// The buffer that held the block.
    pub buffer: i32,
    /// The line pointer in the block; the first is 1.
    pub offset: u16,
}

/// The tag of a row that is looked up by a name. Rows of different kinds may have the same name.
pub fn tag(kind: u8, name: &[u8]) -> u32 {
    // An odd number of 64 bits, 2^64 divided by the golden ratio; the high bits of a product depend on
    // all bits of its factors, so they are mixed into the low ones.
    let mut mixed = u64::from(kind);
    for chunk in name.chunks(8) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        mixed = (mixed ^ u64::from_le_bytes(bytes)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^= mixed >> 32;
    }
    mixed as u32
}

/// One place with its tag; an offset of 0 is no place.
#[derive(Clone, Copy, Default)]
struct Entry {
    tag: u32,
    place: CachedTid,
}

/// The places of tags that end in the same bits, the latest first: a cache line of its own.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Set([Entry; WAYS]);

const _: () = assert!(size_of::<Set>() == 64);

/// The table.
#[derive(Default)]
pub struct CachedTids {
    /// None, or a power of two.
    sets: Vec<Set>,
}

impl CachedTids {
    /// A table that takes no memory yet.
    pub const fn new() -> CachedTids {
        CachedTids { sets: Vec::new() }
    }

    /// The place that was last remembered for a tag, unless that was forgotten since. With a limit of
    /// fewer bytes than the table has, everything is forgotten.
    pub fn find(&mut self, tag: u32, limit: usize) -> Option<CachedTid> {
        if size_of_val(self.sets.as_slice()) > limit {
            self.sets = Vec::new();
        }
        let at = self.set_of(tag)?;
        let Set(entries) = &mut self.sets[at];
        let way = entries.iter().position(|entry| entry.tag == tag && entry.place.offset != 0)?;
        let place = entries[way].place;
        if way > 0 {
            // What is in use moves away from the end, where places are forgotten.
            entries.swap(way, way - 1);
        }
        Some(place)
    }

    /// Remembers a place, and forgets another where the table may take no more than `limit` bytes.
    pub fn remember(&mut self, tag: u32, place: CachedTid, limit: usize) {
        if self.sets.is_empty() {
            self.resize(FIRST_SETS, limit);
        }
        let Some(mut at) = self.set_of(tag) else { return };
        let Set(entries) = &self.sets[at];
        let known = entries.iter().position(|entry| entry.tag == tag);
        if known.is_none()
            && entries[WAYS - 1].place.offset != 0
            && self.resize(self.sets.len() * 2, limit)
        {
            at = self.set_of(tag).unwrap_or(at);
        }
        self.sets[at].put(Entry { tag, place });
    }

    /// Makes the table of so many sets, if that is within the limit and there is memory.
    fn resize(&mut self, sets: usize, limit: usize) -> bool {
        if sets * size_of::<Set>() > limit {
            return false;
        }
        let Some(mut larger) = fallible::try_vec(sets) else { return false };
        larger.resize(sets, Set::default());
        let smaller = core::mem::replace(&mut self.sets, larger);
        for Set(entries) in smaller {
            // The latest last, so that it is first again.
            for entry in entries.into_iter().rev().filter(|entry| entry.place.offset != 0) {
                if let Some(at) = self.set_of(entry.tag) {
                    self.sets[at].put(entry);
                }
            }
        }
        true
    }

    fn set_of(&self, tag: u32) -> Option<usize> {
        (!self.sets.is_empty()).then(|| tag as usize & (self.sets.len() - 1))
    }
}

impl Set {
    /// Puts an entry first, in place of the one of the same tag or of the last.
    fn put(&mut self, entry: Entry) {
        let Set(entries) = self;
        let at = entries.iter().position(|known| known.tag == entry.tag).unwrap_or(WAYS - 1);
        entries[..=at].rotate_right(1);
        entries[0] = entry;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MUCH: usize = 1 << 20;

    fn place(number: u32) -> CachedTid {
        CachedTid { block: number, buffer: 1, offset: 1 }
    }

    fn size(places: &CachedTids) -> usize {
        size_of_val(places.sets.as_slice())
    }

    #[test]
    fn what_is_remembered_is_found() {
        let mut places = CachedTids::new();
        assert_eq!(places.find(7, MUCH), None);
        places.remember(7, place(1), MUCH);
        assert_eq!(places.find(7, MUCH), Some(place(1)));
        assert_eq!(places.find(8, MUCH), None);
        places.remember(7, place(2), MUCH);
        assert_eq!(places.find(7, MUCH), Some(place(2)));
    }

    #[test]
    fn a_tag_of_zero_is_a_tag() {
        let mut places = CachedTids::new();
        places.remember(16, place(1), MUCH);
        assert_eq!(places.find(0, MUCH), None);
        places.remember(0, place(2), MUCH);
        assert_eq!(places.find(0, MUCH), Some(place(2)));
    }

    #[test]
    fn the_table_grows_while_it_may() {
        let mut places = CachedTids::new();
        let tags = (0..10_000u32).map(|number| number.wrapping_mul(2_654_435_761));
        for (number, tag) in tags.clone().enumerate() {
            places.remember(tag, place(number as u32), MUCH);
        }
        assert!(size(&places) <= MUCH);
        for (number, tag) in tags.enumerate() {
            assert_eq!(places.find(tag, MUCH), Some(place(number as u32)));
        }
    }

    #[test]
    fn places_in_use_outlive_others_in_a_full_table() {
        let mut places = CachedTids::new();
        let limit = FIRST_SETS * 64;
        places.remember(1, place(1), limit);
        for number in 2..1_000 {
            places.remember(number * 16 + 1, place(number), limit);
            assert_eq!(places.find(1, limit), Some(place(1)));
        }
        assert_eq!(size(&places), limit);
    }

    #[test]
    fn nothing_is_kept_without_room_for_it() {
        let mut places = CachedTids::new();
        places.remember(1, place(1), 0);
        places.remember(1, place(1), FIRST_SETS * 64 - 1);
        assert_eq!((places.find(1, MUCH), size(&places)), (None, 0));
    }

    #[test]
    fn a_lower_limit_gives_the_memory_back() {
        let mut places = CachedTids::new();
        for number in 0..10_000 {
            places.remember(number, place(number), MUCH);
        }
        assert_eq!(places.find(1, 4_096), None);
        assert_eq!(size(&places), 0);
        places.remember(1, place(3), 4_096);
        assert_eq!(places.find(1, 4_096), Some(place(3)));
    }

    #[test]
    fn names_have_tags_of_their_own() {
        let names = (0..1_000).map(|number| format!("account {number}"));
        let mut tags: Vec<u32> =
            names.flat_map(|name| (*b"ap").map(|kind| tag(kind, name.as_bytes()))).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), 2_000);
    }

    proptest! {
        /// What is found is what was last remembered for that very tag, whatever happened between.
        #[test]
        fn a_place_is_never_another_tags(
            steps in prop::collection::vec((0u32..200, any::<u32>(), 0usize..3), 0..500),
        ) {
            let mut places = CachedTids::new();
            let mut last = std::collections::HashMap::new();
            for (tag, block, limit) in steps {
                let limit = [0, 2_048, MUCH][limit];
                if let Some(found) = places.find(tag, limit) {
                    prop_assert_eq!(Some(&found), last.get(&tag));
                }
                places.remember(tag, place(block), limit);
                last.insert(tag, place(block));
                prop_assert!(size(&places) <= limit);
            }
        }
    }
}
