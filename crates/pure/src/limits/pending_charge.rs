//! What was used of a quota and is not yet in the tables, in memory, in a flush and in a file.

use crate::limits::applicable::Holder;
use crate::limits::bucket_set::BucketId;
use crate::limits::name::{MAX_NAME, Name};
use crate::limits::quota_decision::Counts;
use crate::limits::quota_period::Span;

/// What a flush writes to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingCharge {
    /// The set and the slot. They have no meaning in a file.
    pub at: (usize, usize),
    /// Identifies the slot.
    pub id: BucketId,
    /// The database, by OID.
    pub database: u32,
    /// A key of the holder, by which a flush finds it: the first one that charged the quota since
    /// the table had all of it.
    pub key: [u8; 16],
    /// What is counted.
    pub counts: Counts,
    /// How much was used and not yet added to the table. Less than 0 for refunds.
    pub amount: i64,
    /// How much was charged, for the history of charges.
    pub charged: i64,
    /// From which use on the flush warns; 0 is never.
    pub warn_from: i64,
    /// What the table had when it was read or written last.
    pub base: i64,
    /// When that was, in seconds.
    pub base_at: u32,
    /// Since when flushes do not find the key.
    pub key_missed: KeyMissed,
}

/// Since when something is missed: the seconds of a clock that never goes back, in a circle of 18
/// hours, from 1 on; 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyMissed(pub(super) u16);

impl KeyMissed {
    /// It is there, as far as anybody knows.
    pub const NEVER: KeyMissed = KeyMissed(0);
    /// How long the circle is.
    pub const CIRCLE: u32 = 65_535;

    /// Missed at a time for the first time.
    pub(super) fn at(now: u32) -> KeyMissed {
        KeyMissed(u16::try_from(now % Self::CIRCLE + 1).unwrap_or(1))
    }

    /// For how many seconds it has been missed; 0 if it is not.
    pub fn for_seconds(self, now: u32) -> u32 {
        match self {
            KeyMissed::NEVER => 0,
            KeyMissed(at) => (now % Self::CIRCLE + 1 + Self::CIRCLE - u32::from(at)) % Self::CIRCLE,
        }
    }
}

impl PendingCharge {
    /// How many words it is.
    pub const WORDS: usize = 14;

    /// Whether the tables have all of it.
    pub fn is_empty(&self) -> bool {
        self.amount == 0 && self.charged == 0
    }

    /// It as words, without its place, the age of the base, and whether the key is missed.
    pub fn to_words(&self) -> [u64; PendingCharge::WORDS] {
        let Counts { holder, meter, span, period_start } = self.counts;
        let kind = u64::from(self.database) << 16 | (holder as u64) << 8 | span as u64;
        let mut words = [0; PendingCharge::WORDS];
        words[..3].copy_from_slice(&[self.id.holder, self.id.policy, kind]);
        let padded = meter.padded();
        let bytes = self.key.as_chunks().0.iter().chain(padded.as_chunks().0).copied();
        words[3..9].iter_mut().zip(bytes).for_each(|(to, from)| *to = u64::from_le_bytes(from));
        let numbers = [period_start, self.amount, self.warn_from, self.charged, self.base];
        words[9..].iter_mut().zip(numbers).for_each(|(to, from)| *to = from.cast_unsigned());
        words
    }

    /// Reads a charge from its words. None if they are not those of a charge.
    pub fn from_words(words: [u64; PendingCharge::WORDS]) -> Option<PendingCharge> {
        let mut bytes = [0; 16 + MAX_NAME];
        let chunks = bytes.as_chunks_mut().0.iter_mut();
        chunks.zip(&words[3..9]).for_each(|(to, from)| *to = from.to_le_bytes());
        let (key, meter) = bytes.split_first_chunk()?;
        let numbers = [9, 10, 11, 12, 13].map(|at| words[at].cast_signed());
        let [period_start, amount, warn_from, charged, base] = numbers;
        let number = |shift: u32| u8::try_from(words[2] >> shift & 0xff).ok();
        Some(PendingCharge {
            at: (0, 0),
            id: BucketId { holder: words[0], policy: words[1] },
            database: u32::try_from(words[2] >> 16).ok()?,
            key: *key,
            counts: Counts {
                holder: Holder::from_number(number(8)?)?,
                meter: Name::from_padded(meter.try_into().ok()?)?,
                span: Span::from_number(number(0)?)?,
                period_start,
            },
            amount,
            charged,
            warn_from,
            base,
            base_at: 0,
            key_missed: KeyMissed::NEVER,
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::limits::quota_tests::{AT_1, Memory, counted};

    /// The key that is noted is the first one since the table had all of it, and another one where
    /// a flush has not found it.
    #[test]
    fn a_flush_is_told_a_key_that_stays() {
        let memory = Memory::new(1);
        let quotas = memory.quotas();
        let charge = |key: u8| {
            quotas.while_known(
                [1; 2],
                &mut [counted(1, 1, 100)],
                AT_1,
                |_| 0,
                |locked, all| {
                    assert_eq!(quotas.charge(locked, &[key; 16], all, 1), 0);
                },
            );
        };
        let noted = || {
            let (batch, _) = quotas.collect(1, 0, 1_000);
            assert_eq!(batch.len(), 1);
            (batch[0].key[0], batch)
        };
        let unnoted = |charge: &PendingCharge| PendingCharge { charged: 0, ..*charge };
        charge(1);
        charge(2);
        let (key, batch) = noted();
        assert_eq!(key, 1);
        charge(3);
        quotas.miss_keys(batch.iter(), 70_000);
        quotas.release(batch.iter().map(unnoted).collect::<Vec<_>>().iter());
        let (key, batch) = noted();
        assert_eq!((key, batch[0].key_missed.for_seconds(70_010)), (1, 10));
        // From the first time on, also around the circle.
        quotas.miss_keys(batch.iter(), 131_060);
        let (_, batch) = noted();
        assert_eq!(batch[0].key_missed.for_seconds(131_080), 61_080);
        charge(4);
        let (key, batch) = noted();
        assert_eq!((key, batch[0].amount), (4, 4));
        // Of the new key, no time is over.
        assert_eq!(batch[0].key_missed.for_seconds(131_080), 0);
        // The key was replaced meanwhile: it was not this one that is missing.
        quotas.miss_keys([PendingCharge { key: [1; 16], ..batch[0] }].iter(), 131_080);
        quotas.release(batch.iter().map(unnoted).collect::<Vec<_>>().iter());
        charge(5);
        let (key, batch) = noted();
        assert_eq!((key, batch[0].amount), (4, 5));
        quotas.settle(batch.iter().map(|charge| (charge, 5)), 1);
        charge(6);
        assert_eq!(noted().0, 6);
    }
}
