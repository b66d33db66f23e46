//! What the last flush wrote from a slot.
//!
//! A verification neither reads nor changes this record. It stays when the slot is empty, and when
//! another key takes the slot. It answers two questions: whether the row of a key was written
//! lately, so that its next uses can wait, and whether uses that a query misses in the slot, or
//! finds there, are among those that the query sees in the table.

use std::time::Duration;

use crate::instant::Micros;
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicU32, AtomicU64};

/// Which keys rest: those whose row an earlier flush wrote less than an interval ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// When the flush begins, in milliseconds.
    begun: u32,
    /// The interval, in milliseconds.
    interval: u32,
}

impl Rest {
    /// None.
    pub const NONE: Rest = Rest { begun: 0, interval: 0 };

    /// For a flush that begins now. Where the interval is 0, none.
    pub fn before(begun: Micros, interval: Duration) -> Rest {
        let interval = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
        Rest { begun: milliseconds(begun), interval }
    }

    /// Whether it is certain that none does.
    pub fn is_none(self) -> bool {
        self.interval == 0
    }

    /// Whether a key rests whose row was written by the flush that began at this time. It does not
    /// where that is this same flush: uses that it has not written yet would wait twice as long.
    /// Nor does it where the clock was set back.
    fn covers(self, written_at: u32) -> bool {
        (1..self.interval).contains(&self.begun.wrapping_sub(written_at))
    }
}

/// An instant, in milliseconds. They begin again after 49 days: then a key that was not used for so
/// long may rest for an interval, as it would after a use.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "they begin again")]
fn milliseconds(instant: Micros) -> u32 {
    instant.div_euclid(1_000) as u32
}

/// How many uses the record of a slot can be of.
pub const MOST: u64 = u32::MAX as u64;

/// The record. All zeroes are none. Whoever changes it holds the slot's lock.
#[derive(Default)]
pub struct Written {
    /// The key, by [`mark`].
    mark: AtomicU64,
    /// The transaction that wrote its uses: twice its number, and 1 more until they are settled.
    transaction: AtomicU64,
    /// How many uses it wrote.
    uses: AtomicU32,
    /// When the flush began, in milliseconds. It counts once the uses are settled.
    at: AtomicU32,
}

/// A copy of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The transaction.
    transaction: u64,
    /// Whether its uses have left the slot.
    settled: bool,
    /// How many they are.
    uses: u64,
}

impl Written {
    /// Records that a transaction is about to commit uses of a key.
    pub fn begin(&self, mark: u64, transaction: u64, uses: u64) {
        self.mark.store(mark, Relaxed);
        self.transaction.store((transaction << 1) | 1, Relaxed);
        self.uses.store(uses.try_into().unwrap_or(u32::MAX), Relaxed);
    }

    /// Records that it has committed and its uses have left the slot. The key rests from now on.
    pub fn end(&self, rest: Rest) {
        self.transaction.store(self.transaction.load(Relaxed) & !1, Relaxed);
        self.at.store(rest.begun, Relaxed);
    }

    /// Whether the record is of this key.
    pub fn is_of(&self, mark: u64) -> bool {
        self.mark.load(Relaxed) == mark && self.transaction.load(Relaxed) != 0
    }

    /// Whether this key rests; None where the record is not of this key.
    pub fn rests(&self, mark: u64, rest: Rest) -> Option<bool> {
        let settled = self.transaction.load(Relaxed) & 1 == 0;
        self.is_of(mark).then(|| settled && rest.covers(self.at.load(Relaxed)))
    }

    /// The record, where it is of this key.
    pub fn copy(&self, mark: u64) -> Option<Copied> {
        let transaction = self.transaction.load(Relaxed);
        self.is_of(mark).then(|| Copied {
            transaction: transaction >> 1,
            settled: transaction & 1 == 0,
            uses: self.uses.load(Relaxed).into(),
        })
    }
}

impl Copied {
    /// How many uses a query does not see in the table, of those that its slot holds and those that
    /// the transaction has written. `open` is the transaction that is being settled now, and
    /// `shows` says whether the query sees what a transaction that has committed wrote.
    pub fn unseen(self, held: u64, open: u64, shows: impl FnOnce(u64) -> bool) -> u64 {
        if self.settled {
            // They have left the slot, which holds later ones.
            return if shows(self.transaction) { held } else { held.saturating_add(self.uses) };
        }
        // The slot holds them still. Where the transaction is not being settled, it has failed.
        let written = self.transaction == open && shows(self.transaction);
        if written { held.saturating_sub(self.uses) } else { held }
    }
}

/// A key of a database in 64 bits. Another key has the same by chance alone, and then only in a
/// slot nearby: for a moment, its uses may rest or be shown as this key's are.
pub fn mark(database: u32, key: [u64; 2]) -> u64 {
    let mixed = (key[0] ^ u64::from(database).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32) ^ key[1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::shared::{Header, Ledger};
    use crate::usage::slots::{Noted, Slot, Slots};

    const SECOND: Duration = Duration::from_secs(1);

    fn slots(number: usize) -> Vec<Slot> {
        (0..number).map(|_| Slot::default()).collect()
    }

    fn key(number: u64) -> [u8; 16] {
        let mut key = [7; 16];
        key[8..].copy_from_slice(&number.wrapping_mul(0x2545_f491_4f6c_dd1d).to_ne_bytes());
        key
    }

    #[test]
    fn a_key_rests_for_an_interval_after_the_flush_that_wrote_its_row() {
        let written = Written::default();
        let rests = |at: Micros, interval| written.rests(7, Rest::before(at, interval));
        assert_eq!(rests(5_000_000, SECOND), None);
        written.begin(7, 1, 1);
        assert_eq!(rests(5_500_000, SECOND), Some(false), "nothing is committed");
        written.end(Rest::before(5_000_000, SECOND));
        assert_eq!(rests(5_001_000, SECOND), Some(true));
        assert_eq!(rests(5_999_999, SECOND), Some(true));
        assert_eq!(rests(6_000_000, SECOND), Some(false));
        assert_eq!(rests(5_000_999, SECOND), Some(false), "the same flush");
        assert_eq!(rests(4_999_999, SECOND), Some(false), "the clock was set back");
        assert_eq!(rests(5_001_000, Duration::ZERO), Some(false));
        assert_eq!(written.rests(7, Rest::NONE), Some(false));
        assert_eq!(written.rests(8, Rest::before(5_001_000, SECOND)), None);
        written.begin(7, 2, 1);
        assert_eq!(rests(5_001_000, SECOND), Some(false), "the next one has begun");
    }

    #[test]
    fn times_before_2000_are_in_order_too() {
        let written = Written::default();
        written.begin(7, 1, 1);
        written.end(Rest::before(-500_500, SECOND));
        assert_eq!(written.rests(7, Rest::before(498_999, SECOND)), Some(true));
        assert_eq!(written.rests(7, Rest::before(499_000, SECOND)), Some(false));
    }

    #[test]
    fn a_query_misses_what_its_snapshot_does_not_show() {
        let copied = |settled| Copied { transaction: 9, settled, uses: 5 };
        let (yes, no) = (|_| true, |_| false);
        // 5 of 7 uses are on their way.
        assert_eq!(copied(false).unseen(7, 9, yes), 2);
        assert_eq!(copied(false).unseen(7, 9, no), 7);
        // The transaction has failed, and another may be on its way.
        assert_eq!(copied(false).unseen(7, 0, yes), 7);
        assert_eq!(copied(false).unseen(7, 10, yes), 7);
        // They have left.
        assert_eq!(copied(true).unseen(2, 0, yes), 2);
        assert_eq!(copied(true).unseen(2, 0, no), 7);
    }

    #[test]
    fn keys_that_differ_in_one_half_have_different_marks() {
        let marks = [(1, [1, 2]), (1, [1, 3]), (1, [2, 2]), (2, [1, 2])]
            .map(|(database, key)| mark(database, key));
        for (at, one) in marks.iter().enumerate() {
            assert!(!marks[at + 1..].contains(one));
        }
    }

    /// Flushes everything that does not rest, at an instant in seconds, as a transaction of this
    /// number. Returns the keys.
    fn flush(slots: Slots, transaction: u64, seconds: i64) -> Vec<[u8; 16]> {
        let rest = Rest::before(seconds * 1_000_000, Duration::from_secs(60));
        let (batch, _) = slots.collect(1, 0, 1000, rest);
        slots.begin(batch.iter(), transaction);
        slots.settle(batch.iter(), Some(rest));
        batch.iter().map(|pending| pending.key).collect()
    }

    /// G4: a first use is collected at once, and so is one after a pause; in between a key rests.
    #[test]
    fn a_key_rests_after_a_flush_and_its_uses_stay() {
        let memory = slots(16);
        let slots = Slots(&memory);
        slots.note(1, &key(1), 10, 1);
        assert_eq!(flush(slots, 1, 5), [key(1)]);
        for seconds in (10..65).step_by(5) {
            slots.note(1, &key(1), seconds * 1_000_000, 1);
            assert_eq!(flush(slots, 2, seconds), [[0; 16]; 0]);
        }
        let rest = Rest::before(64_999_999, Duration::from_secs(60));
        assert_eq!((slots.databases(rest), slots.databases(Rest::NONE)), (vec![], vec![1]));
        slots.note(1, &key(2), 60_000_000, 1);
        assert_eq!(slots.databases(rest), [1]);
        assert_eq!(flush(slots, 2, 62), [key(2)]);
        assert_eq!(slots.pending(1), 11);
        assert_eq!(flush(slots, 3, 65), [key(1)]);
        assert_eq!(slots.pending(1), 0);
        // Nothing was used for two intervals.
        slots.note(1, &key(1), 200_000_000, 1);
        assert_eq!(flush(slots, 4, 200), [key(1)]);
    }

    #[test]
    fn a_key_rests_in_whichever_slot_it_is_used() {
        let memory = slots(8);
        let slots = Slots(&memory);
        let used = [1, 2, 3].map(key);
        used.iter().for_each(|key| _ = slots.note(1, key, 1, 1));
        assert_eq!(flush(slots, 1, 5).len(), 3);
        // Each of them takes the first free slot of its own, whoever had it.
        used.iter().rev().for_each(|key| _ = slots.note(1, key, 2, 1));
        assert_eq!(flush(slots, 2, 10), [[0; 16]; 0]);
        // The same key of another database is another one.
        slots.note(2, &key(1), 2, 1);
        let rest = Rest::before(10_000_000, Duration::from_secs(60));
        assert_eq!(slots.databases(rest), [2]);
    }

    #[test]
    fn a_slot_without_uses_is_free_for_any_key() {
        let memory = slots(1);
        let slots = Slots(&memory);
        slots.note(1, &key(1), 1, 1);
        assert_eq!(slots.note(1, &key(2), 1, 1), Noted::Full);
        flush(slots, 1, 5);
        assert_eq!(slots.note(1, &key(2), 1, 1), Noted::Claimed);
        assert_eq!(flush(slots, 2, 6), [key(2)]);
    }

    #[test]
    fn what_a_query_does_not_see_is_found_with_its_last_use() {
        let memory = slots(8);
        let slots = Slots(&memory);
        let unseen = |number, open, seen: u64| {
            let found = slots.unseen(1, &key(number), open, |transaction| transaction <= seen);
            (found.uses, found.last_used_at)
        };
        assert_eq!(unseen(1, 0, 9), (0, None));
        slots.note(1, &key(1), 20, 2);
        slots.note(1, &key(2), 10, 3);
        assert_eq!(unseen(1, 0, 9), (2, Some(20)));
        assert_eq!(unseen(2, 0, 9), (3, Some(10)));
        let (batch, _) = slots.collect(1, 0, 10, Rest::NONE);
        slots.begin(batch.iter(), 7);
        slots.note(1, &key(1), 30, 1);
        // On their way: a query that sees the transaction finds the later use only.
        assert_eq!(unseen(1, 7, 6), (3, Some(30)));
        assert_eq!(unseen(1, 7, 7), (1, Some(30)));
        assert_eq!(unseen(2, 7, 7), (0, None));
        slots.settle(batch.iter(), Some(Rest::NONE));
        assert_eq!(unseen(1, 0, 6), (3, Some(30)));
        assert_eq!(unseen(1, 0, 7), (1, Some(30)));
        assert_eq!(unseen(2, 0, 6), (3, Some(10)));
        assert_eq!(unseen(2, 0, 7), (0, None));
        // Another key takes every slot: the number stays.
        for number in 10..30 {
            slots.note(1, &key(number), 40, 1);
        }
        assert_eq!(unseen(2, 0, 6), (3, None));
        assert_eq!(unseen(2, 0, 7), (0, None));
    }

    #[test]
    fn no_key_rests_where_half_of_the_slots_are_taken() {
        let header = Header::default();
        let slots: Vec<_> = (0..4).map(|_| Slot::default()).collect();
        let ledger = Ledger { header: &header, slots: Slots(&slots), refusals: Slots(&[]) };
        let minute = Duration::from_secs(60);
        ledger.note(1, &[1; 16], 1, None);
        let rest = ledger.rest(1_000_000, minute);
        let (batch, _) = ledger.slots.collect(1, 0, 10, rest);
        ledger.begin(batch.iter(), 7);
        ledger.end(batch.iter(), rest);
        let due = |seconds: i64| {
            let rest = ledger.rest(seconds * 1_000_000, minute);
            ledger.slots.collect(1, 0, 10, rest).0.len()
        };
        ledger.note(1, &[1; 16], 2, None);
        assert_eq!((due(2), due(61)), (0, 1));
        ledger.note(1, &[2; 16], 2, None);
        assert_eq!(due(2), 2);
    }
}
