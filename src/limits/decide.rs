//! The decision by limits, and the charge: both under the locks of the buckets, so that of racing
//! calls exactly as many pass as all limits allow together.
//!
//! Everything up to the header fields is unguarded: see [`crate::pg::ffi::unguarded`].

use core::iter;

use pure::answer::status::Status;
use pure::instant::Micros;
use pure::limits::bucket::{Nanos, Wait};
use pure::limits::bucket_sets::{Counted, Locked};
use pure::limits::date::iso;
use pure::limits::header_fields::{LimitState, quota_details, rate_details};
use pure::limits::policies::NamedPolicy;
use pure::limits::policy::Policy;
use pure::limits::quota_decision::{CountedQuota, refusing};
use pure::limits::rate_decision::{self, Limit, Verdict};
use serde_json::Value;

use crate::limits::rate_limits::{Applied, Policies};
use crate::limits::subject::{Hashes, Subject};
use crate::limits::{invalid_keys, quotas};
use crate::pg::background::shmem;
use crate::pg::call::Call;
use crate::pg::server::{clock, database};
use crate::usage;

/// What the limits say to a call that nothing else refuses.
#[derive(Clone, Copy)]
pub struct Decision<'call> {
    /// The answer.
    pub status: Status,
    by: By<'call>,
    /// What the call costs.
    cost: u32,
    said: Said,
}

/// What has decided.
#[derive(Clone, Copy)]
#[expect(clippy::large_enum_variant, reason = "a box has a destructor")]
enum By<'call> {
    /// The rate limits and the quotas of a plan, an account and a key.
    Subject(Policies, &'call Asked),
    /// The limit of invalid keys from one address ([`crate::limits::invalid_keys`]).
    Address(Policy, Counted),
}

/// Decides on a call of a subject, and charges what it costs if it passes. A cost of 0 is answered
/// as a cost of 1. None if nothing limits the subject here.
pub fn charge<'call>(
    call: &'call Call,
    subject: &Subject,
    cost: u32,
    now: Micros,
) -> Option<Decision<'call>> {
    decide(call, subject, cost, now, true)
}

/// The same for a caller that wants to know no more than the answer.
pub fn charge_for_status(call: &Call, subject: &Subject, cost: u32, now: Micros) -> Option<Status> {
    let mut asked = Asked::none(now);
    let holders = asked.add(subject)?;
    Some(asked.decide(call, subject, holders, cost, true)?.status())
}

/// What the decision on a call would be. Charges nothing.
pub fn peek<'call>(
    call: &'call Call,
    subject: &Subject,
    cost: u32,
    now: Micros,
) -> Option<Decision<'call>> {
    decide(call, subject, cost, now, false)
}

#[inline]
fn decide<'call>(
    call: &'call Call,
    subject: &Subject,
    cost: u32,
    now: Micros,
    is_charged: bool,
) -> Option<Decision<'call>> {
    let asked = call.keep_unguarded(iter::once_with(|| Asked::none(now))).first_mut()?;
    let holders = asked.add(subject)?;
    let said = asked.decide(call, subject, holders, cost, is_charged)?;
    let by = By::Subject(Policies::of(subject), asked);
    Some(Decision { status: said.status(), by, cost, said })
}

/// The rate limits and quotas that are asked. They are large, and so they are never moved.
#[derive(Clone, Copy)]
struct Asked {
    applied: Applied,
    quotas: quotas::Counted,
}

/// What they say.
#[derive(Clone, Copy)]
struct Said {
    /// When they did.
    now: Nanos,
    /// What the rate limits say.
    verdict: Verdict,
    /// The quota that refuses the call, if the rate limits do not.
    exceeded: Option<usize>,
}

impl Said {
    fn status(self) -> Status {
        match (self.verdict, self.exceeded) {
            (Verdict::Refused { .. }, _) => Status::RateLimited,
            (Verdict::Passes, Some(_)) => Status::QuotaExceeded,
            (Verdict::Passes, None) => Status::Valid,
        }
    }
}

impl Asked {
    /// None yet, for a call that is made now.
    #[inline(always)]
    const fn none(now: Micros) -> Asked {
        Asked { applied: Applied::none(), quotas: quotas::Counted::none(now) }
    }

    /// Adds those of a subject. Returns their one or two holders. None if there are no limits, or
    /// if the library was not preloaded, and nothing can be limited.
    #[inline]
    fn add(&mut self, subject: &Subject) -> Option<[u64; 2]> {
        let mut hashes = Hashes::under(shmem::hash_key()?);
        self.applied.add(subject, &mut hashes);
        self.quotas.add(subject, &mut hashes);
        hashes.holders()
    }

    /// Decides, and charges the call if it passes and `is_charged`. Rate limits and quotas decide
    /// under the same locks. What a quota has used in the table is read before that, while nothing
    /// is locked. None if the library was not preloaded.
    #[inline]
    fn decide(
        &mut self,
        call: &Call,
        subject: &Subject,
        holders: [u64; 2],
        cost: u32,
        is_charged: bool,
    ) -> Option<Said> {
        let (sets, database) = (shmem::quota_sets()?, database::own());
        let buckets = self.applied.buckets_mut();
        let counted = self.quotas.quotas_mut();
        sets.locks.look_up(buckets);
        sets.look_up(counted);
        let id = subject.key.unwrap_or_default();
        let mut unstored = 0;
        let mut act = |locked: Locked, counted: &mut [CountedQuota]| {
            let now = clock::monotonic();
            locked.read(buckets);
            let verdict = rate_decision::verdict(buckets, cost, now);
            let exceeded = match verdict {
                Verdict::Passes => refusing(counted, cost),
                Verdict::Refused { .. } => None,
            };
            if is_charged && exceeded.is_none() {
                rate_decision::apply(verdict, buckets, cost, now);
                // Of a refusal too: a bucket may have been emptier than its policy allows now.
                unstored = locked.store(database, buckets, now);
                if verdict == Verdict::Passes {
                    unstored += sets.charge(locked, &id, counted, cost.into());
                }
            }
            Said { now, verdict, exceeded }
        };
        let said = if counted.is_empty() {
            sets.locks.while_locked(holders, |locked| act(locked, counted))
        } else {
            let base = |each: &CountedQuota| quotas::base_unguarded(call, subject, each);
            sets.while_known(holders, counted, quotas::reading(), base, act)
        };
        if unstored > 0 {
            usage::note_unenforced(unstored);
        }
        Some(said)
    }
}

/// A limit that has counted a call, with its name.
#[derive(Clone)]
pub struct Told {
    name: String,
    limit: u64,
    window: Option<u32>,
    remaining: u64,
    reset: Option<u64>,
    wait: Wait,
}

impl Decision<'_> {
    /// The refusal of too many invalid keys from one address.
    pub(super) fn of_address(
        policy: Policy,
        counted: Counted,
        verdict: Verdict,
        now: Nanos,
    ) -> Decision<'static> {
        let said = Said { now, verdict, exceeded: None };
        Decision { status: Status::RateLimited, by: By::Address(policy, counted), cost: 1, said }
    }

    /// What the caller may know of each limit, with their names.
    pub fn told(&self) -> Vec<Told> {
        match &self.by {
            By::Subject(policies, Asked { applied, quotas }) => {
                let buckets = policies.iter().zip(applied.buckets());
                let buckets = buckets.map(|(it, counted)| {
                    let NamedPolicy { name, policy } = it.policy.named;
                    self.bucket(name.as_str(), policy, counted.limit)
                });
                let quotas_told = quotas.quotas().iter().map(|it| self.quota(it, quotas.now));
                buckets.chain(quotas_told).collect()
            }
            By::Address(policy, counted) => {
                vec![self.bucket(invalid_keys::NAME, *policy, counted.limit)]
            }
        }
    }

    fn bucket(&self, name: &str, policy: Policy, limit: Limit) -> Told {
        let Limit { rate, bucket } = limit;
        let passes = self.said.verdict == Verdict::Passes;
        Told {
            name: name.to_owned(),
            limit: policy.amount().into(),
            window: Some(policy.period()),
            remaining: bucket.remaining(rate, self.said.now).into(),
            reset: Some(bucket.reset_seconds(rate, self.said.now)),
            wait: if passes { Wait::None } else { bucket.wait(rate, self.cost, self.said.now) },
        }
    }

    fn quota(&self, quota: &CountedQuota, now: Micros) -> Told {
        let positive = |number: i64| u64::try_from(number).unwrap_or(0);
        Told {
            name: quota.name(),
            limit: positive(quota.usage.allowed),
            window: None,
            remaining: positive(quota.usage.remaining()),
            reset: quota.reset_seconds(now),
            wait: self.said.exceeded.map_or(Wait::None, |_| quota.wait(self.cost, now)),
        }
    }

    /// The details of a refusal.
    pub fn details(&self) -> Option<Value> {
        let by = match self.said.verdict {
            Verdict::Refused { by, .. } => by,
            Verdict::Passes => return self.quota_details(),
        };
        let burst = match &self.by {
            By::Subject(_, asked) => asked.applied.buckets().get(by)?.limit.rate.burst(),
            By::Address(_, counted) => counted.limit.rate.burst(),
        };
        let told = self.told();
        Some(rate_details(&told.get(by)?.state(), self.cost, burst))
    }

    fn quota_details(&self) -> Option<Value> {
        let By::Subject(_, asked) = &self.by else { return None };
        let quota = asked.quotas.quotas().get(self.said.exceeded?)?;
        let (meter, usage) = (quota.counts.meter, quota.usage);
        let resets_at = iso(quota.period_end);
        Some(quota_details(meter.as_str(), usage.allowed, usage.used(), resets_at.as_deref()))
    }
}

impl Told {
    /// It as header fields and JSON take it.
    pub fn state(&self) -> LimitState<'_> {
        let Told { name, limit, window, remaining, reset, wait } = self;
        let (limit, window, remaining, reset, wait) = (*limit, *window, *remaining, *reset, *wait);
        LimitState { name, limit, window, remaining, reset, wait }
    }
}
