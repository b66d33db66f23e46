//! Where rows were last found: a cache of TIDs in the memory of one process.
//!
//! A TID is found by a tag, 32 bits of the value that a row is looked up by. It is only a hint: two
//! rows may have the same tag, and a row may have moved or been removed since. The reader checks
//! the row that it finds there.

use crate::cache::table::{Entry, Table};

/// How many TIDs have room for one tag: as many as fit into a cache line.
const WAYS: usize = 4;
/// How many sets of TIDs the table begins with.
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
    let mut mixed = u64::from(kind);
    for chunk in name.chunks(8) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        mixed = (mixed ^ u64::from_le_bytes(bytes)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^= mixed >> 32;
    }
    let [a, b, c, d, ..] = mixed.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// A TID with its tag; an offset of 0 is no TID.
#[derive(Clone, Copy)]
struct Tagged {
    tag: u32,
    tid: CachedTid,
}

const _: () = assert!(size_of::<Tagged>() * WAYS == 64);

impl Entry<1> for Tagged {
    const UNUSED: Tagged = Tagged { tag: 0, tid: CachedTid { block: 0, buffer: 0, offset: 0 } };

    #[inline]
    fn tags(&self) -> [u32; 1] {
        [self.tag]
    }

    #[inline]
    fn is_used(&self, _generation: u32) -> bool {
        self.tid.offset != 0
    }

    #[inline]
    fn is_same(&self, other: &Tagged) -> bool {
        self.tag == other.tag
    }
}

/// The TIDs by their tags.
#[derive(Default)]
pub struct CachedTids(Table<Tagged, WAYS, 1>);

impl CachedTids {
    /// A cache that takes no memory yet.
    pub const fn new() -> CachedTids {
        CachedTids(Table::new())
    }

    /// The TID that was last remembered for a tag, unless another one has replaced it. If the cache
    /// takes more than `limit` bytes, it is emptied first.
    #[inline]
    pub fn find(&mut self, tag: u32, limit: usize) -> Option<CachedTid> {
        self.0.shrink(limit);
        let is = |entry: &Tagged| entry.tag == tag && entry.tid.offset != 0;
        self.0.find_and_advance([tag], is).map(|entry| entry.tid)
    }

    /// Remembers a TID. The cache takes `limit` bytes at most; beyond that, it replaces another
    /// TID.
    pub fn remember(&mut self, tag: u32, tid: CachedTid, limit: usize) {
        self.0.insert(Tagged { tag, tid }, FIRST_SETS, limit);
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
    fn the_cache_grows_up_to_its_limit() {
        let mut tids = CachedTids::new();
        let tags = (0..10_000u32).map(|number| number.wrapping_mul(2_654_435_761));
        for (number, tag) in tags.clone().enumerate() {
            tids.remember(tag, tid(number as u32), MUCH);
        }
        assert!(tids.0.size() <= MUCH);
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
        assert_eq!(tids.0.size(), limit);
    }

    #[test]
    fn without_room_nothing_is_remembered() {
        let mut tids = CachedTids::new();
        tids.remember(1, tid(1), 0);
        tids.remember(1, tid(1), FIRST_SETS * 64 - 1);
        assert_eq!((tids.find(1, MUCH), tids.0.size()), (None, 0));
    }

    #[test]
    fn a_lower_limit_frees_the_memory() {
        let mut tids = CachedTids::new();
        for number in 0..10_000 {
            tids.remember(number, tid(number), MUCH);
        }
        assert_eq!(tids.find(1, 4_096), None);
        assert_eq!(tids.0.size(), 0);
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
                prop_assert!(tids.0.size() <= limit);
            }
        }
    }
}
