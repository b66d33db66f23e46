//! The decision by limits, and the charge: both under the locks of the buckets, so that of racing
//! calls exactly as many pass as all limits allow together.
//!
//! Everything up to the header fields is plain data, and calls nothing of the server: see
//! [`crate::pg::ffi::unguarded`].

use pure::answer::status::Status;
use pure::limits::bucket::{Bucket, Nanos, Wait};
use pure::limits::charge::{self, Limit, Verdict};
use pure::limits::header_fields::{LimitState, rate_details};
use pure::limits::id::HolderName;
use pure::limits::name::Name;
use pure::limits::policy::Policy;
use pure::limits::sets::Counted;
use pure::request::network::Network;
use serde_json::Value;

use crate::limits::applied::{Applied, Subject};
use crate::pg::background::shmem;
use crate::pg::server::{clock, database, settings};
use crate::usage;

/// What the limits say to a call that nothing else refuses.
#[derive(Clone, Copy)]
pub struct Decision {
    /// The answer.
    pub status: Status,
    by: By,
    /// What the call costs.
    cost: u32,
    /// When it was decided.
    now: Nanos,
    verdict: Verdict,
}

/// What has decided.
#[derive(Clone, Copy)]
#[expect(clippy::large_enum_variant, reason = "a box has a destructor")]
enum By {
    /// The limits of a plan, an account and a key.
    Subject(Applied),
    /// The limit of invalid keys from one address.
    Address(Policy, Counted),
}

/// The name of the limit of invalid keys in an answer.
const INVALID_KEYS: &[u8] = b"invalid-keys";

/// Decides on a call of a subject, and charges what it costs if it passes. A cost of 0 is answered
/// as a cost of 1. None if nothing limits the subject here.
pub fn charge(subject: &Subject, cost: u32) -> Option<Decision> {
    let mut applied = Applied::to(subject)?;
    let (verdict, now) = charge_applied(&mut applied, cost)?;
    Some(Decision { status: status(verdict), by: By::Subject(applied), cost, now, verdict })
}

/// The same for a caller that wants to know no more than the answer.
pub fn charge_for_status(subject: &Subject, cost: u32) -> Option<Status> {
    let (verdict, _) = charge_applied(&mut Applied::to(subject)?, cost)?;
    Some(status(verdict))
}

/// Decides by the limits that apply, and charges them if the call passes. Their buckets are then
/// as the decision has left them.
#[inline]
fn charge_applied(applied: &mut Applied, cost: u32) -> Option<(Verdict, Nanos)> {
    let (sets, database) = (shmem::rate_sets()?, database::own());
    let counted = applied.buckets_mut();
    let holders = [counted.first()?, counted.last()?].map(|each| each.id.holder);
    let (verdict, now, unstored) = sets.while_locked(holders, |locked| {
        let now = clock::monotonic();
        locked.read(counted);
        // What else is counted by these holders is decided here, before the charge.
        let verdict = charge::charge(counted, cost, now);
        // Of a refusal too: a bucket may have been emptier than its policy allows now.
        (verdict, now, locked.store(database, counted, now))
    });
    if unstored > 0 {
        usage::note_unenforced(unstored);
    }
    Some((verdict, now))
}

/// What the decision on a call would be. Charges nothing.
pub fn peek(subject: &Subject, cost: u32) -> Option<Decision> {
    let sets = shmem::rate_sets()?;
    let mut applied = Applied::to(subject)?;
    let now = clock::monotonic();
    let verdict = sets.peek(applied.buckets_mut(), cost, now);
    Some(Decision { status: status(verdict), by: By::Subject(applied), cost, now, verdict })
}

/// Counts a request with an invalid key that comes from an address. A decision if too many have
/// come from there; None if not, or if nothing limits them.
pub fn charge_address(client: Network) -> Option<Decision> {
    let amount = settings::invalid_key_limit();
    let sets = shmem::identifier_sets().filter(|_| amount > 0)?;
    let (key, database) = (shmem::hash_key()?, database::own());
    let policy = Policy::new(amount.into(), 60, None).ok()?;
    let id = match client {
        Network::V4(address, _) => key.holder(database, HolderName::Client(&address)),
        // Who has one address of such a network has all of them.
        Network::V6(address, _) => key.holder(database, HolderName::Client(&address[..8])),
    };
    let limit = Limit { rate: policy.rate(1), bucket: Bucket::FULL };
    let mut counted = [Counted { id: id.only_bucket(), limit }];
    let decided = sets.charge(database, &mut counted, 1, clock::monotonic);
    if decided.unstored > 0 {
        usage::note_unenforced(decided.unstored);
    }
    let ([counted], verdict, now) = (counted, decided.verdict, decided.now);
    let by = By::Address(policy, counted);
    (verdict != Verdict::Passes).then_some(Decision {
        status: Status::RateLimited,
        by,
        cost: 1,
        now,
        verdict,
    })
}

fn status(verdict: Verdict) -> Status {
    match verdict {
        Verdict::Passes => Status::Valid,
        Verdict::Refused { .. } => Status::RateLimited,
    }
}

/// A limit that has counted a call, with its name.
#[derive(Clone, Copy)]
pub struct Told {
    name: Name,
    policy: Policy,
    limit: Limit,
}

impl Decision {
    /// The limits that have decided, with their names.
    pub fn told(&self) -> Vec<Told> {
        match &self.by {
            By::Subject(applied) => {
                let policies = applied.policies().map(|it| it.policy.named);
                let all = policies.zip(applied.buckets());
                let told = all.map(|(named, counted)| Told {
                    name: named.name,
                    policy: named.policy,
                    limit: counted.limit,
                });
                told.collect()
            }
            By::Address(policy, counted) => {
                let name = Name::parse(INVALID_KEYS).expect("the name of a policy");
                vec![Told { name, policy: *policy, limit: counted.limit }]
            }
        }
    }

    /// What the caller may know of each limit.
    pub fn states<'told>(&self, told: &'told [Told]) -> Vec<LimitState<'told>> {
        let passes = self.verdict == Verdict::Passes;
        let states = told.iter().map(|it| {
            let Limit { rate, bucket } = it.limit;
            let wait = if passes { Wait::None } else { bucket.wait(rate, self.cost, self.now) };
            LimitState {
                name: it.name.as_str(),
                limit: it.policy.amount().into(),
                window: Some(it.policy.period()),
                remaining: bucket.remaining(rate, self.now).into(),
                reset: Some(bucket.reset_seconds(rate, self.now)),
                wait,
            }
        });
        states.collect()
    }

    /// The details of a refusal, from the limits' states.
    pub fn details(&self, told: &[Told], states: &[LimitState]) -> Option<Value> {
        let Verdict::Refused { by, .. } = self.verdict else { return None };
        let burst = told.get(by)?.limit.rate.burst();
        Some(rate_details(states.get(by)?, self.cost, burst))
    }
}
