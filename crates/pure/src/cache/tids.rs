//! Where rows were last found: a cache of TIDs in the memory of one process.
//!
//! A TID is found by a tag, 32 bits of the value that a row is looked up by. It is only a hint: two
//! rows may have the same tag, and a row may have moved or been removed since. The reader checks
//! the row that it finds there.
//!
//! The cache is made of sets of a few TIDs each, of which the tag chooses one. A TID that finds no
//! room in its set makes the cache twice as large, or replaces another one where the limit or the
//! memory does not allow that.

use crate::fallible;

/// How many TIDs have room in a set: as many as fit into a cache line.
const WAYS: usize = 4;
/// How many sets the cache begins with.
const FIRST_SETS: usize = 16;

/// The TID of a row: see src/include/storage/itemptr.h and buf.h.
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
    // An odd number of 64 bits, 2^64 divided by the golden ratio; the high bits of a product depend
    // on all bits of its factors, so they are mixed into the low ones.
    let mix = |mixed: u64, word: u64| {
        let product = (mixed ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        product ^ product >> 32
    };
    let (words, rest) = name.as_chunks();
    let start = u64::from(kind) | (name.len() as u64) << 8;
    let mixed = words.iter().fold(start, |mixed, word| mix(mixed, u64::from_le_bytes(*word)));
    // The last eight bytes are read at once, some of them for the second time.
    let last = name.last_chunk().map_or_else(
        || rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        |last| u64::from_le_bytes(*last),
    );
    #[expect(clippy::cast_possible_truncation, reason = "the low bits")]
    let tag = mix(mixed, last) as u32;
    tag
}

/// A TID with its tag; an offset of 0 is no TID.
#[derive(Clone, Copy)]
struct Tagged {
    tag: u32,
    tid: CachedTid,
}

const NO_TID: Tagged = Tagged { tag: 0, tid: CachedTid { block: 0, buffer: 0, offset: 0 } };

impl Tagged {
    const fn is_some(&self) -> bool {
        self.tid.offset != 0
    }
}

/// The TIDs of some tags, the one that was found last before the others.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Set([Tagged; WAYS]);

const _: () = assert!(size_of::<Set>() == 64);

impl Set {
    /// Puts a TID first: in place of the same tag's, or else where there is room, or else, if
    /// `replace`, in place of the last one. Returns whether it is there now.
    fn put(&mut self, new: Tagged, replace: bool) -> bool {
        let Set(tids) = self;
        let same = tids.iter().position(|tid| tid.is_some() && tid.tag == new.tag);
        let way = same
            .or_else(|| tids.iter().position(|tid| !tid.is_some()))
            .or_else(|| replace.then_some(WAYS - 1));
        let Some(way) = way else { return false };
        tids.copy_within(..way, 1);
        tids[0] = new;
        true
    }
}

/// The TIDs by their tags.
#[derive(Default)]
pub struct CachedTids {
    /// None, or a power of two.
    sets: Vec<Set>,
}

impl CachedTids {
    /// A cache that takes no memory yet.
    pub const fn new() -> CachedTids {
        CachedTids { sets: Vec::new() }
    }

    /// How many bytes of memory it takes.
    const fn size(&self) -> usize {
        size_of_val(self.sets.as_slice())
    }

    /// The TID that was last remembered for a tag, unless another one has replaced it. If the cache
    /// takes more than `limit` bytes, it is emptied first.
    #[inline]
    pub fn find(&mut self, tag: u32, limit: usize) -> Option<CachedTid> {
        if self.size() > limit {
            self.sets = Vec::new();
        }
        let Set(tids) = self.set(tag)?;
        let way = tids.iter().position(|tid| tid.tag == tag && tid.is_some())?;
        let found = tids[way].tid;
        // Away from the end of the set, where TIDs are replaced.
        if way > 0 {
            tids.swap(way, way - 1);
        }
        Some(found)
    }

    /// Remembers a TID. The cache takes `limit` bytes at most; beyond that, it replaces another
    /// TID.
    pub fn remember(&mut self, tag: u32, tid: CachedTid, limit: usize) {
        let new = Tagged { tag, tid };
        if self.sets.is_empty() {
            self.resize(FIRST_SETS, limit);
        }
        if self.set(tag).is_some_and(|set| !set.put(new, false)) {
            self.resize(self.sets.len() * 2, limit);
            self.set(tag).map(|set| set.put(new, true));
        }
    }

    /// Gives the cache so many sets, if they are within the limit and there is memory.
    fn resize(&mut self, sets: usize, limit: usize) {
        if sets * size_of::<Set>() > limit {
            return;
        }
        let Some(mut larger) = fallible::try_vec(sets) else { return };
        larger.resize(sets, Set([NO_TID; WAYS]));
        for Set(tids) in core::mem::replace(&mut self.sets, larger) {
            // The first one last, so that it is first again.
            for tid in tids.into_iter().rev().filter(Tagged::is_some) {
                self.set(tid.tag).map(|set| set.put(tid, true));
            }
        }
    }

    /// The set that a tag chooses; None where there are no sets.
    #[inline]
    fn set(&mut self, tag: u32) -> Option<&mut Set> {
        let last = self.sets.len().checked_sub(1)?;
        self.sets.get_mut(tag as usize & last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MUCH: usize = 1 << 20;

    fn tid(number: u32) -> CachedTid {
        CachedTid { block: number, buffer: 1, offset: 1 }
    }

    #[test]
    fn a_remembered_tid_is_found() {
        let mut tids = CachedTids::new();
        assert_eq!(tids.find(7, MUCH), None);
        tids.remember(7, tid(1), MUCH);
        assert_eq!(tids.find(7, MUCH), Some(tid(1)));
        assert_eq!(tids.find(8, MUCH), None);
        tids.remember(7, tid(2), MUCH);
        assert_eq!(tids.find(7, MUCH), Some(tid(2)));
    }

    #[test]
    fn a_tag_of_zero_is_a_tag() {
        let mut tids = CachedTids::new();
        tids.remember(16, tid(1), MUCH);
        assert_eq!(tids.find(0, MUCH), None);
        tids.remember(0, tid(2), MUCH);
        assert_eq!(tids.find(0, MUCH), Some(tid(2)));
    }

    #[test]
    fn a_tag_has_one_tid() {
        let mut tids = CachedTids::new();
        let limit = FIRST_SETS * 64;
        for (tag, number) in [(0, 1), (16, 2), (0, 3), (0, 4)] {
            tids.remember(tag, tid(number), limit);
        }
        let blocks = tids.sets[0].0.map(|tagged| tagged.tid.block);
        assert_eq!(blocks, [4, 2, 0, 0]);
    }

    #[test]
    fn the_cache_grows_by_doubling() {
        let mut tids = CachedTids::new();
        let mut sizes = Vec::new();
        for number in 0..1_024 {
            tids.remember(number, tid(number), 16 * FIRST_SETS * 64);
            sizes.push(tids.size() / (FIRST_SETS * 64));
        }
        sizes.dedup();
        assert_eq!(sizes, [1, 2, 4, 8, 16]);
    }

    #[test]
    fn the_cache_grows_up_to_its_limit() {
        let mut tids = CachedTids::new();
        let tags = (0..10_000u32).map(|number| number.wrapping_mul(2_654_435_761));
        for (number, tag) in tags.clone().enumerate() {
            tids.remember(tag, tid(number as u32), MUCH);
        }
        assert!(tids.size() <= MUCH);
        for (number, tag) in tags.enumerate() {
            assert_eq!(tids.find(tag, MUCH), Some(tid(number as u32)));
        }
    }

    #[test]
    fn tids_in_use_are_not_replaced() {
        let mut tids = CachedTids::new();
        let limit = FIRST_SETS * 64;
        tids.remember(1, tid(1), limit);
        for number in 2..1_000 {
            tids.remember(number * 16 + 1, tid(number), limit);
            assert_eq!(tids.find(1, limit), Some(tid(1)));
        }
        assert_eq!(tids.size(), limit);
    }

    #[test]
    fn without_room_nothing_is_remembered() {
        let mut tids = CachedTids::new();
        tids.remember(1, tid(1), 0);
        tids.remember(1, tid(1), FIRST_SETS * 64 - 1);
        assert_eq!((tids.find(1, MUCH), tids.size()), (None, 0));
    }

    #[test]
    fn a_lower_limit_frees_the_memory() {
        let mut tids = CachedTids::new();
        for number in 0..10_000 {
            tids.remember(number, tid(number), MUCH);
        }
        assert_eq!(tids.find(1, 4_096), None);
        assert_eq!(tids.size(), 0);
        tids.remember(1, tid(3), 4_096);
        assert_eq!(tids.find(1, 4_096), Some(tid(3)));
    }

    #[test]
    fn names_have_different_tags() {
        let names = (0..1_000).map(|number| format!("account {number}"));
        let mut tags: Vec<u32> =
            names.flat_map(|name| (*b"ap").map(|kind| tag(kind, name.as_bytes()))).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), 2_000);
    }

    proptest! {
        /// A TID that is found is the last one that was remembered for the tag.
        #[test]
        fn a_found_tid_is_the_tags_last_one(
            steps in prop::collection::vec((0u32..200, any::<u32>(), 0usize..3), 0..500),
        ) {
            let mut tids = CachedTids::new();
            let mut last = std::collections::HashMap::new();
            for (tag, block, limit) in steps {
                let limit = [0, 2_048, MUCH][limit];
                if let Some(found) = tids.find(tag, limit) {
                    prop_assert_eq!(Some(&found), last.get(&tag));
                }
                tids.remember(tag, tid(block), limit);
                last.insert(tag, tid(block));
                prop_assert!(tids.size() <= limit);
            }
        }
    }
}
