//! Uses of keys that have not been written to the table yet: an array of slots in memory that
//! processes share.
//!
//! A slot holds the uses of one key of one database in one hour; it is empty while their number is
//! 0. Each change of a slot holds its [spin lock](crate::spin) for a few instructions; nothing in
//! between can fail. Refusals of keys are counted in the same way, by status, in an array of their
//! own: however many there are, they take no slot from a use.
//!
//! A verification never waits for a lock. It looks at up to [`PROBES`] slots, beginning at the
//! key's home, skips slots that are locked or hold another key, and takes the first one that holds
//! this key or is empty. So one key may have several slots; their uses are added up when they are
//! collected. At the turn of an hour a key takes another slot, or, where none is free, stays in its
//! own: then all of its uses there count in the later hour.
//!
//! Uses stay in their slot until the transaction that wrote them to the table has committed, and
//! are subtracted then. The caller ensures that only one process at a time does that
//! ([`crate::usage::claim`]). It may wait for a lock, since a process that holds one never
//! waits. So may one that lists keys.
//!
//! A slot without uses is free for any key. What the last flush wrote from it stays beside them
//! ([`Written`]).

use crate::answer::status::Status;
use crate::instant::Micros;
use crate::sync::Ordering::Relaxed;
use crate::sync::spin_loop;
use crate::usage::slot::{Hours, Owner, halves};
pub use crate::usage::slot::{Noted, Slot};
use crate::usage::written::{MOST, Rest, mark};

/// How many slots a verification looks at before it gives up.
const PROBES: usize = 64;
/// How often it looks again if slots were only locked by others.
const ATTEMPTS: usize = 8;
/// Uses of a key that were found in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The slot.
    pub slot: usize,
    /// The database, by OID.
    pub database: u32,
    /// The key's id.
    pub key: [u8; 16],
    /// The answer: `VALID`, or why the key was refused.
    pub status: Status,
    /// The latest use.
    pub last_used_at: Micros,
    /// The number of uses, or of refusals.
    pub uses: u64,
}

/// Uses of a key that a query does not see in the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unseen {
    /// The number of uses.
    pub uses: u64,
    /// The latest use, where the memory still has it.
    pub last_used_at: Option<Micros>,
}

/// The slots.
#[derive(Clone, Copy)]
pub struct Slots<'memory>(pub &'memory [Slot]);

impl<'memory> Slots<'memory> {
    /// Notes uses of a key, the latest of them at an instant.
    pub fn note(self, database: u32, key: &[u8; 16], at: Micros, uses: u64) -> Noted {
        self.count(database, key, Status::Valid, at, uses)
    }

    /// Notes answers of a status to a key, the latest of them at an instant.
    pub fn count(
        self,
        database: u32,
        key: &[u8; 16],
        status: Status,
        at: Micros,
        uses: u64,
    ) -> Noted {
        let owner = Owner::new(database, key, status);
        match self.add(owner, Hours::of(at), at, uses) {
            // A slot of another hour, rather than none.
            Noted::Full => self.add(owner, Hours::ALL, at, uses),
            noted => noted,
        }
    }

    /// Adds uses to a slot that has uses of these hours, or none.
    fn add(self, owner: Owner, hours: Hours, at: Micros, uses: u64) -> Noted {
        for _ in 0..ATTEMPTS {
            let mut held = false;
            for slot in self.probed(owner.database, owner.key) {
                // A look without the lock: if it is wrong, the next slot is tried.
                if !slot.is_for(owner, hours) {
                    continue;
                }
                match slot.held.try_with(|| slot.add(owner, hours, at, uses)) {
                    Some(Some(noted)) => return noted,
                    Some(None) => {}
                    None => held = true,
                }
            }
            if !held {
                break;
            }
            spin_loop();
        }
        Noted::Full
    }

    /// The slots that may hold a key, in the order in which they are tried.
    fn probed(self, database: u32, key: [u64; 2]) -> impl Iterator<Item = &'memory Slot> {
        let home = home(database, key, self.0.len());
        self.0[home..].iter().chain(&self.0[..home]).take(PROBES)
    }

    /// Reads the uses of a database in up to `limit` slots, from slot `from` on, except for uses of
    /// keys that rest. Also returns the slot to continue from, if there are more. Of more than
    /// [`MOST`] uses in a slot, some wait for the next time.
    pub fn collect(
        self,
        database: u32,
        from: usize,
        limit: usize,
        rest: Rest,
    ) -> (Vec<Pending>, Option<usize>) {
        let mut found = Vec::new();
        for (at, slot) in self.0.iter().enumerate().skip(from) {
            if found.len() == limit {
                return (found, Some(at));
            }
            if slot.number() > 0
                && slot.database.load(Relaxed) == database
                && !self.rests(slot, rest)
            {
                let read = slot.held.with(|| slot.read(at));
                let read = read.filter(|read| read.database == database);
                found.extend(read.map(|read| Pending { uses: read.uses.min(MOST), ..read }));
            }
        }
        (found, None)
    }

    /// Whether the key of a slot rests. As a rule the slot's own record says so. The key has taken
    /// another slot if its own was locked, or taken by another key: then that slot's record does.
    fn rests(self, slot: &Slot, rest: Rest) -> bool {
        if rest.is_none() {
            return false;
        }
        let (database, key) = slot.owner();
        let mark = mark(database, key);
        slot.written.rests(mark, rest).unwrap_or_else(|| {
            self.probed(database, key).any(|other| other.written.rests(mark, rest) == Some(true))
        })
    }

    /// Records that a transaction, of this number, is about to commit uses that were collected.
    pub fn begin<'a>(self, collected: impl Iterator<Item = &'a Pending>, transaction: u64) {
        for pending in collected {
            let Some(slot) = self.0.get(pending.slot) else { continue };
            let mark = mark(pending.database, halves(&pending.key));
            slot.held.with(|| slot.written.begin(mark, transaction, pending.uses));
        }
    }

    /// Subtracts uses that were collected. `flush` is what they were collected with, where the
    /// transaction of [`Slots::begin`] has committed them. Returns how many slots are now empty.
    pub fn settle<'a>(
        self,
        collected: impl Iterator<Item = &'a Pending>,
        flush: Option<Rest>,
    ) -> usize {
        let mut emptied = 0;
        for pending in collected {
            let Some(slot) = self.0.get(pending.slot) else { continue };
            slot.held.with(|| {
                emptied += usize::from(slot.subtract(pending.uses));
                if let Some(rest) = flush {
                    slot.written.end(rest);
                }
            });
        }
        emptied
    }

    /// The uses of a key that a query does not see in the table: see [`Copied::unseen`].
    pub fn unseen(
        self,
        database: u32,
        key: &[u8; 16],
        open: u64,
        mut shows: impl FnMut(u64) -> bool,
    ) -> Unseen {
        let key = halves(key);
        let mark = mark(database, key);
        let mut unseen = Unseen::default();
        for slot in self.probed(database, key) {
            // A look without the lock, at 64 slots for each key of a list.
            if slot.owner() != (database, key) && !slot.written.is_of(mark) {
                continue;
            }
            let (held, last_used_at, written) = slot.held.with(|| slot.copy(database, key, mark));
            let uses = match written {
                Some(written) => written.unseen(held, open, &mut shows),
                None => held,
            };
            if uses > 0 {
                unseen.uses = unseen.uses.saturating_add(uses);
                unseen.last_used_at = unseen.last_used_at.max(last_used_at);
            }
        }
        unseen
    }

    /// All pending uses; None if a slot is locked, whose content may be half written.
    pub fn all(self) -> Option<Vec<Pending>> {
        let mut found = Vec::new();
        for (at, slot) in self.0.iter().enumerate() {
            found.extend(slot.held.try_with(|| slot.read(at))?);
        }
        Some(found)
    }

    /// The number of pending uses of a database.
    pub fn pending(self, database: u32) -> u64 {
        self.0.iter().filter(|slot| slot.database.load(Relaxed) == database).map(Slot::number).sum()
    }

    /// The databases that have pending uses of keys that do not rest, in order.
    pub fn databases(self, rest: Rest) -> Vec<u32> {
        let mut found: Vec<u32> = Vec::new();
        for slot in self.0.iter().filter(|slot| slot.number() > 0) {
            let database = slot.database.load(Relaxed);
            if let Err(at) = found.binary_search(&database)
                && !self.rests(slot, rest)
            {
                found.insert(at, database);
            }
        }
        found
    }
}

/// The first slot that a key may have. A key's id is a version 7 UUID (RFC 9562): its last 62 bits
/// are random.
#[expect(clippy::cast_possible_truncation, reason = "the result is less than `slots`")]
fn home(database: u32, key: [u64; 2], slots: usize) -> usize {
    let mixed = (key[1] ^ u64::from(database).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // The high half of a product maps evenly onto 0..slots.
    ((u128::from(mixed) * slots as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::thread;

    use super::*;

    fn slots(number: usize) -> Vec<Slot> {
        (0..number).map(|_| Slot::default()).collect()
    }

    fn key(number: u64) -> [u8; 16] {
        let mut key = [7; 16];
        key[8..].copy_from_slice(&number.wrapping_mul(0x2545_f491_4f6c_dd1d).to_ne_bytes());
        key
    }

    fn totals(slots: Slots) -> HashMap<(u32, [u8; 16]), (i64, u64)> {
        let mut totals = HashMap::new();
        for found in slots.all().expect("no slot is locked") {
            let total = totals.entry((found.database, found.key)).or_insert((i64::MIN, 0));
            *total = (total.0.max(found.last_used_at), total.1 + found.uses);
        }
        totals
    }

    #[test]
    fn uses_add_up_and_the_latest_instant_stays() {
        let memory = slots(16);
        let slots = Slots(&memory);
        assert_eq!(slots.note(1, &key(1), 20, 1), Noted::Claimed);
        assert_eq!(slots.note(1, &key(1), 10, 1), Noted::Added);
        assert_eq!(slots.note(2, &key(1), 5, 3), Noted::Claimed);
        let totals = totals(slots);
        assert_eq!(totals[&(1, key(1))], (20, 2));
        assert_eq!(totals[&(2, key(1))], (5, 3));
        assert_eq!(slots.databases(Rest::NONE), [1, 2]);
        assert_eq!((slots.pending(1), slots.pending(2), slots.pending(3)), (2, 3, 0));
    }

    #[test]
    fn uses_that_are_noted_during_a_flush_stay() {
        let memory = slots(16);
        let slots = Slots(&memory);
        slots.note(1, &key(1), 10, 2);
        slots.note(1, &key(2), 10, 1);
        slots.note(2, &key(3), 10, 1);
        let (batch, rest) = slots.collect(1, 0, 100, Rest::NONE);
        assert_eq!((batch.len(), rest), (2, None));
        slots.note(1, &key(1), 11, 5);
        assert_eq!(slots.settle(batch.iter(), None), 1);
        assert_eq!(totals(slots), [((1, key(1)), (11, 5)), ((2, key(3)), (10, 1))].into());
    }

    #[test]
    fn batches_are_bounded_and_cover_everything() {
        let memory = slots(256);
        let slots = Slots(&memory);
        (0..100).for_each(|number| assert_eq!(slots.note(1, &key(number), 1, 1), Noted::Claimed));
        let mut from = Some(0);
        let mut seen = Vec::new();
        while let Some(at) = from {
            let (batch, next) = slots.collect(1, at, 7, Rest::NONE);
            assert!(batch.len() <= 7);
            seen.extend(batch.iter().map(|pending| pending.key));
            slots.settle(batch.iter(), None);
            from = next;
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!((seen.len(), slots.pending(1)), (100, 0));
    }

    #[test]
    fn a_full_array_refuses_uses_and_loses_none() {
        let memory = slots(8);
        let slots = Slots(&memory);
        let noted: Vec<_> = (0..20).map(|number| slots.note(1, &key(number), 1, 1)).collect();
        assert_eq!(noted.iter().filter(|noted| **noted == Noted::Claimed).count(), 8);
        assert_eq!(noted.iter().filter(|noted| **noted == Noted::Full).count(), 12);
        assert_eq!(slots.pending(1), 8);
    }

    #[test]
    fn a_locked_slot_is_skipped() {
        let memory = slots(8);
        let slots = Slots(&memory);
        slots.note(1, &key(1), 1, 1);
        let own = slots.all().expect("no slot is locked")[0].slot;
        memory[own].held.with(|| {
            assert_eq!(slots.note(1, &key(1), 2, 1), Noted::Claimed);
            assert_eq!(slots.all(), None);
        });
        assert_eq!(totals(slots)[&(1, key(1))], (2, 2));
    }

    /// G4: eight threads note while one collects and settles: no use is lost or counted twice.
    #[test]
    fn nothing_is_lost_or_counted_twice_beside_a_collector() {
        const EACH: u64 = 20_000;
        let memory = slots(64);
        let slots = Slots(&memory);
        let mut flushed: HashMap<[u8; 16], u64> = HashMap::new();
        let full = thread::scope(|scope| {
            let writers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(move || {
                        let notes = (0..EACH).map(|n| slots.note(1, &key(n % 5), n as i64, 1));
                        notes.filter(|noted| *noted == Noted::Full).count() as u64
                    })
                })
                .collect();
            let mut flush = || {
                let (batch, _) = slots.collect(1, 0, 1000, Rest::NONE);
                batch.iter().for_each(|b| *flushed.entry(b.key).or_default() += b.uses);
                slots.settle(batch.iter(), None);
            };
            while writers.iter().any(|writer| !writer.is_finished()) {
                flush();
            }
            flush();
            writers.into_iter().map(|writer| writer.join().expect("a writer")).sum::<u64>()
        });
        assert_eq!(full, 0);
        assert_eq!(slots.pending(1), 0);
        assert_eq!(flushed.len(), 5);
        assert!(flushed.values().all(|uses| *uses == 8 * EACH / 5), "{flushed:?}");
    }
}
