//! The rate limits that apply to the calls of a key: a plan's, an account's and its own.
//!
//! Everything here is plain data, and calls nothing of the server: see
//! [`crate::pg::ffi::unguarded`].

use pure::limits::applicable::{Holder, applicable};
use pure::limits::bucket::Bucket;
use pure::limits::bucket_sets::Counted;
use pure::limits::by_text::{ByText, HashedPolicies, HashedPolicy};
use pure::limits::id::HashKey;
use pure::limits::policies::MAX_POLICIES;
use pure::limits::rate_decision::Limit;

use crate::limits::subject::{Hashes, Subject};
use crate::pg::background::shmem;
use crate::pg::list::List;
use crate::pg::server::kept::Kept;
use crate::pg::server::settings;

/// How many policies apply to a call at most.
pub const MAX_APPLIED: usize = 3 * MAX_POLICIES;

/// The buckets of the policies that apply to a call of a subject.
#[derive(Clone, Copy)]
pub struct Applied {
    /// The buckets, which are to be read. Those of the account come first.
    buckets: List<Counted, MAX_APPLIED>,
}

/// The policies that apply to a call of a subject.
#[derive(Clone, Copy)]
pub struct Policies([HashedPolicies; 3]);

/// A policy that applies.
#[derive(Clone, Copy)]
pub struct AppliedPolicy {
    /// Whose calls it counts.
    pub holder: Holder,
    /// The policy with its name.
    pub policy: HashedPolicy,
}

impl Policies {
    /// Those that apply to a subject.
    pub fn of(subject: &Subject) -> Policies {
        let mut policies = Policies([HashedPolicies::NONE; 3]);
        for (parsed, text) in policies.0.iter_mut().zip(subject.rate_limits()) {
            if let Some(text) = text {
                with_parsed(text, |policies| *parsed = *policies);
            }
        }
        policies
    }

    /// The policies, in the order of their buckets.
    pub fn iter(&self) -> impl Iterator<Item = AppliedPolicy> + '_ {
        let [plan, account, key] = &self.0;
        let all = applicable(plan, account, key);
        all.map(|(holder, policy)| AppliedPolicy { holder, policy })
    }
}

impl Applied {
    /// No bucket.
    #[inline(always)]
    pub const fn none() -> Applied {
        Applied { buckets: List::new() }
    }

    /// The buckets of a subject. None if there is none, or if the library was not preloaded and
    /// nothing can be limited.
    pub fn to(subject: &Subject) -> Option<Applied> {
        Applied::under(shmem::hash_key()?, subject)
    }

    /// The buckets of a subject, as a key of hashes names them. None if there is none.
    pub fn under(key: HashKey, subject: &Subject) -> Option<Applied> {
        let mut applied = Applied::none();
        applied.add(subject, &mut Hashes::under(key));
        (!applied.buckets().is_empty()).then_some(applied)
    }

    /// Adds the buckets of a subject.
    #[inline]
    pub fn add(&mut self, subject: &Subject, hashes: &mut Hashes) {
        let servers = settings::rate_limit_share();
        let mut add = |holder, policy: &HashedPolicy| {
            let limit = Limit { rate: policy.named.policy.rate(servers), bucket: Bucket::FULL };
            let id = hashes.of(holder, subject).bucket(policy.hash);
            self.buckets.push(Counted::new(id, limit));
        };
        match subject.rate_limits() {
            [None, None, None] => {}
            // Nothing replaces them. A copy of the policies would cost as much as the decision.
            [Some(text), None, None] | [None, Some(text), None] => with_parsed(text, |policies| {
                policies.iter().for_each(|policy| add(Holder::Account, &policy));
            }),
            _ => Policies::of(subject).iter().for_each(|it| add(it.holder, &it.policy)),
        }
    }

    /// The buckets.
    pub fn buckets(&self) -> &[Counted] {
        self.buckets.as_slice()
    }

    /// The buckets, to be read and charged.
    pub fn buckets_mut(&mut self) -> &mut [Counted] {
        self.buckets.as_mut_slice()
    }
}

/// Runs `run` with the policies of a text, which a session keeps. It should call nothing of the
/// server.
#[inline]
fn with_parsed(text: &[u8], mut run: impl FnMut(&HashedPolicies)) {
    static PARSED: Kept<ByText<HashedPolicies>> = Kept::new(ByText::new());
    if PARSED.with(|texts| texts.find(text).map(&mut run)).flatten().is_none() {
        let policies = HashedPolicies::parse(text);
        PARSED.with(|texts| texts.set(text, policies));
        run(&policies);
    }
}
