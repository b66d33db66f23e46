//! The limit of what an application names itself: attempts to sign in, webhooks, password resets.
//!
//! The identifier is stored nowhere. Its bucket is found by a hash of it, of the database and of
//! the policy, under a key that only this server has.

use pure::error::{CallError, required};
use pure::limits::bucket::{Bucket, Wait};
use pure::limits::bucket_sets::Counted;
use pure::limits::id::HolderName;
use pure::limits::policy::{Policy, PolicyError, whole_seconds};
use pure::limits::rate_decision::{self, Limit, Verdict};

use crate::pg::background::shmem;
use crate::pg::call::Call;
use crate::pg::server::{clock, database};
use crate::pg::types::Interval;
use crate::usage;

/// What a call may do, and how often, as its caller says. None is null.
pub struct Asked<'call> {
    /// Who or what is limited.
    pub identifier: Option<&'call [u8]>,
    /// How many calls may pass in each period on average.
    pub amount: Option<i32>,
    /// The period.
    pub period: Option<Interval>,
    /// How many may pass at once; None is as many as in a period.
    pub burst: Option<i32>,
    /// What the call costs; None is 1.
    pub cost: Option<i32>,
}

/// The answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it passes.
    pub allowed: bool,
    /// How many calls of cost 1 would pass now.
    pub remaining: i32,
    /// After how many whole seconds the call would pass. None if it passes now, or never does.
    pub retry_after: Option<i32>,
}

/// Decides on a call, and charges what it costs if it passes. Errors: 22023 for an argument, 55000
/// where the library was not preloaded.
pub fn limit(call: &Call, asked: &Asked) -> Result<Answer, CallError> {
    let identifier = required("identifier", asked.identifier)?;
    let policy = policy(call, asked)?;
    let (sets, key) = shmem::identifier_sets().zip(shmem::hash_key()).ok_or_else(not_preloaded)?;
    let database = database::own();
    let rate = policy.rate(1);
    let id = key.holder(database, HolderName::Identifier(identifier, policy)).only_bucket();
    let mut counted = [Counted::new(id, Limit { rate, bucket: Bucket::default() })];
    let cost = rate_decision::cost_of(asked.cost);
    let decided = sets.charge(database, &mut counted, cost, clock::monotonic);
    usage::note_unenforced(decided.unstored);
    let [Counted { limit, .. }] = counted;
    let remaining = limit.bucket.remaining(rate, decided.now);
    Ok(answer(decided.verdict, remaining))
}

/// The policy that the arguments say.
fn policy(call: &Call, asked: &Asked) -> Result<Policy, CallError> {
    let amount = required("amount", asked.amount)?;
    let (months, days, micros) = required("period", asked.period)?.fields(call);
    let policy = whole_seconds(months, days, micros)
        .and_then(|period| Policy::new(amount.into(), period, asked.burst.map(i64::from)));
    policy.map_err(|error| match error {
        // A quota is of an account or a key, and nothing that this call could use.
        PolicyError::PeriodInMonths => CallError::invalid(error.to_string())
            .detail("Months differ in length.")
            .hint("Pass a period of at most 31 days."),
        PolicyError::Period => CallError::invalid(error.to_string())
            .hint("For fewer than one second, divide the amount."),
        _ => CallError::from(error),
    })
}

fn answer(verdict: Verdict, remaining: u32) -> Answer {
    let wait = match verdict {
        Verdict::Passes => Wait::None,
        Verdict::Refused { wait, .. } => wait,
    };
    let seconds = wait.seconds().filter(|_| wait != Wait::None);
    Answer {
        allowed: wait == Wait::None,
        remaining: i32::try_from(remaining).unwrap_or(i32::MAX),
        retry_after: seconds.map(|seconds| i32::try_from(seconds).unwrap_or(i32::MAX)),
    }
}

fn not_preloaded() -> CallError {
    CallError::out_of_place("this server cannot limit rates")
        .detail("The library is not in shared_preload_libraries.")
        .hint("Add vibepeak_keys to shared_preload_libraries, and restart the server.")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An application that waits as long as it is told is not refused again.
    #[test]
    fn the_wait_is_in_whole_seconds_and_rounded_up() {
        let refused = |wait| answer(Verdict::Refused { by: 0, wait }, 3);
        let seconds = |nanos| refused(Wait::Nanos(nanos)).retry_after;
        assert_eq!([1, 1_000_000_000, 1_000_000_001].map(seconds), [1, 1, 2].map(Some));
        assert_eq!(seconds(u64::MAX), Some(i32::MAX));
        let never = Answer { allowed: false, remaining: 3, retry_after: None };
        assert_eq!(refused(Wait::Forever), never);
        let passes = Answer { allowed: true, remaining: i32::MAX, retry_after: None };
        assert_eq!(answer(Verdict::Passes, u32::MAX), passes);
    }
}
