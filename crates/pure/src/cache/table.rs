//! The hash table of the backend caches. It grows with use, up to a limit that the caller gives: a
//! share of `vibepeak_keys.backend_cache`.
//!
//! It is made of sets of a few entries each. A tag, 32 bits of what an entry is found by, chooses a
//! set; with two tags, an entry may be in either of two sets. While a set has room, the entries in
//! use are its first ones. An entry that finds no room makes the table twice as large, or replaces
//! another entry where the limit or the memory does not allow that.

use crate::fallible;

/// An entry of a table, which is found by `TAGS` tags.
pub trait Entry<const TAGS: usize>: Copy {
    /// An entry that is not in use, in any generation that a table has.
    const UNUSED: Self;

    /// The tags it is found by.
    fn tags(&self) -> [u32; TAGS];

    /// Whether it is in use in this generation.
    fn is_used(&self, generation: u32) -> bool;

    /// Whether it is found by the same value as another, which it replaces then.
    fn is_same(&self, other: &Self) -> bool;
}

/// A set of entries. With entries that divide 64 bytes, it shares no cache line with another set.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Set<E, const WAYS: usize>([E; WAYS]);

/// A table of sets with `WAYS` entries each.
pub struct Table<E, const WAYS: usize, const TAGS: usize> {
    /// None, or a power of two.
    sets: Vec<Set<E, WAYS>>,
    /// Incremented to empty the table.
    generation: u32,
}

impl<E: Entry<TAGS>, const WAYS: usize, const TAGS: usize> Table<E, WAYS, TAGS> {
    /// A table that takes no memory yet.
    pub const fn new() -> Self {
        Table { sets: Vec::new(), generation: 0 }
    }

    /// The generation to which new entries belong.
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// How many bytes of memory it takes.
    pub const fn size(&self) -> usize {
        size_of_val(self.sets.as_slice())
    }

    /// Gives all memory back if that is more than `limit` bytes.
    #[inline]
    pub fn shrink(&mut self, limit: usize) {
        if self.size() > limit {
            self.sets = Vec::new();
        }
    }

    /// The entry with one of the tags that `is` accepts. It must not accept an unused entry.
    #[inline]
    pub fn find(&self, tags: [u32; TAGS], is: impl Fn(&E) -> bool) -> Option<&E> {
        for at in &self.sets_of(tags)? {
            for entry in &self.sets[*at].0 {
                if is(entry) {
                    return Some(entry);
                }
            }
        }
        None
    }

    /// The same, and moves the entry away from the end of its set, where entries are replaced.
    #[inline]
    pub fn find_and_advance(&mut self, tags: [u32; TAGS], is: impl Fn(&E) -> bool) -> Option<E> {
        for at in &self.sets_of(tags)? {
            let Set(entries) = &mut self.sets[*at];
            if let Some(way) = entries.iter().position(&is) {
                let entry = entries[way];
                if way > 0 {
                    entries.swap(way, way - 1);
                }
                return Some(entry);
            }
        }
        None
    }

    /// Inserts an entry of the current generation, or replaces the same one. The table, which
    /// begins with `first_sets` sets (a power of two), takes `limit` bytes at most: another entry
    /// is replaced then.
    pub fn insert(&mut self, entry: E, first_sets: usize, limit: usize) {
        if self.sets.is_empty() {
            self.resize(first_sets, limit);
        }
        if !self.put(entry, false) {
            self.resize(self.sets.len() * 2, limit);
            self.put(entry, true);
        }
    }

    /// Empties the table, and keeps its memory.
    pub fn clear(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            // Entries of earlier generations would count as new ones.
            self.sets.fill(Set([E::UNUSED; WAYS]));
            self.generation = 1;
        }
    }

    /// Puts an entry first in its set: in place of the same one, or else where there is room, or
    /// else, if `replace`, in place of the last one. Returns whether it is there now.
    fn put(&mut self, entry: E, replace: bool) -> bool {
        let Some(sets) = self.sets_of(entry.tags()) else { return false };
        let generation = self.generation;
        let same = |other: &E| other.is_used(generation) && other.is_same(&entry);
        let free = |other: &E| !other.is_used(generation);
        let position = sets
            .into_iter()
            .find_map(|at| Some((at, self.sets[at].0.iter().position(same)?)))
            .or_else(|| {
                let free = |at: usize| Some((at, self.sets[at].0.iter().position(free)?));
                // The set that has more room, since entries in use come first.
                sets.into_iter().filter_map(free).min_by_key(|(_, way)| *way)
            })
            .or_else(|| replace.then_some((sets[0], WAYS - 1)));
        let Some((at, way)) = position else { return false };
        let Set(entries) = &mut self.sets[at];
        if way > 0 {
            entries.copy_within(..way, 1);
        }
        entries[0] = entry;
        true
    }

    /// Gives the table so many sets, if they are within the limit and there is memory. Returns
    /// whether it has them now.
    fn resize(&mut self, sets: usize, limit: usize) -> bool {
        if sets * size_of::<Set<E, WAYS>>() > limit {
            return false;
        }
        let Some(mut larger) = fallible::try_vec(sets) else { return false };
        larger.resize(sets, Set([E::UNUSED; WAYS]));
        let generation = self.generation;
        for Set(entries) in core::mem::replace(&mut self.sets, larger) {
            // The first one last, so that it is first again.
            for entry in entries.into_iter().rev().filter(|entry| entry.is_used(generation)) {
                self.put(entry, true);
            }
        }
        true
    }

    /// The sets that the tags choose.
    #[inline]
    fn sets_of(&self, tags: [u32; TAGS]) -> Option<[usize; TAGS]> {
        let last = self.sets.len().checked_sub(1)?;
        Some(tags.map(|tag| tag as usize & last))
    }
}

impl<E: Entry<TAGS>, const WAYS: usize, const TAGS: usize> Default for Table<E, WAYS, TAGS> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Number(u32, u32);

    impl Entry<1> for Number {
        const UNUSED: Number = Number(0, 0);

        fn tags(&self) -> [u32; 1] {
            [self.0]
        }

        fn is_used(&self, generation: u32) -> bool {
            self.1 == generation
        }

        fn is_same(&self, other: &Number) -> bool {
            self.0 == other.0
        }
    }

    const SET: usize = size_of::<Set<Number, 2>>();

    fn insert(table: &mut Table<Number, 2, 1>, number: u32, limit: usize) {
        let generation = table.generation();
        table.insert(Number(number, generation), 2, limit);
    }

    fn has(table: &Table<Number, 2, 1>, number: u32) -> bool {
        table.find([number], |entry| *entry == Number(number, table.generation())).is_some()
    }

    #[test]
    fn a_table_grows_by_doubling_up_to_its_limit() {
        let mut table = Table::new();
        table.clear();
        let mut sizes = Vec::new();
        for number in 0..64 {
            insert(&mut table, number, 16 * SET);
            sizes.push(table.size() / SET);
        }
        sizes.dedup();
        assert_eq!(sizes, [2, 4, 8, 16]);
        assert!((32..64).all(|number| has(&table, number)));
    }

    #[test]
    fn the_entry_that_was_found_last_is_replaced_last() {
        let mut table = Table::new();
        table.clear();
        for number in [0, 2, 4] {
            insert(&mut table, number, 2 * SET);
            assert_eq!(
                table.find_and_advance([0], |entry| *entry == Number(0, 1)),
                Some(Number(0, 1))
            );
        }
        assert_eq!([0, 2, 4].map(|number| has(&table, number)), [true, false, true]);
    }

    #[test]
    fn an_entry_is_there_once() {
        let mut table = Table::new();
        table.clear();
        for number in [0, 2, 0, 0] {
            insert(&mut table, number, 2 * SET);
        }
        assert_eq!(table.sets[0].0, [Number(0, 1), Number(2, 1)]);
    }

    #[test]
    fn the_generation_after_the_last_one_has_no_entry_of_the_first() {
        let mut table = Table::new();
        table.clear();
        insert(&mut table, 1, 2 * SET);
        table.generation = u32::MAX;
        table.clear();
        assert_eq!((table.generation(), has(&table, 1)), (1, false));
    }
}
