//! A few quotas in memory that processes share. See [`crate::limits::quota_sets`].

use crate::instant::Micros;
use crate::limits::applicable::Holder;
use crate::limits::bucket_set::{BucketId, from_home};
use crate::limits::name::{MAX_NAME, Name};
use crate::limits::pending_charge::{KeyMissed, PendingCharge};
use crate::limits::quota_decision::{CountedQuota, Counts};
use crate::limits::quota_period::Span;
use crate::sync::Ordering::{Relaxed, Release};
use crate::sync::{AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64};

/// How many quotas a set has room for: with the number, their tags fill a cache line.
#[cfg(not(all(loom, test)))]
pub const SLOTS: usize = 15;
/// One, so that two quotas compete for it.
#[cfg(all(loom, test))]
pub const SLOTS: usize = 1;

/// Some slots. The lock of the set of buckets beside it guards them. All zeroes are an empty set.
#[repr(C, align(64))]
#[derive(Default)]
pub struct QuotaSet {
    /// Changes whenever the table has another number. Only its changes are under the lock.
    pub(super) number: AtomicU32,
    /// A part of each slot's id; 0 is a free slot.
    pub(super) tags: [AtomicU32; SLOTS],
    pub(super) slots: [Slot; SLOTS],
}

#[cfg(not(all(loom, test)))]
const _: () = assert!(size_of::<QuotaSet>() == 31 * 64);

/// A quota of a holder in one period.
#[derive(Default)]
#[repr(C)]
pub(super) struct Slot {
    id: [AtomicU64; 2],
    key: [AtomicU64; 2],
    meter: [AtomicU64; MAX_NAME / 8],
    period_start: AtomicI64,
    pub(super) base: AtomicI64,
    pub(super) pending: AtomicI64,
    /// How much more was used, and is being handed over: see [`crate::limits::quota_handover`].
    pub(super) handed: AtomicI64,
    /// How much of both counts in the history of charges: see [`QuotaSets::charge`].
    ///
    /// [`QuotaSets::charge`]: crate::limits::quota_sets::QuotaSets::charge
    pub(super) charged: AtomicI64,
    /// From which use on the flusher warns; 0 is never.
    pub(super) warn_from: AtomicI64,
    /// When the base was read, in seconds; 0 if it is to be read again.
    pub(super) base_at: AtomicU32,
    pub(super) database: AtomicU32,
    /// When the period ends, in [`whole_seconds`].
    period_end: AtomicU32,
    /// The kind of the holder, and the length of the period in the lower four bits.
    kind: AtomicU8,
    /// Whether a flush is adding it to the table: 1 or 0.
    flushing: AtomicU8,
    /// Since when flushes do not find the key, as [`KeyMissed`]. A slot is two cache lines.
    key_missed: AtomicU16,
}

/// How old a base may be, in seconds. Only other servers and people change the table otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxAge {
    /// Where nothing is pending.
    pub idle: u32,
    /// Where something is: [`u32::MAX`] where a flush reads the base anyway.
    pub pending: u32,
}

/// How the bases of a call's quotas are read.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// The database, by OID.
    pub database: u32,
    /// The time of a clock that never goes back, in seconds.
    pub now: u32,
    /// How old they may be.
    pub max_age: MaxAge,
    /// On a server that does not flush, a quota without a slot may take that of a period that ended
    /// before this instant. [`Micros::MIN`] on others.
    pub over: Micros,
}

/// Whether a base was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It was.
    Yes,
    /// The table may have more by now: read it again.
    Outdated,
    /// A flush is adding something to the table: read it again.
    BeingFlushed,
    /// All slots have something that the table does not have.
    NoRoom,
}

impl QuotaSet {
    /// The place where the slot of a quota is likely to be: any, if it has none. A look without the
    /// lock, after which the processor has the slot's numbers too.
    pub(super) fn likely(&self, id: BucketId) -> u8 {
        let Some(at) = from_home(id, SLOTS).find(|at| self.at(*at, id).is_some()) else { return 0 };
        self.slots[at].base.load(Relaxed);
        at.try_into().unwrap_or(0)
    }

    /// The slot of a quota, with a look at a place first. The caller holds the lock.
    pub(super) fn slot(&self, id: BucketId, likely: u8) -> Option<&Slot> {
        let found = self.at(likely.into(), id);
        found.or_else(|| from_home(id, SLOTS).find_map(|at| self.at(at, id)))
    }

    fn at(&self, at: usize, id: BucketId) -> Option<&Slot> {
        let has_tag = self.tags.get(at).is_some_and(|it| it.load(Relaxed) == tag(id));
        self.slots.get(at).filter(|slot| has_tag && slot.id() == id)
    }

    /// Whether any slot is in use. A look without the lock.
    pub(super) fn is_used(&self) -> bool {
        self.tags.iter().any(|tag| tag.load(Relaxed) != 0)
    }

    /// The slots in use, by their places.
    pub(super) fn used(&self) -> impl Iterator<Item = (usize, &Slot)> {
        let all = self.tags.iter().zip(&self.slots).enumerate();
        all.filter(|(_, (tag, _))| tag.load(Relaxed) != 0).map(|(at, (_, slot))| (at, slot))
    }

    /// Stores a base, if the table has not more by now. The caller holds the lock.
    pub(super) fn store_base(
        &self,
        counted: &CountedQuota,
        base: i64,
        number: u32,
        reading: Reading,
    ) -> Stored {
        let Reading { database, now, over, .. } = reading;
        let found = self.slot(counted.id, counted.likely);
        if found.is_some_and(Slot::is_being_flushed) {
            return Stored::BeingFlushed;
        }
        if self.number.load(Relaxed) != number {
            return Stored::Outdated;
        }
        let slot = match found {
            Some(slot) => slot,
            None => match self.claim(database, counted.id, &counted.counts, over) {
                Some(slot) => slot,
                None => return Stored::NoRoom,
            },
        };
        slot.base.store(base, Relaxed);
        slot.base_at.store(now.max(1), Relaxed);
        slot.period_end.store(whole_seconds(counted.period_end), Relaxed);
        Stored::Yes
    }

    /// Takes a slot that is free, or whose quota the table has, or whose period was over.
    fn claim(&self, database: u32, id: BucketId, counts: &Counts, over: Micros) -> Option<&Slot> {
        let unused = from_home(id, SLOTS).find(|at| self.tags[*at].load(Relaxed) == 0);
        let at = match unused {
            Some(at) => at,
            None => {
                let idle = self.slots.iter().position(Slot::is_idle);
                let at = idle.or_else(|| self.slots.iter().position(|slot| slot.is_over(over)))?;
                self.free(at);
                at
            }
        };
        let slot = &self.slots[at];
        slot.id[0].store(id.holder, Relaxed);
        slot.id[1].store(id.policy, Relaxed);
        set_words(&slot.meter, &counts.meter.padded());
        slot.period_start.store(counts.period_start, Relaxed);
        let numbers = [&slot.base, &slot.pending, &slot.handed, &slot.charged, &slot.warn_from];
        numbers.iter().for_each(|number| number.store(0, Relaxed));
        slot.flushing.store(0, Relaxed);
        slot.base_at.store(0, Relaxed);
        slot.database.store(database, Relaxed);
        slot.kind.store((counts.holder as u8) << 4 | counts.span as u8, Relaxed);
        self.tags[at].store(tag(id), Relaxed);
        Some(slot)
    }

    /// The slot of a quota. If it has none, takes one; None if all are in use. The charge says
    /// what it counts. The caller holds the lock.
    pub(super) fn slot_for(&self, id: BucketId, charge: &PendingCharge) -> Option<&Slot> {
        self.slot(id, 0).or_else(|| {
            let slot = self.claim(charge.database, id, &charge.counts, Micros::MIN)?;
            slot.set_key(&charge.key);
            slot.base.store(charge.base, Relaxed);
            slot.period_end.store(whole_seconds(Micros::MAX), Relaxed);
            Some(slot)
        })
    }

    /// Loads what was exported. Returns false if there is no slot. The caller holds the lock.
    pub(super) fn import(&self, charge: &PendingCharge) -> bool {
        let Some(slot) = self.claim(charge.database, charge.id, &charge.counts, Micros::MIN) else {
            return false;
        };
        slot.set_key(&charge.key);
        slot.base.store(charge.base, Relaxed);
        slot.pending.store(charge.amount, Relaxed);
        slot.charged.store(charge.charged, Relaxed);
        slot.period_end.store(u32::MAX, Relaxed);
        slot.warn_from.store(charge.warn_from, Relaxed);
        true
    }

    /// Frees a slot. The caller holds the lock.
    pub(super) fn free(&self, at: usize) {
        self.tags[at].store(0, Relaxed);
    }

    /// Takes what was flushed or forgotten out of a slot. The caller holds the lock.
    pub(super) fn take(&self, slot: &Slot, charge: &PendingCharge) {
        add(&slot.pending, charge.amount.saturating_neg());
        add(&slot.charged, charge.charged.saturating_neg());
        slot.mark(false);
        self.renumber();
    }

    /// Has bases that were read from the table up to now not be stored. The caller holds the lock.
    pub(super) fn renumber(&self) {
        self.number.store(self.number.load(Relaxed).wrapping_add(1), Release);
    }
}

impl Slot {
    /// Which quota it has.
    pub(super) fn id(&self) -> BucketId {
        let [holder, policy] = [0, 1].map(|half| self.id[half].load(Relaxed));
        BucketId { holder, policy }
    }

    /// Notes a key that charges the quota. The one that is there stays while something is pending:
    /// a later one may be of a transaction that is rolled back. One that a flush did not find goes.
    pub(super) fn note_key(&self, key: &[u8; 16]) {
        if !self.is_pending() || self.key_missed() != KeyMissed::NEVER {
            self.set_key(key);
        }
    }

    fn set_key(&self, key: &[u8; 16]) {
        set_words(&self.key, key);
        self.key_missed.store(KeyMissed::NEVER.0, Relaxed);
    }

    fn key_missed(&self) -> KeyMissed {
        KeyMissed(self.key_missed.load(Relaxed))
    }

    /// Has the next charge bring another key, if this is the one that a flush did not find.
    pub(super) fn miss_key(&self, key: &[u8; 16], now: u32) {
        let mut own = [0; 16];
        words(&self.key, &mut own);
        if own == *key && self.key_missed() == KeyMissed::NEVER {
            self.key_missed.store(KeyMissed::at(now).0, Relaxed);
        }
    }

    /// Marks it as being flushed, or not.
    pub(super) fn mark(&self, is_being_flushed: bool) {
        self.flushing.store(is_being_flushed.into(), Relaxed);
    }

    /// Whether the tables do not have all of it.
    pub(super) fn is_pending(&self) -> bool {
        [&self.pending, &self.handed, &self.charged].iter().any(|it| it.load(Relaxed) != 0)
    }

    pub(super) fn is_being_flushed(&self) -> bool {
        self.flushing.load(Relaxed) != 0
    }

    /// Whether its period was over at an instant, and nothing is adding it to the table.
    fn is_over(&self, instant: Micros) -> bool {
        let (end, handed) = (self.period_end.load(Relaxed), self.handed.load(Relaxed));
        let ended = end < u32::MAX && i64::from(end) <= instant.div_euclid(SECOND);
        ended && handed == 0 && !self.is_being_flushed()
    }

    /// Whether the table has all of it.
    fn is_idle(&self) -> bool {
        !self.is_pending() && !self.is_being_flushed()
    }

    /// Whether the base is as young as it has to be.
    pub(super) fn is_fresh(&self, now: u32, max_age: MaxAge) -> bool {
        let max = if self.is_idle() { max_age.idle } else { max_age.pending };
        let base_at = self.base_at.load(Relaxed);
        base_at != 0 && now.saturating_sub(base_at) <= max
    }

    /// What is pending, at its place. None where it is not what this library writes.
    pub(super) fn charge(&self, at: (usize, usize)) -> Option<PendingCharge> {
        let mut padded = [0; MAX_NAME];
        words(&self.meter, &mut padded);
        let mut key = [0; 16];
        words(&self.key, &mut key);
        let kind = self.kind.load(Relaxed);
        let counts = Counts {
            holder: Holder::from_number(kind >> 4)?,
            meter: Name::from_padded(&padded)?,
            span: Span::from_number(kind & 15)?,
            period_start: self.period_start.load(Relaxed),
        };
        Some(PendingCharge {
            at,
            id: self.id(),
            database: self.database.load(Relaxed),
            key,
            counts,
            amount: self.pending.load(Relaxed).saturating_add(self.handed.load(Relaxed)),
            charged: self.charged.load(Relaxed),
            warn_from: self.warn_from.load(Relaxed),
            base: self.base.load(Relaxed),
            base_at: self.base_at.load(Relaxed),
            key_missed: self.key_missed(),
        })
    }
}

const SECOND: Micros = 1_000_000;

/// The end of a period in whole seconds, rounded up. The largest number is `infinity`.
fn whole_seconds(instant: Micros) -> u32 {
    let seconds = instant.div_euclid(SECOND) + i64::from(instant.rem_euclid(SECOND) > 0);
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
}

/// Adds to a number that only the holder of the lock changes.
pub(super) fn add(to: &AtomicI64, amount: i64) {
    to.store(to.load(Relaxed).saturating_add(amount), Relaxed);
}

fn set_words(words: &[AtomicU64], bytes: &[u8]) {
    for (word, bytes) in words.iter().zip(bytes.as_chunks().0) {
        word.store(u64::from_ne_bytes(*bytes), Relaxed);
    }
}

fn words(words: &[AtomicU64], bytes: &mut [u8]) {
    for (word, bytes) in words.iter().zip(bytes.as_chunks_mut().0) {
        *bytes = word.load(Relaxed).to_ne_bytes();
    }
}

/// The part of an id that stands for it in the first cache line of a set. Never 0.
#[expect(clippy::cast_possible_truncation, reason = "a part of it")]
const fn tag(id: BucketId) -> u32 {
    id.policy as u32 | 1
}
