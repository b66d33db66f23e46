//! The rate limits that apply to the calls of a key: a plan's, an account's and its own.
//!
//! Everything here is plain data, and calls nothing of the server: see
//! [`crate::pg::ffi::unguarded`].

use pure::limits::applicable::{Holder, applicable};
use pure::limits::applied::{ByText, HashedPolicies, HashedPolicy};
use pure::limits::bucket::Bucket;
use pure::limits::charge::Limit;
use pure::limits::id::{HashKey, HolderName};
use pure::limits::policies::MAX_POLICIES;
use pure::limits::policy::Rate;
use pure::limits::set::BucketId;
use pure::limits::sets::Counted;

use crate::pg::background::shmem;
use crate::pg::server::kept::Kept;
use crate::pg::server::{database, settings};
use crate::store::lookup::Limits;

/// How many policies apply to a call at most.
pub const MAX_APPLIED: usize = 3 * MAX_POLICIES;

/// Whose calls are limited.
#[derive(Clone, Copy)]
pub struct Subject<'call> {
    /// The name of the account.
    pub account: &'call [u8],
    /// The id of the key; None stands for the account alone.
    pub key: Option<[u8; 16]>,
    /// What the tables say of its limits.
    pub limits: Limits<'call>,
}

/// The policies that apply to a call of a subject, with their buckets.
#[derive(Clone, Copy)]
pub struct Applied {
    /// Those of the plan, the account and the key.
    policies: [HashedPolicies; 3],
    /// How many of the buckets below there are.
    length: usize,
    /// Their buckets, which are to be read. Those of the account come first.
    buckets: [Counted; MAX_APPLIED],
}

/// A policy that applies.
#[derive(Clone, Copy)]
pub struct AppliedPolicy {
    /// Whose calls it counts.
    pub holder: Holder,
    /// The policy with its name.
    pub policy: HashedPolicy,
}

impl Applied {
    /// The policies that apply to a subject. None if there is none, or if the library was not
    /// preloaded and nothing can be limited.
    #[inline]
    pub fn to(subject: &Subject) -> Option<Applied> {
        Applied::under(&shmem::hash_key()?, subject)
    }

    /// The policies that apply to a subject, with the buckets that a key of hashes names. None if
    /// there is none.
    pub fn under(key: &HashKey, subject: &Subject) -> Option<Applied> {
        let texts = [subject.limits.plan, subject.limits.account, subject.limits.key];
        let policies = texts.map(|texts| texts.rate_limits.map_or(HashedPolicies::NONE, parsed));
        let mut applied = Applied { policies, length: 0, buckets: [NO_BUCKET; MAX_APPLIED] };
        applied.add_buckets(subject, key);
        (applied.length > 0).then_some(applied)
    }

    fn add_buckets(&mut self, subject: &Subject, key: &HashKey) {
        let (database, servers) = (database::own(), settings::rate_limit_share());
        let hash = |name| key.holder(database, name);
        let (mut account, mut own) = (None, None);
        let [plan, of_account, of_key] = &self.policies;
        let all = applicable(plan, of_account, of_key);
        for ((holder, policy), bucket) in all.zip(&mut self.buckets) {
            let hash = match (holder, &subject.key) {
                (Holder::Key, Some(id)) => *own.get_or_insert_with(|| hash(HolderName::Key(id))),
                _ => *account.get_or_insert_with(|| hash(HolderName::Account(subject.account))),
            };
            let limit = Limit { rate: policy.named.policy.rate(servers), bucket: Bucket::FULL };
            *bucket = Counted { id: hash.bucket(policy.hash), limit };
            self.length += 1;
        }
    }

    /// The policies, in the order of their buckets.
    pub fn policies(&self) -> impl Iterator<Item = AppliedPolicy> + '_ {
        let [plan, account, key] = &self.policies;
        let all = applicable(plan, account, key);
        all.map(|(holder, policy)| AppliedPolicy { holder, policy })
    }

    /// Their buckets.
    pub fn buckets(&self) -> &[Counted] {
        self.buckets.get(..self.length).unwrap_or_default()
    }

    /// Their buckets, to be read and charged.
    pub fn buckets_mut(&mut self) -> &mut [Counted] {
        self.buckets.get_mut(..self.length).unwrap_or_default()
    }
}

/// A place without a bucket.
const NO_BUCKET: Counted = Counted {
    id: BucketId { holder: 0, policy: 0 },
    limit: Limit { rate: Rate::LEAST, bucket: Bucket::FULL },
};

/// The policies of a text.
fn parsed(text: &[u8]) -> HashedPolicies {
    static PARSED: Kept<ByText<HashedPolicies>> = Kept::new(ByText::new());
    let kept = PARSED.with(|texts| texts.get(text, HashedPolicies::parse));
    kept.unwrap_or_else(|| HashedPolicies::parse(text))
}
