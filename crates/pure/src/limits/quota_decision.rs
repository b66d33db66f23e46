//! A call against the quotas that apply to it: which of them refuses it, and how long it waits.

use crate::instant::Micros;
use crate::limits::applicable::Holder;
use crate::limits::bucket::Wait;
use crate::limits::bucket_set::BucketId;
use crate::limits::name::Name;
use crate::limits::quota_period::Span;
use crate::limits::quotas::Usage;

/// The meter that calls are charged to.
pub const CALLS: &str = "calls";

/// What a quota counts, and in which period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Whose uses.
    pub holder: Holder,
    /// What is counted.
    pub meter: Name,
    /// The length of a period.
    pub span: Span,
    /// When the period began; [`Micros::MIN`] is `-infinity`.
    pub period_start: Micros,
}

/// A quota that applies to a call, with the id of its slot.
#[derive(Clone, Copy, Debug)]
pub struct CountedQuota {
    /// Identifies the slot.
    pub id: BucketId,
    /// What it counts.
    pub counts: Counts,
    /// From which use on the flusher warns; 0 is never.
    pub warn_from: i64,
    /// Whether the call is charged, or only refused if nothing is left.
    pub is_charged: bool,
    /// When the period ends; [`Micros::MAX`] is `infinity`.
    pub period_end: Micros,
    /// How much will be allowed in the next period.
    pub renewed: i64,
    /// What is allowed and, after [`QuotaSets::read`], what is used.
    ///
    /// [`QuotaSets::read`]: crate::limits::quota_sets::QuotaSets::read
    pub usage: Usage,
    /// Where in its set the slot is likely to be.
    pub(super) likely: u8,
}

impl CountedQuota {
    /// How long a call of this cost has to wait at an instant. It waits for ever where the next
    /// period does not allow it either.
    pub fn wait(&self, cost: u32, now: Micros) -> Wait {
        let cost = if self.is_charged { cost.max(1) } else { 1 };
        match self.period_end.checked_sub(now) {
            _ if self.admits(cost) => Wait::None,
            Some(left) if self.period_end < Micros::MAX && i64::from(cost) <= self.renewed => {
                Wait::Nanos(u64::try_from(left).unwrap_or(0).max(1).saturating_mul(1_000))
            }
            _ => Wait::Forever,
        }
    }

    /// When the period ends, in whole seconds from an instant and rounded up; None is never.
    pub fn reset_seconds(&self, now: Micros) -> Option<u64> {
        let left = self.period_end.checked_sub(now).filter(|_| self.period_end < Micros::MAX)?;
        Some(u64::try_from(left).unwrap_or(0).div_ceil(1_000_000))
    }

    /// Its name in a header field: the period and, of another meter than calls, the meter.
    pub fn name(&self) -> String {
        let Counts { meter, span, .. } = self.counts;
        match meter.is(CALLS) {
            true => span.name().to_owned(),
            false => format!("{meter}/{span}"),
        }
    }

    /// Whether a call of this cost passes.
    pub fn admits(&self, cost: u32) -> bool {
        self.usage.admits(if self.is_charged { cost } else { 0 })
    }
}

/// The quota that refuses a call of this cost the longest: the one of those that refuse it whose
/// period ends last. None if all admit it.
pub fn refusing(counted: &[CountedQuota], cost: u32) -> Option<usize> {
    let all = counted.iter().enumerate().filter(|(_, each)| !each.admits(cost));
    all.max_by_key(|(_, each)| each.period_end).map(|(at, _)| at)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::limits::quota_tests::counted;

    #[test]
    fn the_quota_that_ends_last_is_the_one_to_wait_for() {
        let day = CountedQuota { period_end: 5, ..counted(1, 1, 0) };
        let month = CountedQuota { period_end: 9, ..counted(1, 2, 0) };
        let tokens = CountedQuota { is_charged: false, ..counted(1, 3, 1) };
        assert_eq!(refusing(&[day, month, tokens], 1), Some(1));
        // Another meter has to have something left, however much the call costs.
        assert_eq!(
            (refusing(&[tokens], 100), refusing(&[counted(1, 3, 99)], 100)),
            (None, Some(0))
        );
    }

    #[test]
    fn a_refused_call_waits_for_the_next_period() {
        let second = 1_000_000;
        let quota = CountedQuota { period_end: 90 * second, ..counted(1, 1, 0) };
        let used_up = CountedQuota { renewed: 5, ..quota };
        assert_eq!(used_up.wait(1, 30 * second), Wait::Nanos(60_000_000_000));
        assert_eq!(used_up.wait(5, 90 * second + 1), Wait::Nanos(1_000), "the clock is ahead");
        assert_eq!((used_up.wait(6, 0), quota.wait(0, 0)), (Wait::Forever, Wait::Forever));
        let total = CountedQuota { period_end: i64::MAX, ..used_up };
        assert_eq!((total.wait(1, 0), total.reset_seconds(0)), (Wait::Forever, None));
        assert_eq!(counted(1, 1, 3).wait(3, 0), Wait::None);
        let tokens = CountedQuota { is_charged: false, ..used_up };
        assert_eq!(tokens.wait(99, 89 * second), Wait::Nanos(1_000_000_000));
        assert_eq!(used_up.reset_seconds(89 * second - 1), Some(2));
        let meter = Name::parse(b"tokens").expect("a name");
        let tokens = CountedQuota { counts: Counts { meter, ..quota.counts }, ..quota };
        assert_eq!((quota.name(), tokens.name()), ("month".into(), "tokens/month".into()));
    }
}
