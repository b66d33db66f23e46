//! The ledger: counters in memory that processes share, and the usage slots.
//!
//! Everything is an atomic number, initially 0. Counters are only added to. Every other number has
//! one writer at a time, which its field names. Each database has a [`Tally`], which is found by
//! its OID.

use std::time::Duration;

use crate::answer::status::Status;
use crate::instant::Micros;
use crate::limits::id::SharedHashKey;
use crate::limits::restart::Buckets;
use crate::spin::SpinLock;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{
    AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, fence, yield_now,
};
use crate::usage::claim;
use crate::usage::file::{Counters, UsageSnapshot};
use crate::usage::slots::{Noted, Pending, Slots, Unseen};
use crate::usage::written::Rest;

/// The number of tallies. Uses are also noted in databases without one.
const DATABASES: usize = 256;
/// How many bytes of an error's message are kept.
const MESSAGE: usize = 240;

/// The fixed part of the shared memory.
#[derive(Default)]
#[repr(C)]
pub struct Header {
    /// Approximately how many slots hold uses.
    pub occupied: AtomicUsize,
    /// Approximately how many slots hold refusals.
    pub refused: AtomicUsize,
    /// The pid of the launcher, 0 if there is none. The launcher writes it.
    pub launcher: AtomicI32,
    /// When the launcher last looked for pending uses ([`Micros`]). The launcher writes it.
    pub looked_at: AtomicI64,
    /// Whether an early flush has been requested and has not begun.
    pub wanted: AtomicBool,
    /// The pid of the process that flushes or settles uses, 0 if there is none: see
    /// [`crate::usage::claim`].
    pub flusher: AtomicI32,
    /// The transaction that has written uses to the table; the flusher settles them next. 0 if
    /// there is none. The flusher writes it.
    pub open: AtomicU64,
    /// How many flushes have ended without an error. The flusher writes it.
    pub flushes: AtomicU64,
    /// The key of the hashes that name buckets. The postmaster sets it at the start.
    pub hash_key: SharedHashKey,
    /// Held while assigning a tally to a database or freeing one.
    tallies_lock: SpinLock,
    tallies: Tallies,
}

struct Tallies([Tally; DATABASES]);

impl Default for Tallies {
    fn default() -> Self {
        Tallies(core::array::from_fn(|_| Tally::default()))
    }
}

/// The counters of one database.
#[derive(Default)]
pub struct Tally {
    /// The database's OID; 0 if the tally is free.
    pub database: AtomicU32,
    /// When counting began ([`Micros`]).
    pub since: AtomicI64,
    /// The number of answers of each status, in the order of [`Status::ALL`].
    pub answers: [AtomicU64; Status::COUNT],
    /// The number of uses that were written to the table.
    pub flushed: AtomicU64,
    /// The number of uses that were dropped because all slots were full.
    pub dropped: AtomicU64,
    /// How many of them had been dropped when the server started.
    pub dropped_before: AtomicU64,
    /// The number of limits that a call passed uncounted because there was no room for a bucket.
    pub limits_unenforced: AtomicU64,
    /// How many of them there had been when the server started.
    pub limits_unenforced_before: AtomicU64,
    /// When the last flush ended ([`Micros`]); 0 if there was none. The flushing process writes it.
    pub flushed_at: AtomicI64,
    /// The hour in which the history was last tidied up ([`Micros`]), and the minutes that it was
    /// to be kept. The flushing process writes it.
    pub tidied: AtomicI64,
    /// How long the last flush took, in microseconds. The flushing process writes it.
    pub flush_micros: AtomicI64,
    /// The part that the next flush begins with, by its number. The flushing process writes it.
    pub first_part: AtomicUsize,
    /// The last flush that failed.
    pub failure: Failure,
}

/// When the last failed flush failed, and why. One process at a time writes it. A reader that a
/// writer has overtaken reads again.
pub struct Failure {
    /// Odd while a process writes.
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
    /// Stores an instant and the beginning of a message.
    pub fn record(&self, at: Micros, message: &[u8]) {
        let version = self.version.load(Relaxed) | 1;
        self.version.store(version, Relaxed);
        fence(Release);
        self.at.store(at, Relaxed);
        let padded = message.iter().copied().chain(core::iter::repeat(0));
        self.message.iter().zip(padded).for_each(|(kept, byte)| kept.store(byte, Relaxed));
        self.version.store(version.wrapping_add(1), Release);
    }

    /// The instant and the message, if there was a failure.
    pub fn read(&self) -> Option<(Micros, Vec<u8>)> {
        for _ in 0..100 {
            let before = self.version.load(Acquire);
            let at = self.at.load(Relaxed);
            let message = self.message.iter().map(|byte| byte.load(Relaxed));
            let message = message.take_while(|byte| *byte != 0).collect();
            fence(Acquire);
            if before & 1 == 0 && before == self.version.load(Relaxed) {
                return (at != 0).then_some((at, message));
            }
            yield_now();
        }
        None
    }
}

/// The header and the slots.
#[derive(Clone, Copy)]
pub struct Ledger<'memory> {
    /// The fixed part.
    pub header: &'memory Header,
    /// The pending uses.
    pub slots: Slots<'memory>,
    /// The pending refusals of keys. They are beside the uses, and so can take no slot from them.
    pub refusals: Slots<'memory>,
}

impl<'memory> Ledger<'memory> {
    /// Notes one use. Returns true if a flush should begin early and none has been requested yet.
    pub fn note(self, database: u32, key: &[u8; 16], at: Micros, tally: Option<&Tally>) -> bool {
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
        crowded && self.asks_for_flush()
    }

    /// Notes a refusal of a key that exists. Returns true if a flush should begin early and none
    /// has been requested yet. A refusal without a slot is not noted.
    pub fn note_refusal(self, database: u32, key: &[u8; 16], status: Status, at: Micros) -> bool {
        let slots = self.refusals.0.len();
        let crowded = match self.refusals.count(database, key, status, at, 1) {
            Noted::Added => false,
            Noted::Claimed => self.header.refused.fetch_add(1, Relaxed) >= slots / 2,
            Noted::Full => true,
        };
        crowded && self.asks_for_flush()
    }

    fn asks_for_flush(self) -> bool {
        !self.header.wanted.load(Relaxed) && !self.header.wanted.swap(true, Relaxed)
    }

    /// Whether half of the slots hold uses.
    pub fn crowded(self) -> bool {
        self.header.occupied.load(Relaxed) >= self.slots.0.len() / 2
    }

    /// The tally of a database. A database without one is assigned a free one; None if none is
    /// free.
    pub fn tally(self, database: u32, now: Micros) -> Option<&'memory Tally> {
        self.tally_number(database, now).and_then(|number| self.tally_at(number))
    }

    /// The number of that tally, which does not change as long as the database exists.
    pub fn tally_number(self, database: u32, now: Micros) -> Option<usize> {
        self.header.tallies_lock.with(|| {
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

    /// The tallies that are assigned to databases.
    pub fn tallies(self) -> impl Iterator<Item = &'memory Tally> {
        let tallies = self.header.tallies.0.iter();
        tallies.filter(|tally| tally.database.load(Relaxed) != 0)
    }

    /// Frees the tally of a database that was dropped.
    pub fn close(self, database: u32) {
        self.header.tallies_lock.with(|| {
            for tally in self.tallies() {
                if tally.database.load(Relaxed) == database {
                    tally.clear();
                }
            }
        });
    }

    /// Which keys rest in a flush that begins now. None does where half of the slots are taken.
    pub fn rest(self, now: Micros, interval: Duration) -> Rest {
        Rest::before(now, if self.crowded() { Duration::ZERO } else { interval })
    }

    /// The same for refusals.
    pub fn rest_of_refusals(self, now: Micros, interval: Duration) -> Rest {
        let crowded = self.header.refused.load(Relaxed) >= self.refusals.0.len() / 2;
        Rest::before(now, if crowded { Duration::ZERO } else { interval })
    }

    /// The databases that have pending uses or refusals of keys that do not rest, in order.
    pub fn databases(self, now: Micros, interval: Duration) -> Vec<u32> {
        let mut found = self.slots.databases(self.rest(now, interval));
        found.extend(self.refusals.databases(self.rest_of_refusals(now, interval)));
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Records that a transaction, of this number, is about to commit uses.
    pub fn begin<'a>(self, collected: impl Iterator<Item = &'a Pending>, transaction: u64) {
        self.header.open.store(transaction, Release);
        self.slots.begin(collected, transaction);
    }

    /// Subtracts uses that a transaction has committed, as [`Ledger::begin`] has recorded. They
    /// were collected with `rest`.
    pub fn end<'a>(self, collected: impl Iterator<Item = &'a Pending>, rest: Rest) {
        let emptied = self.slots.settle(collected, Some(rest));
        self.header.occupied.fetch_sub(emptied, Relaxed);
        self.header.open.store(0, Release);
    }

    /// Subtracts uses that another server has written to the table, or whose key no longer exists.
    pub fn settle<'a>(self, collected: impl Iterator<Item = &'a Pending>) {
        let emptied = self.slots.settle(collected, None);
        self.header.occupied.fetch_sub(emptied, Relaxed);
    }

    /// Subtracts refusals: those that were written, after which their keys rest, and others, which
    /// are forgotten. No list shows them, so nothing has to be recorded before the commit.
    pub fn settle_refusals<'a>(
        self,
        collected: impl Iterator<Item = &'a Pending> + Clone,
        flush: Option<Rest>,
    ) {
        if flush.is_some() {
            self.refusals.begin(collected.clone(), 1);
        }
        let emptied = self.refusals.settle(collected, flush);
        self.header.refused.fetch_sub(emptied, Relaxed);
    }

    /// The uses of a key that a query does not see in the table. `shows` says whether the query's
    /// snapshot shows what a transaction did that has committed.
    ///
    /// With what the query sees there, the sum is right at any time, although its snapshot is older
    /// than the look at the memory. A flush records in each slot what it is about to commit, and by
    /// which transaction. The record stays when the uses have left the slot. So the snapshot
    /// decides whether they count as pending, and the instants between commit and settling do not
    /// matter.
    ///
    /// A snapshot may be older than two flushes from a slot, whose record is of the last one. The
    /// uses of the others are not found: the sum is then too small, and never too large.
    pub fn unseen(self, database: u32, key: &[u8; 16], shows: impl FnMut(u64) -> bool) -> Unseen {
        // Before the slots: a transaction that the snapshot shows has committed before, and is this
        // one, or its uses have left the slots. A flusher that fails leaves its transaction here,
        // and ends before the transaction does.
        let open = claim::number_of(&self.header.flusher, &self.header.open);
        self.slots.unseen(database, key, open, shows)
    }

    /// What survives a restart, but for the buckets. Call it when no other process uses the ledger.
    /// None if a process died in the middle of a change.
    pub fn export(self) -> Option<UsageSnapshot> {
        let mut uses = self.slots.all()?;
        uses.extend(self.refusals.all()?);
        let counters = self.tallies().map(|tally| Counters {
            database: tally.database.load(Relaxed),
            since: tally.since.load(Relaxed),
            answers: core::array::from_fn(|at| tally.answers[at].load(Relaxed)),
            flushed: tally.flushed.load(Relaxed),
            dropped: tally.dropped.load(Relaxed),
            limits_unenforced: tally.limits_unenforced.load(Relaxed),
            flushed_at: tally.flushed_at.load(Relaxed),
            flush_micros: tally.flush_micros.load(Relaxed),
        });
        Some(UsageSnapshot { counters: counters.collect(), uses, buckets: Buckets::default() })
    }

    /// Loads what was exported. Uses without a slot, if there are fewer slots now, count as
    /// dropped.
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
            let unenforced = counters.limits_unenforced;
            tally.limits_unenforced.store(unenforced, Relaxed);
            tally.limits_unenforced_before.store(unenforced, Relaxed);
            tally.flushed_at.store(counters.flushed_at, Relaxed);
            tally.flush_micros.store(counters.flush_micros, Relaxed);
        }
        for pending in &snapshot.uses {
            let Pending { database, ref key, status, last_used_at, uses, .. } = *pending;
            if status != Status::Valid {
                if self.refusals.count(database, key, status, last_used_at, uses) == Noted::Claimed
                {
                    self.header.refused.fetch_add(1, Relaxed);
                }
                continue;
            }
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
        let uses = [&self.flushed, &self.dropped, &self.dropped_before];
        let limits = [&self.limits_unenforced, &self.limits_unenforced_before];
        for counter in self.answers.iter().chain(uses).chain(limits) {
            counter.store(0, Relaxed);
        }
        self.flushed_at.store(0, Relaxed);
        self.tidied.store(0, Relaxed);
        self.first_part.store(0, Relaxed);
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
    fn a_database_keeps_its_tally_until_it_is_closed() {
        let header = Header::default();
        let ledger = Ledger { header: &header, slots: Slots(&[]), refusals: Slots(&[]) };
        let tally = ledger.tally(7, 1).expect("a tally");
        tally.flushed.store(3, Relaxed);
        tally.failure.record(5, b"out of order");
        assert!(std::ptr::eq(tally, ledger.tally(7, 2).expect("the same tally")));
        assert_eq!(tally.since.load(Relaxed), 1);
        assert_eq!(tally.failure.read(), Some((5, b"out of order".to_vec())));
        ledger.close(7);
        assert_eq!(ledger.tallies().count(), 0);
        let next = ledger.tally(8, 3).expect("a free tally");
        assert_eq!((next.flushed.load(Relaxed), next.failure.read()), (0, None));
    }

    #[test]
    fn no_tally_is_free_when_all_are_assigned() {
        let header = Header::default();
        let ledger = Ledger { header: &header, slots: Slots(&[]), refusals: Slots(&[]) };
        for database in 1..=DATABASES as u32 {
            assert!(ledger.tally(database, 1).is_some());
        }
        assert!(ledger.tally(9999, 1).is_none());
    }

    #[test]
    fn a_flush_is_requested_once_and_drops_are_counted() {
        let header = Header::default();
        let slots: Vec<_> = (0..4).map(|_| Slot::default()).collect();
        let ledger = Ledger { header: &header, slots: Slots(&slots), refusals: Slots(&[]) };
        let tally = ledger.tally(1, 1).expect("a tally");
        let asked: Vec<_> =
            (0u8..6).map(|key| ledger.note(1, &[key; 16], 1, Some(tally))).collect();
        assert_eq!(asked, [false, false, true, false, false, false]);
        assert!(ledger.crowded());
        assert_eq!(tally.dropped.load(Relaxed), 2);
        let (batch, _) = ledger.slots.collect(1, 0, 10, Rest::NONE);
        ledger.settle(batch.iter());
        assert_eq!((header.occupied.load(Relaxed), ledger.crowded()), (0, false));
    }

    #[test]
    fn a_failed_flush_is_no_flush_and_lists_find_its_uses() {
        let header = Header::default();
        let slots: Vec<_> = (0..4).map(|_| Slot::default()).collect();
        let ledger = Ledger { header: &header, slots: Slots(&slots), refusals: Slots(&[]) };
        ledger.note(1, &[1; 16], 1, None);
        let (batch, _) = ledger.slots.collect(1, 0, 10, Rest::NONE);
        header.flusher.store(4711, Relaxed);
        ledger.begin(batch.iter(), 7);
        assert_eq!(ledger.unseen(1, &[1; 16], |_| true).uses, 0, "it has committed");
        header.flusher.store(0, Relaxed);
        assert_eq!(ledger.unseen(1, &[1; 16], |_| true).uses, 1);
        let rest = ledger.rest(1_000_000, Duration::from_secs(60));
        assert_eq!(ledger.slots.collect(1, 0, 10, rest).0.len(), 1);
    }

    #[test]
    fn a_ledger_continues_from_an_export() {
        let (header, next) = (Header::default(), Header::default());
        let slots: Vec<_> = (0..8).map(|_| Slot::default()).collect();
        let fewer: Vec<_> = (0..2).map(|_| Slot::default()).collect();
        let ledger = Ledger { header: &header, slots: Slots(&slots), refusals: Slots(&[]) };
        let tally = ledger.tally(1, 9).expect("a tally");
        (0u8..4).for_each(|key| _ = ledger.note(1, &[key; 16], 5, Some(tally)));
        tally.answers[0].store(4, Relaxed);
        tally.limits_unenforced.store(3, Relaxed);
        let snapshot = ledger.export().expect("no slot is locked");

        let ledger = Ledger { header: &next, slots: Slots(&fewer), refusals: Slots(&[]) };
        ledger.import(&snapshot);
        let tally = ledger.tally(1, 10).expect("the same tally");
        let counters = [&tally.answers[0], &tally.dropped].map(|counter| counter.load(Relaxed));
        assert_eq!((tally.since.load(Relaxed), counters), (9, [4, 2]));
        let unenforced = [&tally.limits_unenforced, &tally.limits_unenforced_before];
        assert_eq!(unenforced.map(|counter| counter.load(Relaxed)), [3, 3]);
        assert_eq!((ledger.slots.pending(1), next.occupied.load(Relaxed)), (2, 2));
        // Uses that were dropped during the import count as dropped since the start; at the next
        // start they do not.
        assert_eq!(tally.dropped_before.load(Relaxed), 0);
        let snapshot = ledger.export().expect("no slot is locked");
        let again = Header::default();
        let ledger = Ledger { header: &again, slots: Slots(&slots), refusals: Slots(&[]) };
        ledger.import(&snapshot);
        let tally = ledger.tally(1, 10).expect("the same tally");
        assert_eq!(tally.dropped_before.load(Relaxed), 2);
        tally.clear();
        let cleared =
            [&tally.dropped_before, &tally.limits_unenforced, &tally.limits_unenforced_before];
        assert_eq!(cleared.map(|counter| counter.load(Relaxed)), [0; 3]);
    }
}
