//! Policies of rate limits: their bounds, the errors beyond them, and what a server makes of one.
//! Two of the errors have another hint in `vpk_rate_limit` (`src/limits/identifier.rs`).

use core::fmt::{self, Display};

use crate::error::CallError;

/// The largest amount and the largest burst. Since a period has at least a second, no policy lets
/// more calls than this pass in a second.
pub const MAX_AMOUNT: u32 = 1_000_000;
/// The longest period, in seconds: 31 days.
pub const MAX_PERIOD: u32 = 31 * DAY;
/// The longest time in which an empty bucket fills, in seconds: 366 days.
pub const MAX_FILL: u32 = 366 * DAY;
/// The largest number of servers that share a limit.
pub const MAX_SERVERS: u32 = 1_000;

const DAY: u32 = 24 * 60 * 60;
const NANOS: u64 = 1_000_000_000;

/// How many calls may pass in a period, and how many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    amount: u32,
    period: u32,
    burst: u32,
}

/// Why there is no such policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// The amount is not between 1 and [`MAX_AMOUNT`].
    Amount,
    /// The burst is not between 1 and [`MAX_AMOUNT`].
    Burst,
    /// The period has months or years, which differ in length.
    PeriodInMonths,
    /// The period has a fraction of a second, which no header field can say.
    PeriodInFractions,
    /// The period is not between 1 second and [`MAX_PERIOD`].
    Period,
    /// An empty bucket would fill in more than [`MAX_FILL`].
    Fill,
}

impl Policy {
    /// A policy with a period in seconds. Without a burst, it is the amount.
    pub fn new(amount: i64, period: i64, burst: Option<i64>) -> Result<Policy, PolicyError> {
        let within = |value: i64, most: u32| {
            u32::try_from(value).ok().filter(|value| (1..=most).contains(value))
        };
        let amount = within(amount, MAX_AMOUNT).ok_or(PolicyError::Amount)?;
        let period = within(period, MAX_PERIOD).ok_or(PolicyError::Period)?;
        let burst = match burst {
            Some(burst) => within(burst, MAX_AMOUNT).ok_or(PolicyError::Burst)?,
            None => amount,
        };
        if u64::from(burst) * u64::from(period) > u64::from(MAX_FILL) * u64::from(amount) {
            return Err(PolicyError::Fill);
        }
        Ok(Policy { amount, period, burst })
    }

    /// How many calls may pass in each period on average.
    pub const fn amount(self) -> u32 {
        self.amount
    }

    /// The period, in seconds.
    pub const fn period(self) -> u32 {
        self.period
    }

    /// How many calls may pass at once when there was none for long.
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// What one of so many servers applies, so that all of them together keep to the policy: calls
    /// pass as many times slower, and the burst is divided. Every server has a burst of at least 1.
    pub fn rate(self, servers: u32) -> Rate {
        let servers = servers.clamp(1, MAX_SERVERS);
        Rate {
            amount: self.amount,
            burst: (self.burst / servers).max(1),
            interval: u64::from(self.period) * NANOS * u64::from(servers),
        }
    }
}

/// The seconds of an interval of PostgreSQL (src/include/datatype/timestamp.h).
pub fn whole_seconds(months: i32, days: i32, micros: i64) -> Result<i64, PolicyError> {
    const MICROS: i64 = 1_000_000;
    if months != 0 {
        return Err(PolicyError::PeriodInMonths);
    }
    if micros % MICROS != 0 {
        return Err(PolicyError::PeriodInFractions);
    }
    Ok(i64::from(days) * i64::from(DAY) + micros / MICROS)
}

/// A policy as one server applies it, in exact numbers. A nanosecond has `amount` parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many parts a nanosecond has.
    amount: u32,
    /// How many calls a full bucket has.
    burst: u32,
    /// The time after which another call passes, in parts.
    interval: u64,
}

impl Rate {
    /// How many parts a nanosecond has.
    pub const fn parts(self) -> u32 {
        self.amount
    }

    /// How many calls a full bucket has.
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// The time in which so many calls are earned, in parts.
    pub const fn time_of(self, calls: u32) -> u128 {
        calls as u128 * self.interval as u128
    }

    /// The calls that are earned in a time, in parts.
    pub const fn calls_in(self, time: u128) -> u128 {
        time / self.interval as u128
    }
}

impl Display for PolicyError {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            PolicyError::Amount => "amount must be between 1 and 1000000",
            PolicyError::Burst => "burst must be between 1 and 1000000",
            PolicyError::PeriodInMonths => "period must not have months or years",
            PolicyError::PeriodInFractions => "period must be in whole seconds",
            PolicyError::Period => "period must be between 1 second and 31 days",
            PolicyError::Fill => "the policy is too slow for its burst",
        })
    }
}

impl core::error::Error for PolicyError {}

impl From<PolicyError> for CallError {
    fn from(error: PolicyError) -> CallError {
        let call_error = CallError::invalid(error.to_string());
        match error {
            PolicyError::PeriodInMonths => call_error
                .detail("Months differ in length.")
                .hint("For a number of calls in a calendar month, use vpk_set_quota."),
            PolicyError::Period => call_error.hint(
                "For a number of calls in a month or a year, use vpk_set_quota. For fewer than one \
                 second, divide the amount.",
            ),
            PolicyError::Fill => call_error
                .detail("A used burst would take more than 366 days to come back.")
                .hint("Pass a smaller burst."),
            PolicyError::Amount | PolicyError::Burst | PolicyError::PeriodInFractions => call_error,
        }
    }
}

#[cfg(test)]
pub(crate) mod examples {
    use proptest::prelude::*;

    use super::*;

    /// Any number up to a maximum; each number of digits is as likely as any other.
    pub fn up_to(most: u32) -> impl Strategy<Value = i64> {
        (0..=most.ilog10(), any::<u32>()).prop_map(move |(digits, number)| {
            let least = 10u32.pow(digits);
            let range = least.saturating_mul(10).min(most.saturating_add(1)) - least;
            i64::from(least + number % range.max(1))
        })
    }

    /// Any policy.
    pub fn policies() -> impl Strategy<Value = Policy> {
        let numbers = (up_to(MAX_AMOUNT), up_to(MAX_PERIOD), prop::option::of(up_to(MAX_AMOUNT)));
        numbers.prop_map(|(amount, period, burst)| {
            // The largest burst that fills in time, where the one that was drawn does not.
            let most = i64::from(MAX_FILL) * amount / period;
            let burst = burst.unwrap_or(amount).min(most).max(1);
            Policy::new(amount, period, Some(burst)).expect("a policy")
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::examples::policies;
    use super::*;

    #[test]
    fn the_bounds_of_a_policy() {
        let second = |amount, burst| Policy::new(amount, 1, burst);
        assert_eq!(second(1, None).map(Policy::burst), Ok(1));
        assert_eq!(second(1_000_000, Some(1)).map(Policy::burst), Ok(1));
        for (amount, period, burst, error) in [
            (0, 1, None, PolicyError::Amount),
            (-1, 1, None, PolicyError::Amount),
            (1_000_001, 1, None, PolicyError::Amount),
            (i64::MAX, 1, None, PolicyError::Amount),
            (1, 0, None, PolicyError::Period),
            (1, 31 * 86_400 + 1, None, PolicyError::Period),
            (1, i64::MIN, None, PolicyError::Period),
            (1, 1, Some(0), PolicyError::Burst),
            (1, 1, Some(1_000_001), PolicyError::Burst),
            (1, 86_400, Some(367), PolicyError::Fill),
            (1_000_000, 31 * 86_400, Some(1_000_001), PolicyError::Burst),
        ] {
            assert_eq!(Policy::new(amount, period, burst), Err(error));
        }
        assert!(Policy::new(1, 86_400, Some(366)).is_ok());
        assert!(Policy::new(1_000_000, 31 * 86_400, None).is_ok());
    }

    #[test]
    fn a_period_is_an_interval_in_whole_seconds() {
        assert_eq!(whole_seconds(0, 1, 60_000_000), Ok(86_460));
        assert_eq!(whole_seconds(1, 0, 0), Err(PolicyError::PeriodInMonths));
        assert_eq!(whole_seconds(-12, 400, 0), Err(PolicyError::PeriodInMonths));
        assert_eq!(whole_seconds(0, 0, 1_500_000), Err(PolicyError::PeriodInFractions));
        assert_eq!(whole_seconds(0, -1, 86_460_000_000), Ok(60));
        for (days, micros) in [(i32::MAX, i64::MAX / 1_000_000 * 1_000_000), (i32::MIN, 0)] {
            let seconds = whole_seconds(0, days, micros).expect("whole seconds");
            assert_eq!(Policy::new(1, seconds, None), Err(PolicyError::Period));
        }
    }

    #[test]
    fn an_error_says_what_to_do() {
        let error = CallError::from(PolicyError::PeriodInMonths);
        assert!(error.hint.is_some_and(|hint| hint.contains("vpk_set_quota")));
        let error = CallError::from(PolicyError::Amount);
        assert_eq!(error.to_string(), format!("amount must be between 1 and {MAX_AMOUNT}"));
    }

    proptest! {
        /// All servers together have the policy's rate, and its burst or 1 each.
        #[test]
        fn servers_divide_a_limit(policy in policies(), servers in 1..=MAX_SERVERS) {
            let (whole, part) = (policy.rate(1), policy.rate(servers));
            prop_assert_eq!(part.time_of(1), whole.time_of(servers));
            prop_assert_eq!(part.parts(), whole.parts());
            prop_assert!(part.burst() >= 1);
            prop_assert!(part.burst() * servers <= policy.burst().max(servers));
            prop_assert_eq!(policy.rate(0), whole);
        }
    }
}
