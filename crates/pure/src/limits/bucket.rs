//! The bucket of a policy: what it has left, by the generic cell rate algorithm (GCRA).
//!
//! A bucket is the instant at which it is full again, which the algorithm calls the theoretical
//! arrival time. Each call moves it into the future, and a call that would move it further than the
//! burst allows does not pass. So a bucket whose instant is in the past is as good as none.
//!
//! All numbers are exact: the time between two calls is no whole number of nanoseconds for most
//! policies, and the bucket keeps the rest. So 7 calls a minute are neither 6 nor 8.

use crate::limits::policy::{MAX_AMOUNT, Rate};

/// An instant of a clock that never goes back, in nanoseconds.
pub type Nanos = u64;

const SECOND: u64 = 1_000_000_000;
/// How many bits of a word in shared memory are for the parts of a nanosecond.
const PARTS_BITS: u32 = 20;
/// The largest tag of a bucket in shared memory.
pub const MAX_TAG: u64 = u64::MAX >> PARTS_BITS;

const _: () = assert!(MAX_AMOUNT < 1 << PARTS_BITS);

/// What a policy has left. The default is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it is full again.
    full_at: Nanos,
    /// How many parts of a nanosecond later, as [`Rate::parts`] counts them.
    parts: u32,
}

/// How long a call has to wait, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// It passes now.
    None,
    /// It passes after so many nanoseconds, if no other call does before.
    Nanos(u64),
    /// It costs more than a full bucket has.
    Forever,
}

impl Wait {
    /// The wait in whole seconds, rounded up: 0 where the call passes now; None if it never does.
    pub const fn seconds(self) -> Option<u64> {
        match self {
            Wait::None => Some(0),
            Wait::Nanos(nanos) => Some(nanos.div_ceil(SECOND)),
            Wait::Forever => None,
        }
    }
}

impl Bucket {
    /// A bucket that is full.
    pub const FULL: Bucket = Bucket { full_at: 0, parts: 0 };

    /// Whether the bucket is full: it can be forgotten.
    pub const fn is_full(self, now: Nanos) -> bool {
        self.full_at < now || self.full_at == now && self.parts == 0
    }

    /// How long a call has to wait. A cost of 0 is answered as a cost of 1.
    pub fn wait(self, rate: Rate, cost: u32, now: Nanos) -> Wait {
        let cost = cost.max(1);
        if cost > rate.burst() {
            return Wait::Forever;
        }
        let after = self.used(rate, now) + rate.time_of(cost);
        match after.saturating_sub(rate.time_of(rate.burst())) {
            0 => Wait::None,
            excess => Wait::Nanos(nanos(excess.div_ceil(rate.parts().into()))),
        }
    }

    /// The bucket after a call that passes.
    pub fn charged(self, rate: Rate, cost: u32, now: Nanos) -> Bucket {
        Bucket::with_used(self.used(rate, now) + rate.time_of(cost), rate, now)
    }

    /// The bucket under a policy that may be another than the one that charged it: no emptier than
    /// empty. Otherwise, nobody could pass before the time of the earlier policy was over.
    pub fn capped(self, rate: Rate, now: Nanos) -> Bucket {
        let capacity = rate.time_of(rate.burst());
        if self.time_until_full(rate, now) <= capacity {
            return self;
        }
        Bucket::with_used(capacity, rate, now)
    }

    /// The bucket that is full after a time, in parts.
    fn with_used(used: u128, rate: Rate, now: Nanos) -> Bucket {
        let parts = rate.parts();
        // Short divisions take a fraction of the time of long ones.
        let (whole, rest) = match u64::try_from(used) {
            Ok(used) => (used / u64::from(parts), u128::from(used % u64::from(parts))),
            Err(_) => (nanos(used / u128::from(parts)), used % u128::from(parts)),
        };
        #[expect(clippy::cast_possible_truncation, reason = "less than `parts`")]
        Bucket { full_at: now.saturating_add(whole), parts: rest as u32 }
    }

    /// How many calls of cost 1 would pass now.
    pub fn remaining(self, rate: Rate, now: Nanos) -> u32 {
        let left = rate.time_of(rate.burst()) - self.used(rate, now);
        u32::try_from(rate.calls_in(left)).unwrap_or(u32::MAX)
    }

    /// When the bucket is full, in whole seconds from now, rounded up.
    pub fn reset_seconds(self, rate: Rate, now: Nanos) -> u64 {
        nanos(self.used(rate, now).div_ceil(rate.parts().into())).div_ceil(SECOND)
    }

    /// The time until the bucket is full, in parts: at most the time of a burst.
    fn used(self, rate: Rate, now: Nanos) -> u128 {
        self.time_until_full(rate, now).min(rate.time_of(rate.burst()))
    }

    fn time_until_full(self, rate: Rate, now: Nanos) -> u128 {
        if self.is_full(now) {
            return 0;
        }
        // The policy that charged the bucket may have counted more parts.
        let parts = self.parts.min(rate.parts() - 1);
        u128::from(self.full_at - now) * u128::from(rate.parts()) + u128::from(parts)
    }

    /// The bucket from which was taken what was taken from either. Less than a nanosecond of it is
    /// forgotten.
    pub fn with(self, other: Bucket, now: Nanos) -> Bucket {
        if self.is_full(now) {
            return other;
        }
        let Bucket { full_at, parts } = other.time_left(now);
        Bucket { full_at: self.full_at.saturating_add(full_at), parts: self.parts.max(parts) }
    }

    /// The bucket as the time that is left until it is full: for a clock that starts anew.
    pub fn time_left(self, now: Nanos) -> Bucket {
        if self.is_full(now) {
            return Bucket::default();
        }
        Bucket { full_at: self.full_at - now, parts: self.parts }
    }

    /// The bucket for which so much time was left, at the start of another clock.
    pub fn resumed(self, now: Nanos) -> Bucket {
        Bucket { full_at: now.saturating_add(self.full_at), parts: self.parts }
    }

    /// The bucket as two words of memory, with a tag of up to [`MAX_TAG`] that tells it from
    /// others. All zeroes are a full bucket with the tag 0.
    pub const fn to_words(self, tag: u64) -> [u64; 2] {
        [self.full_at, tag << PARTS_BITS | self.parts as u64]
    }

    /// The tag and the bucket of two words.
    pub const fn from_words([full_at, word]: [u64; 2]) -> (u64, Bucket) {
        let parts = word & ((1 << PARTS_BITS) - 1);
        (word >> PARTS_BITS, Bucket { full_at, parts: parts as u32 })
    }
}

fn nanos(nanos: u128) -> u64 {
    u64::try_from(nanos).unwrap_or(u64::MAX)
}
