//! A call against all policies that apply to it: either it passes and all of them are charged, or
//! it is refused and none is.

use crate::limits::bucket::{Bucket, Nanos, Wait};
use crate::limits::policy::Rate;

/// A policy that applies to a call, with its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What the policy allows on this server.
    pub rate: Rate,
    /// What it has left.
    pub bucket: Bucket,
}

/// What all policies together say to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Passes,
    /// It is refused.
    Refused {
        /// The position of the policy that it has to wait for the longest.
        by: usize,
        /// How long it has to wait.
        wait: Wait,
    },
}

/// What a call costs, as its caller says: null is 1, and nothing is less than 0.
pub fn cost_of(cost: Option<i32>) -> u32 {
    cost.map_or(1, |cost| u32::try_from(cost).unwrap_or(0))
}

/// Decides on a call. A cost of 0 is answered as a cost of 1.
pub fn verdict(limits: &[impl AsRef<Limit>], cost: u32, now: Nanos) -> Verdict {
    let mut verdict = Verdict::Passes;
    for (at, limit) in limits.iter().map(AsRef::as_ref).enumerate() {
        let wait = limit.bucket.wait(limit.rate, cost, now);
        let longest = match verdict {
            Verdict::Passes => Wait::None,
            Verdict::Refused { wait, .. } => wait,
        };
        if wait > longest {
            verdict = Verdict::Refused { by: at, wait };
        }
    }
    verdict
}

/// Decides on a call, and charges all policies if it passes. The buckets are to be stored in either
/// case: see [`Bucket::capped`].
pub fn charge<L>(limits: &mut [L], cost: u32, now: Nanos) -> Verdict
where
    L: AsRef<Limit> + AsMut<Limit>,
{
    let verdict = verdict(limits, cost, now);
    apply(verdict, limits, cost, now);
    verdict
}

/// Charges all policies for a call on which they have decided at the same time, if it passes.
pub fn apply(verdict: Verdict, limits: &mut [impl AsMut<Limit>], cost: u32, now: Nanos) {
    for Limit { rate, bucket } in limits.iter_mut().map(AsMut::as_mut) {
        *bucket = match verdict {
            Verdict::Passes => bucket.charged(*rate, cost, now),
            Verdict::Refused { .. } => bucket.capped(*rate, now),
        };
    }
}

impl AsRef<Limit> for Limit {
    fn as_ref(&self) -> &Limit {
        self
    }
}

impl AsMut<Limit> for Limit {
    fn as_mut(&mut self) -> &mut Limit {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::{Clock, FakeRelativeClock};
    use governor::{Quota, RateLimiter};
    use proptest::prelude::*;

    use super::*;
    use crate::limits::bucket::MAX_TAG;
    use crate::limits::policy::examples::policies;
    use crate::limits::policy::{MAX_AMOUNT, MAX_FILL, MAX_PERIOD, MAX_SERVERS, Policy};

    const SECOND: Nanos = 1_000_000_000;
    /// A long uptime: ten years.
    const LATE: Nanos = 10 * 366 * 86_400 * SECOND;

    fn limit(amount: i64, period: i64, burst: Option<i64>) -> Limit {
        let policy = Policy::new(amount, period, burst).expect("a policy");
        Limit { rate: policy.rate(1), bucket: Bucket::default() }
    }

    /// The wait of a call that is refused.
    fn refused(verdict: Verdict) -> Wait {
        match verdict {
            Verdict::Passes => Wait::None,
            Verdict::Refused { wait, .. } => wait,
        }
    }

    /// A call, after a time, in a test of many.
    #[derive(Clone, Copy, Debug)]
    enum Pause {
        /// So many nanoseconds.
        Nanos(u64),
        /// So many hundredths of the time between two calls.
        Hundredths(u64),
        /// The wait of the last refusal, longer or shorter by so many nanoseconds.
        Wait(i64),
    }

    impl Pause {
        fn nanos(self, rate: Rate, last: Wait) -> u64 {
            match (self, last) {
                (Pause::Nanos(nanos), _) => nanos,
                (Pause::Hundredths(hundredths), _) => {
                    let time = rate.time_of(1) * u128::from(hundredths) / 100;
                    (time / u128::from(rate.parts())) as u64
                }
                (Pause::Wait(offset), Wait::Nanos(nanos)) => nanos.saturating_add_signed(offset),
                (Pause::Wait(_), _) => 0,
            }
        }
    }

    fn pauses() -> impl Strategy<Value = Pause> {
        prop_oneof![
            Just(Pause::Nanos(0)),
            (0..10u32, 1..10u64).prop_map(|(digits, by)| Pause::Nanos(by * 10u64.pow(digits))),
            (0..500u64).prop_map(Pause::Hundredths),
            (-1..=1i64).prop_map(Pause::Wait),
        ]
    }

    /// Costs, most of them small.
    fn costs() -> impl Strategy<Value = u32> {
        prop_oneof![4 => 0..3u32, 2 => 1..40u32, 1 => 0..=MAX_AMOUNT, 1 => Just(u32::MAX)]
    }

    #[test]
    fn a_full_bucket_has_its_burst_and_fills_in_its_period() {
        let mut limits = [limit(7, 60, None)];
        for call in 0..7 {
            assert_eq!(limits[0].bucket.remaining(limits[0].rate, LATE), 7 - call);
            assert_eq!(charge(&mut limits, 1, LATE), Verdict::Passes);
        }
        let Limit { rate, bucket } = limits[0];
        // A seventh of a minute is no whole number of nanoseconds.
        assert_eq!(bucket.wait(rate, 1, LATE), Wait::Nanos(8_571_428_572));
        assert_eq!(bucket.wait(rate, 1, LATE).seconds(), Some(9));
        assert_eq!(bucket.wait(rate, 1, LATE + 8_571_428_571), Wait::Nanos(1));
        assert_eq!(bucket.wait(rate, 1, LATE + 8_571_428_572), Wait::None);
        assert_eq!(bucket.reset_seconds(rate, LATE), 60);
        assert_eq!(bucket.reset_seconds(rate, LATE + 1), 60);
        assert!(!bucket.is_full(LATE + 60 * SECOND - 1));
        assert!(bucket.is_full(LATE + 60 * SECOND));
        assert_eq!(bucket.remaining(rate, LATE + 60 * SECOND - 1), 6);
        assert_eq!(bucket.remaining(rate, LATE + 60 * SECOND), 7);
        assert_eq!(bucket.reset_seconds(rate, LATE + 60 * SECOND), 0);
    }

    #[test]
    fn a_cost_counts_as_so_many_calls() {
        assert_eq!([None, Some(5), Some(0), Some(-3)].map(cost_of), [1, 5, 0, 0]);
        let mut limits = [limit(10, 1, None)];
        assert_eq!(charge(&mut limits, 8, 0), Verdict::Passes);
        assert_eq!(refused(charge(&mut limits, 4, 0)), Wait::Nanos(SECOND / 5));
        assert_eq!(charge(&mut limits, 2, 0), Verdict::Passes);
        // A call that costs nothing is answered as one that costs 1.
        assert_eq!(refused(charge(&mut limits, 0, 0)), Wait::Nanos(SECOND / 10));
        let before = limits;
        assert_eq!(charge(&mut limits, 0, SECOND / 10), Verdict::Passes);
        assert_eq!(limits[0].bucket.remaining(limits[0].rate, SECOND / 10), 1);
        assert_eq!(limits[0].bucket, before[0].bucket);
    }

    #[test]
    fn the_longest_wait_is_the_answer() {
        let mut limits = [limit(2, 1, None), limit(100, 60, Some(20)), limit(2, 1, Some(1))];
        assert_eq!(charge(&mut limits, 1, 0), Verdict::Passes);
        let wait = Wait::Nanos(SECOND / 2);
        assert_eq!(charge(&mut limits, 1, 0), Verdict::Refused { by: 2, wait });
        let by_cost = |cost| verdict(&limits, cost, 0);
        assert_eq!(by_cost(2), Verdict::Refused { by: 2, wait: Wait::Forever });
        // The first of those that a call can never pass.
        assert_eq!(by_cost(21), Verdict::Refused { by: 0, wait: Wait::Forever });
        assert_eq!(Wait::Forever.seconds(), None);
        assert_eq!(verdict(&[] as &[Limit], 1, 0), Verdict::Passes);
    }

    #[test]
    fn a_narrower_policy_makes_nobody_wait_for_the_wider_one() {
        let mut limits = [limit(1_000, 31 * 86_400, None)];
        assert_eq!(charge(&mut limits, 1_000, LATE), Verdict::Passes);
        limits[0].rate = limit(10, 1, Some(20)).rate;
        assert_eq!(limits[0].bucket.remaining(limits[0].rate, LATE), 0);
        assert_eq!(limits[0].bucket.reset_seconds(limits[0].rate, LATE), 2);
        // From the first call on, the bucket fills at the new pace, even if that call is refused.
        assert_eq!(refused(charge(&mut limits, 1, LATE)), Wait::Nanos(SECOND / 10));
        assert_eq!(refused(charge(&mut limits, 1, LATE + 1)), Wait::Nanos(SECOND / 10 - 1));
        assert_eq!(charge(&mut limits, 20, LATE + 2 * SECOND), Verdict::Passes);
        // A wider one is as empty as the narrower one was.
        limits[0].rate = limit(20, 1, Some(40)).rate;
        assert_eq!(limits[0].bucket.remaining(limits[0].rate, LATE + 2 * SECOND), 0);
    }

    /// The oracle has integer time only. It gets times in the parts of a nanosecond in which a
    /// policy is exact.
    fn oracle(policy: Policy) -> (impl Fn(u32) -> Wait, FakeRelativeClock) {
        let parts = policy.rate(1).parts();
        let clock = FakeRelativeClock::default();
        let time = Duration::from_nanos(policy.rate(1).time_of(1) as u64);
        let quota = Quota::with_period(time).expect("more than 0");
        let quota = quota.allow_burst(policy.burst().try_into().expect("more than 0"));
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        let own_clock = clock.clone();
        let check = move |cost: u32| match limiter.check_n(cost.try_into().expect("more than 0")) {
            Ok(Ok(())) => Wait::None,
            Ok(Err(until)) => {
                let wait = until.wait_time_from(own_clock.now()).as_nanos();
                Wait::Nanos(wait.div_ceil(parts.into()) as u64)
            }
            Err(_) => Wait::Forever,
        };
        (check, clock)
    }

    /// Numbers that look random: SplitMix64.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ mixed >> 31) % end
        }

        /// From 1 to 9 times a power of 10.
        fn up_to(&mut self, most: u64) -> u64 {
            let digits = self.below(u64::from(most.ilog10()) + 1) as u32;
            (1 + self.below(9 * 10u64.pow(digits))).min(most)
        }

        fn pause(&mut self) -> Pause {
            match self.below(4) {
                0 => Pause::Nanos(0),
                1 => Pause::Nanos(self.up_to(10_000_000_000)),
                2 => Pause::Hundredths(self.below(500)),
                _ => Pause::Wait(self.below(3) as i64 - 1),
            }
        }

        fn cost(&mut self, burst: u32) -> u32 {
            match self.below(3) {
                0 => 1,
                1 => 1 + self.below(burst.min(10).into()) as u32,
                // One more than a full bucket has, at times.
                _ => 1 + self.below(u64::from(burst) + 1) as u32,
            }
        }
    }

    /// G11: the crate governor gives the same decisions, with the same waits, in 100,000 sequences.
    #[test]
    fn decisions_are_those_of_an_independent_implementation() {
        let (mut passed, mut refused, mut never) = (0, 0, 0);
        for seed in 0..100_000 {
            let mut numbers = Numbers(seed << 20);
            let [amount, period, burst] = [10_000, u64::from(MAX_PERIOD), 5_000];
            let (amount, period) = (numbers.up_to(amount), numbers.up_to(period));
            // What fits 64 bits in parts of a nanosecond.
            let most = (u64::from(MAX_FILL) * amount / period).min((1 << 61) / (period * SECOND));
            let burst = numbers.up_to(burst).clamp(1, most.max(1));
            let [amount, period, burst] = [amount, period, burst].map(|number| number as i64);
            let policy = Policy::new(amount, period, Some(burst)).expect("a policy");
            let (rate, mut bucket) = (policy.rate(1), Bucket::default());
            let (check, clock) = oracle(policy);
            let (mut now, mut last) = (0, Wait::None);
            for _ in 0..1 + numbers.below(20) {
                let pause = numbers.pause().nanos(rate, last);
                let later = (now + pause).checked_mul(u64::from(rate.parts()));
                if later.is_none_or(|later| later > 1 << 62) {
                    break;
                }
                now += pause;
                clock.advance(Duration::from_nanos(pause * u64::from(rate.parts())));
                let cost = numbers.cost(policy.burst());
                last = bucket.wait(rate, cost, now);
                let expected = check(cost);
                assert_eq!(last, expected, "seed {seed}: {policy:?}, cost {cost}, at {now} ns");
                match last {
                    Wait::None => {
                        bucket = bucket.charged(rate, cost, now);
                        passed += 1;
                    }
                    Wait::Nanos(_) => refused += 1,
                    Wait::Forever => never += 1,
                }
            }
        }
        // Each of the answers was compared.
        assert!(passed > 100_000 && refused > 100_000 && never > 10_000);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Any policy, at any time, on any number of servers: nothing overflows, and every answer
        /// is in its bounds.
        #[test]
        fn answers_keep_their_bounds(
            policy in policies(),
            servers in 1..=MAX_SERVERS,
            start in prop_oneof![Just(0), 0..LATE],
            calls in prop::collection::vec((pauses(), costs()), 1..25),
        ) {
            let rate = policy.rate(servers);
            let (mut bucket, mut now, mut last) = (Bucket::default(), start, Wait::None);
            for (pause, cost) in calls {
                // Servers that share a slow policy let a call pass once in many years.
                now += pause.nanos(rate, last).min(LATE);
                last = bucket.wait(rate, cost, now);
                prop_assert_eq!(last == Wait::Forever, cost.max(1) > rate.burst());
                prop_assert_eq!(last == Wait::None, cost.max(1) <= bucket.remaining(rate, now));
                if last == Wait::None {
                    let before = bucket.remaining(rate, now);
                    bucket = bucket.charged(rate, cost, now);
                    prop_assert_eq!(bucket.remaining(rate, now), before - cost);
                }
                prop_assert!(bucket.remaining(rate, now) <= rate.burst());
                let fill = u64::from(MAX_FILL.max(MAX_PERIOD * servers));
                prop_assert!(bucket.reset_seconds(rate, now) <= fill);
                prop_assert!(last.seconds().is_none_or(|wait| wait <= fill));
                prop_assert_eq!(bucket.is_full(now), bucket.reset_seconds(rate, now) == 0);
                // A full bucket can be forgotten.
                if bucket.is_full(now) {
                    let unused = Bucket::default().wait(rate, cost, now);
                    prop_assert_eq!(bucket.wait(rate, cost, now), unused);
                }
            }
        }

        /// The stated wait is the first nanosecond, and the stated seconds are the first second, at
        /// which the call passes.
        #[test]
        fn a_call_passes_after_the_wait_and_not_before(
            policy in policies(),
            now in 0..LATE,
            used in 0..=MAX_AMOUNT,
            cost in 1..=MAX_AMOUNT,
        ) {
            let rate = policy.rate(1);
            let (used, cost) = (used.min(rate.burst()), cost.min(rate.burst()));
            let bucket = Bucket::default().charged(rate, used, now);
            let wait = bucket.wait(rate, cost, now);
            let seconds = wait.seconds().expect("it passes some time");
            let passes = |at| bucket.wait(rate, cost, at) == Wait::None;
            prop_assert!(passes(now + seconds * SECOND));
            if let Wait::Nanos(nanos) = wait {
                prop_assert!(nanos > 0 && seconds > 0);
                prop_assert!(passes(now + nanos));
                prop_assert!(!passes(now + nanos - 1));
                prop_assert!(!passes(now + (seconds - 1) * SECOND));
            }
            let reset = bucket.reset_seconds(rate, now);
            prop_assert!(bucket.is_full(now + reset * SECOND));
            prop_assert!(reset == 0 || !bucket.is_full(now + (reset - 1) * SECOND));
        }

        /// In any period at most the burst and the amount pass, however the calls come.
        #[test]
        fn at_most_burst_and_amount_pass_in_any_period(
            (amount, period, burst) in (1..30i64, 1..100i64, 1..30i64),
            calls in prop::collection::vec((pauses(), 1..4u32), 1..80),
        ) {
            let policy = Policy::new(amount, period, Some(burst)).expect("a policy");
            let (rate, mut bucket) = (policy.rate(1), Bucket::default());
            let (mut now, mut last, mut passed) = (LATE, Wait::None, Vec::new());
            for (pause, cost) in calls {
                now += pause.nanos(rate, last);
                last = bucket.wait(rate, cost, now);
                if last == Wait::None {
                    bucket = bucket.charged(rate, cost, now);
                    passed.push((now, i64::from(cost)));
                }
            }
            for (at, (start, _)) in passed.iter().enumerate() {
                let end = start + period as u64 * SECOND;
                let within = passed[at..].iter().take_while(|(at, _)| *at <= end);
                prop_assert!(within.map(|(_, cost)| cost).sum::<i64>() <= burst + amount);
            }
        }

        /// Of many policies, each has as much left as if it had been alone with the calls that
        /// passed. A call passes if every policy alone would let it.
        #[test]
        fn a_refused_call_consumes_nothing(
            policies in prop::collection::vec(policies(), 0..12),
            start in 0..LATE,
            calls in prop::collection::vec((pauses(), costs()), 1..40),
        ) {
            let mut limits: Vec<_> = policies
                .iter()
                .map(|policy| Limit { rate: policy.rate(1), bucket: Bucket::default() })
                .collect();
            let (mut now, mut last) = (start, Wait::None);
            for (pause, cost) in calls {
                now += limits.first().map_or(1, |limit| pause.nanos(limit.rate, last));
                let before = limits.clone();
                let waits = before.iter().map(|limit| limit.bucket.wait(limit.rate, cost, now));
                let longest = waits.clone().max().unwrap_or(Wait::None);
                let verdict = charge(&mut limits, cost, now);
                last = refused(verdict);
                prop_assert_eq!(last, longest);
                match verdict {
                    Verdict::Refused { by, .. } => {
                        prop_assert_eq!(waits.clone().nth(by), Some(longest));
                        prop_assert_eq!(&limits, &before);
                    }
                    Verdict::Passes => {
                        for (limit, before) in limits.iter().zip(&before) {
                            let alone = before.bucket.charged(before.rate, cost, now);
                            prop_assert_eq!(limit.bucket, alone);
                        }
                    }
                }
            }
        }

        /// Over a restart, on a clock that begins anew, nothing changes but the time of day.
        #[test]
        fn a_restart_keeps_what_is_left(
            policy in policies(),
            (before, after) in (0..LATE, 0..LATE),
            used in 0..=MAX_AMOUNT,
            cost in 1..=MAX_AMOUNT,
            hundredths in 0..=100u64,
        ) {
            let rate = policy.rate(1);
            let bucket = Bucket::default().charged(rate, used.min(rate.burst()), before);
            let later = bucket.reset_seconds(rate, before) * SECOND / 100 * hundredths;
            let resumed = bucket.time_left(before).resumed(after);
            let answers = |bucket: Bucket, now| {
                (bucket.wait(rate, cost, now), bucket.remaining(rate, now), bucket.is_full(now))
            };
            prop_assert_eq!(answers(bucket, before + later), answers(resumed, after + later));
            prop_assert_eq!(bucket.time_left(before + LATE), Bucket::default());
        }

        /// Two words of memory hold a bucket and its tag.
        #[test]
        fn words_hold_a_bucket(
            policy in policies(),
            now in 0..LATE,
            used in 0..=MAX_AMOUNT,
            tag in 0..=MAX_TAG,
        ) {
            let rate = policy.rate(1);
            let bucket = Bucket::default().charged(rate, used.min(rate.burst()), now);
            prop_assert_eq!(Bucket::from_words(bucket.to_words(tag)), (tag, bucket));
            prop_assert_eq!(Bucket::from_words([0, 0]), (0, Bucket::default()));
        }
    }
}
