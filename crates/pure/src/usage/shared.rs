//! What the library counts in memory that processes share, beside the uses themselves.
//!
//! Everything is an atomic number, all zeroes at first. Counters are only added to; the rest has one
//! writer at a time, named at each field. A database has a [`Tally`] of its own, found by its OID.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize,
};

use crate::answer::status::Status;
use crate::usage::file::{Counters, UsageSnapshot};
use crate::usage::slots::{Noted, Pending, Slots};
use crate::usage::spin::SpinLock;

/// For how many databases there are counters. Uses are noted in others as well.
const DATABASES: usize = 256;
/// How much of an error's message is kept.
const MESSAGE: usize = 240;

/// The fixed part of the shared memory.
#[derive(Default)]
#[repr(C)]
pub struct Header {
    /// How many slots hold uses; near enough.
    pub occupied: AtomicUsize,
    /// The process that starts flushes, 0 where there is none: its own to write.
    pub launcher: AtomicI32,
    /// When it last looked for something to flush, in microseconds since 2000: its own to write.
    pub looked_at: AtomicI64,
    /// Whether an early flush was asked for and has not begun.
    pub wanted: AtomicBool,
    /// The process that is flushing, 0 where there is none.
    pub flusher: AtomicI32,
    /// Held by who gives a tally to a database or takes it away.
    tallies_word: SpinLock,
    tallies: Tallies,
}

struct Tallies([Tally; DATABASES]);

impl Default for Tallies {
    fn default() -> Self {
        Tallies(core::array::from_fn(|_| Tally::default()))
    }
}

/// What is counted for one database.
#[derive(Default)]
pub struct Tally {
    /// The database, by OID; 0 where the tally is free.
    pub database: AtomicU32,
    /// Since when it is counted, in microseconds since 2000.
    pub since: AtomicI64,
    /// Answers, by status.
    pub answers: [AtomicU64; Status::COUNT],
    /// Uses that came to the table.
    pub flushed: AtomicU64,
    /// Uses for which there was no slot.
    pub dropped: AtomicU64,
    /// How many of them were so before the server started.
    pub dropped_before: AtomicU64,
    /// When the last flush ended, and how many microseconds it took: the flushing process's to write.
    pub flushed_at: AtomicI64,
    pub flush_micros: AtomicI64,
    /// The last flush that failed.
    pub failure: Failure,
}

/// When a flush failed and why. Written by one process at a time; a reader looks again where a writer
/// came in between.
pub struct Failure {
    version: AtomicU32,
    at: AtomicI64,
    message: [AtomicU8; MESSAGE],
}

impl Default for Failure {
    fn default() -> Self {
        Failure {
            version: AtomicU32::new(0),
            at: AtomicI64::new(0),
            message: core::array::from_fn(|_| AtomicU8::new(0)),
        }
    }
}

impl Failure {
    /// Keeps an instant and the beginning of a message.
    pub fn record(&self, at: i64, message: &[u8]) {
        let version = self.version.load(Relaxed) | 1;
        self.version.store(version, Relaxed);
        core::sync::atomic::fence(Release);
        self.at.store(at, Relaxed);
        let padded = message.iter().copied().chain(core::iter::repeat(0));
        self.message.iter().zip(padded).for_each(|(snapshot, byte)| snapshot.store(byte, Relaxed));
        self.version.store(version.wrapping_add(1), Release);
    }

    /// The instant and the message, if there was a failure.
    pub fn read(&self) -> Option<(i64, Vec<u8>)> {
        for _ in 0..100 {
            let before = self.version.load(Acquire);
            let at = self.at.load(Relaxed);
            let message = self.message.iter().map(|byte| byte.load(Relaxed));
            let message = message.take_while(|byte| *byte != 0).collect();
            core::sync::atomic::fence(Acquire);
            if before & 1 == 0 && before == self.version.load(Relaxed) {
                return (at != 0).then_some((at, message));
            }
            std::thread::yield_now();
        }
        None
    }
}

/// Header and slots.
#[derive(Clone, Copy)]
pub struct Ledger<'memory> {
    /// The fixed part.
    pub header: &'memory Header,
    /// The uses.
    pub slots: Slots<'memory>,
}

impl<'memory> Ledger<'memory> {
    /// Notes one use. True when a flush should begin early, and nobody has asked for it yet.
    pub fn note(self, database: u32, key: &[u8; 16], at: i64, tally: Option<&Tally>) -> bool {
        let slots = self.slots.0.len();
        let crowded = match self.slots.note(database, key, at, 1) {
            Noted::Added => false,
            Noted::Claimed => self.header.occupied.fetch_add(1, Relaxed) >= slots / 2,
            Noted::Full => {
                if let Some(tally) = tally {
                    tally.dropped.fetch_add(1, Relaxed);
                }
                true
            }
        };
        crowded && !self.header.wanted.load(Relaxed) && !self.header.wanted.swap(true, Relaxed)
    }

    /// Whether half of the slots hold uses.
    pub fn crowded(self) -> bool {
        self.header.occupied.load(Relaxed) >= self.slots.0.len() / 2
    }

    /// The tally of a database, given to it where it has none; None where all are given.
    pub fn tally(self, database: u32, now: i64) -> Option<&'memory Tally> {
        self.tally_number(database, now).and_then(|number| self.tally_at(number))
    }

    /// The same by its number, which it keeps as long as the database exists.
    pub fn tally_number(self, database: u32, now: i64) -> Option<usize> {
        self.header.tallies_word.with(|| {
            let tallies = &self.header.tallies.0;
            let of = |wanted: u32| {
                tallies.iter().position(|tally| tally.database.load(Relaxed) == wanted)
            };
            of(database).or_else(|| {
                let free = of(0)?;
                tallies[free].since.store(now, Relaxed);
                tallies[free].database.store(database, Relaxed);
                Some(free)
            })
        })
    }

    /// A tally by its number.
    pub fn tally_at(self, number: usize) -> Option<&'memory Tally> {
        self.header.tallies.0.get(number)
    }

    /// All tallies that are given.
    pub fn tallies(self) -> impl Iterator<Item = &'memory Tally> {
        let tallies = self.header.tallies.0.iter();
        tallies.filter(|tally| tally.database.load(Relaxed) != 0)
    }

    /// Takes the tally of a database that is gone away.
    pub fn close(self, database: u32) {
        self.header.tallies_word.with(|| {
            for tally in self.tallies() {
                if tally.database.load(Relaxed) == database {
                    tally.clear();
                }
            }
        });
    }

    /// Takes uses away that came to the table, or that belong to nothing any more.
    pub fn settle<'a>(self, collected: impl Iterator<Item = &'a Pending>) {
        let emptied = self.slots.settle(collected);
        self.header.occupied.fetch_sub(emptied, Relaxed);
    }

    /// What is to outlive a restart, when nobody else is at it any more. None where somebody has died in
    /// the middle of a change.
    pub fn export(self) -> Option<UsageSnapshot> {
        let uses = self.slots.all()?;
        let counters = self.tallies().map(|tally| Counters {
            database: tally.database.load(Relaxed),
            since: tally.since.load(Relaxed),
            answers: core::array::from_fn(|at| tally.answers[at].load(Relaxed)),
            flushed: tally.flushed.load(Relaxed),
            dropped: tally.dropped.load(Relaxed),
            flushed_at: tally.flushed_at.load(Relaxed),
            flush_micros: tally.flush_micros.load(Relaxed),
        });
        Some(UsageSnapshot { counters: counters.collect(), uses })
    }

    /// Goes on from what was exported. What has no slot, since there are fewer now, counts as dropped.
    pub fn import(self, snapshot: &UsageSnapshot) {
        for counters in &snapshot.counters {
            let Some(tally) = self.tally(counters.database, counters.since) else { continue };
            tally
                .answers
                .iter()
                .zip(counters.answers)
                .for_each(|(to, from)| to.store(from, Relaxed));
            tally.flushed.store(counters.flushed, Relaxed);
            tally.dropped.store(counters.dropped, Relaxed);
            tally.dropped_before.store(counters.dropped, Relaxed);
            tally.flushed_at.store(counters.flushed_at, Relaxed);
            tally.flush_micros.store(counters.flush_micros, Relaxed);
        }
        for pending in &snapshot.uses {
            let Pending { database, ref key, last_used_at, uses, .. } = *pending;
            match self.slots.note(database, key, last_used_at, uses) {
                Noted::Added => {}
                Noted::Claimed => {
                    self.header.occupied.fetch_add(1, Relaxed);
                }
                Noted::Full => {
                    if let Some(tally) = self.tally(database, last_used_at) {
                        tally.dropped.fetch_add(uses, Relaxed);
                    }
                }
            }
        }
    }
}

impl Tally {
    fn clear(&self) {
        let others = [&self.flushed, &self.dropped, &self.dropped_before];
        for counter in self.answers.iter().chain(others) {
            counter.store(0, Relaxed);
        }
        self.flushed_at.store(0, Relaxed);
        self.flush_micros.store(0, Relaxed);
        self.failure.record(0, b"");
        self.database.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::slots::Slot;

    #[test]
    fn a_database_keeps_its_account_until_it_is_closed() {
        let header = Header::default();
        let ledger = Ledger { header: &header, slots: Slots(&[]) };
        let tally = ledger.tally(7, 1).expect("a tally");
        tally.flushed.store(3, Relaxed);
        tally.failure.record(5, b"out of order");
        assert!(std::ptr::eq(tally, ledger.tally(7, 2).expect("the same")));
        assert_eq!(tally.since.load(Relaxed), 1);
        assert_eq!(tally.failure.read(), Some((5, b"out of order".to_vec())));
        ledger.close(7);
        assert_eq!(ledger.tallies().count(), 0);
        let next = ledger.tally(8, 3).expect("a free one");
        assert_eq!((next.flushed.load(Relaxed), next.failure.read()), (0, None));
    }

    #[test]
    fn when_all_accounts_are_given_there_is_none() {
        let header = Header::default();
        let ledger = Ledger { header: &header, slots: Slots(&[]) };
        for database in 1..=DATABASES as u32 {
            assert!(ledger.tally(database, 1).is_some());
        }
        assert!(ledger.tally(9999, 1).is_none());
    }

    #[test]
    fn a_flush_is_asked_for_once_and_drops_are_counted() {
        let header = Header::default();
        let slots: Vec<_> = (0..4).map(|_| Slot::default()).collect();
        let ledger = Ledger { header: &header, slots: Slots(&slots) };
        let tally = ledger.tally(1, 1).expect("a tally");
        let asked: Vec<_> =
            (0u8..6).map(|key| ledger.note(1, &[key; 16], 1, Some(tally))).collect();
        assert_eq!(asked, [false, false, true, false, false, false]);
        assert!(ledger.crowded());
        assert_eq!(tally.dropped.load(Relaxed), 2);
        let (batch, _) = ledger.slots.collect(1, 0, 10);
        ledger.settle(batch.iter());
        assert_eq!((header.occupied.load(Relaxed), ledger.crowded()), (0, false));
    }

    #[test]
    fn a_ledger_goes_on_from_what_another_exported() {
        let (header, next) = (Header::default(), Header::default());
        let slots: Vec<_> = (0..8).map(|_| Slot::default()).collect();
        let fewer: Vec<_> = (0..2).map(|_| Slot::default()).collect();
        let ledger = Ledger { header: &header, slots: Slots(&slots) };
        let tally = ledger.tally(1, 9).expect("a tally");
        (0u8..4).for_each(|key| _ = ledger.note(1, &[key; 16], 5, Some(tally)));
        tally.answers[0].store(4, Relaxed);
        let snapshot = ledger.export().expect("nobody is at it");

        let ledger = Ledger { header: &next, slots: Slots(&fewer) };
        ledger.import(&snapshot);
        let tally = ledger.tally(1, 10).expect("the same");
        let counters = [&tally.answers[0], &tally.dropped].map(|counter| counter.load(Relaxed));
        assert_eq!((tally.since.load(Relaxed), counters), (9, [4, 2]));
        assert_eq!((ledger.slots.pending(1), next.occupied.load(Relaxed)), (2, 2));
        // Those there was no room for just now are not from before; at the next start they are.
        assert_eq!(tally.dropped_before.load(Relaxed), 0);
        let snapshot = ledger.export().expect("nobody is at it");
        let again = Header::default();
        let ledger = Ledger { header: &again, slots: Slots(&slots) };
        ledger.import(&snapshot);
        let tally = ledger.tally(1, 10).expect("the same");
        assert_eq!(tally.dropped_before.load(Relaxed), 2);
        tally.clear();
        assert_eq!(tally.dropped_before.load(Relaxed), 0);
    }
}
