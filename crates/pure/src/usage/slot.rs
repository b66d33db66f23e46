//! One of the [`crate::usage::slots`]: the answers of one status to one key in one hour.

use crate::answer::status::Status;
use crate::instant::Micros;
use crate::spin::SpinLock;
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicI64, AtomicU32, AtomicU64};
use crate::usage::history::{HOUR, hour_of};
use crate::usage::slots::Pending;
use crate::usage::written::{Copied, Written};

/// The bits of a slot's word that have the number of uses. Those above have the status.
const NUMBER: u64 = (1 << STATUS) - 1;
const STATUS: u32 = 56;

/// The uses of one key, or its refusals of one status, in a cache line. All zeroes are an empty
/// slot.
#[repr(C, align(64))]
#[derive(Default)]
pub struct Slot {
    pub(super) held: SpinLock,
    pub(super) database: AtomicU32,
    key: [AtomicU64; 2],
    last_used_at: AtomicI64,
    /// The number of uses, and above it the status. `VALID` is 0.
    counted: AtomicU64,
    /// What the last flush wrote from here, be it of this key or of one that had the slot before.
    pub(super) written: Written,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Slot>() == 64 && Status::Valid as u8 == 0);

/// Who has a slot, or asks for one.
#[derive(Clone, Copy)]
pub struct Owner {
    /// The database, by OID.
    pub database: u32,
    /// The halves of the key.
    pub key: [u64; 2],
    /// The status, where a slot has it.
    status: u64,
}

impl Owner {
    /// The owner of the slots with the answers of a status to a key.
    pub fn new(database: u32, key: &[u8; 16], status: Status) -> Owner {
        Owner { database, key: halves(key), status: u64::from(status as u8) << STATUS }
    }
}

/// The instants that may share a slot: from the first on, and so many microseconds.
#[derive(Clone, Copy)]
pub struct Hours(Micros, u64);

impl Hours {
    /// Any instants.
    pub const ALL: Hours = Hours(Micros::MIN, u64::MAX);

    /// The hour of an instant.
    pub fn of(at: Micros) -> Hours {
        Hours(hour_of(at), HOUR.unsigned_abs() - 1)
    }

    #[expect(clippy::cast_sign_loss, reason = "the distance of instants, which may be any")]
    fn has(self, instant: Micros) -> bool {
        instant.wrapping_sub(self.0) as u64 <= self.1
    }
}

/// What happened to a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It was added to other uses of the key.
    Added,
    /// It took an empty slot.
    Claimed,
    /// It was not noted, since there was no slot for it.
    Full,
}

impl Slot {
    /// The status, where it is, and the number of uses.
    fn counted(&self) -> (u64, u64) {
        let counted = self.counted.load(Relaxed);
        (counted & !NUMBER, counted & NUMBER)
    }

    /// The number of uses.
    pub(super) fn number(&self) -> u64 {
        self.counted().1
    }

    /// Whether the slot is empty, or holds uses of this owner in these hours.
    pub(super) fn is_for(&self, owner: Owner, hours: Hours) -> bool {
        let (status, number) = self.counted();
        number == 0
            || (self.key[1].load(Relaxed) == owner.key[1]
                && self.key[0].load(Relaxed) == owner.key[0]
                && self.database.load(Relaxed) == owner.database
                && status == owner.status
                && hours.has(self.last_used_at.load(Relaxed)))
    }

    /// The database and the key that has the slot, or had it last.
    pub(super) fn owner(&self) -> (u32, [u64; 2]) {
        let key = [&self.key[0], &self.key[1]].map(|half| half.load(Relaxed));
        (self.database.load(Relaxed), key)
    }

    /// Adds uses if the slot holds this owner's in these hours, or is empty. The caller holds its
    /// lock.
    pub(super) fn add(&self, owner: Owner, hours: Hours, at: Micros, uses: u64) -> Option<Noted> {
        if !self.is_for(owner, hours) {
            return None;
        }
        let before = self.number();
        let number = before.saturating_add(uses).min(NUMBER);
        if before > 0 {
            self.last_used_at.store(self.last_used_at.load(Relaxed).max(at), Relaxed);
            self.counted.store(owner.status | number, Relaxed);
            return Some(Noted::Added);
        }
        self.database.store(owner.database, Relaxed);
        self.key[0].store(owner.key[0], Relaxed);
        self.key[1].store(owner.key[1], Relaxed);
        self.last_used_at.store(at, Relaxed);
        self.counted.store(owner.status | number, Relaxed);
        Some(Noted::Claimed)
    }

    /// The uses that it holds of a key, the latest, and what the last flush wrote of this key. The
    /// caller holds its lock.
    pub(super) fn copy(
        &self,
        database: u32,
        key: [u64; 2],
        mark: u64,
    ) -> (u64, Option<Micros>, Option<Copied>) {
        let own = self.owner() == (database, key);
        let held = if own { self.number() } else { 0 };
        (held, own.then(|| self.last_used_at.load(Relaxed)), self.written.copy(mark))
    }

    /// Reads the slot. The caller holds its lock.
    pub(super) fn read(&self, slot: usize) -> Option<Pending> {
        let (status, uses) = self.counted();
        let status = *Status::ALL.get(usize::try_from(status >> STATUS).ok()?)?;
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.key[0].load(Relaxed).to_ne_bytes());
        key[8..].copy_from_slice(&self.key[1].load(Relaxed).to_ne_bytes());
        (uses > 0).then(|| Pending {
            slot,
            database: self.database.load(Relaxed),
            key,
            status,
            last_used_at: self.last_used_at.load(Relaxed),
            uses,
        })
    }

    /// Takes uses away; none are left where it holds no more. Returns whether it is empty now. The
    /// caller holds its lock.
    pub(super) fn subtract(&self, uses: u64) -> bool {
        let (status, number) = self.counted();
        let left = number.saturating_sub(uses);
        self.counted.store(status | left, Relaxed);
        left == 0
    }
}

/// The halves of a key's id.
pub fn halves(key: &[u8; 16]) -> [u64; 2] {
    let (first, last) = key.split_at(8);
    [first, last].map(|half| half.try_into().map_or(0, u64::from_ne_bytes))
}
