//! Every interleaving of two calls, and of a call with a flush, up to a number of preemptions. Only
//! loom can run these tests: see tools/test/loom.

use std::sync::Arc;

use loom::model::Builder;
use loom::thread;

use crate::limits::applicable::Holder;
use crate::limits::bucket::Bucket;
use crate::limits::bucket_set::{BucketId, Set};
use crate::limits::bucket_sets::{Counted, Sets};
use crate::limits::name::Name;
use crate::limits::policy::Policy;
use crate::limits::quota_decision::{CountedQuota, Counts, refusing};
use crate::limits::quota_period::Span;
use crate::limits::quota_set::{MaxAge, QuotaSet, Reading};
use crate::limits::quota_sets::QuotaSets;
use crate::limits::quotas::Usage;
use crate::limits::rate_decision::{Limit, Verdict};
use crate::sync::AtomicI64;
use crate::sync::Ordering::{Acquire, Release};

/// A policy of the holder of a set of two, with a bucket for so many calls.
fn counted(set: u64, calls: i64) -> Counted {
    let rate = Policy::new(calls, 60, None).expect("a policy").rate(1);
    let id = BucketId { holder: set << 63, policy: 7 };
    Counted::new(id, Limit { rate, bucket: Bucket::default() })
}

/// G11: one of two calls passes: the account has room for both, and the key that both use for one.
/// The sets are named in either order.
#[test]
fn calls_are_decided_one_after_the_other() {
    let mut model = Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let memory: Arc<[Set; 2]> = Arc::default();
        let call = |memory: &[Set], mut all: [Counted; 2]| {
            u32::from(Sets(memory).charge(1, &mut all, 1, || 0).verdict == Verdict::Passes)
        };
        let (account, key) = (counted(0, 2), counted(1, 1));
        let others = Arc::clone(&memory);
        let other = thread::spawn(move || call(&others[..], [account, key]));
        let own = call(&memory[..], [key, account]);
        assert_eq!(own + other.join().expect("a thread"), 1);
        let mut left = [account, key];
        Sets(&memory[..]).peek(&mut left, 1, 0);
        assert_eq!(left.map(|it| it.limit.bucket.remaining(it.limit.rate, 0)), [1, 0]);
    });
}

const READING: Reading = Reading {
    database: 1,
    now: 1,
    max_age: MaxAge { idle: u32::MAX, pending: u32::MAX },
    over: i64::MIN,
};

/// A set with a slot for one of two quotas, and the table of both.
#[derive(Default)]
struct Shared {
    lock: [Set; 1],
    slot: [QuotaSet; 1],
    table: [AtomicI64; 2],
}

impl Shared {
    fn quotas(&self) -> QuotaSets<'_> {
        QuotaSets { locks: Sets(&self.lock), sets: &self.slot }
    }

    fn quota(number: u64) -> CountedQuota {
        CountedQuota {
            id: BucketId { holder: 0, policy: number << 8 },
            counts: Counts {
                holder: Holder::Account,
                meter: Name::parse(b"calls").expect("a name"),
                span: Span::Day,
                period_start: 0,
            },
            warn_from: 0,
            is_charged: true,
            period_end: 1,
            renewed: 1,
            usage: Usage { allowed: 1, base: 0, pending: 0 },
            likely: 0,
        }
    }

    /// What a call does. Returns whether it was charged: it is not if it is refused, or if the
    /// other quota keeps the slot.
    fn call(&self, number: u64) -> bool {
        let (quotas, mut all) = (self.quotas(), [Shared::quota(number)]);
        let base = |_: &CountedQuota| self.table[usize::from(number == 1)].load(Acquire);
        quotas.while_known([0; 2], &mut all, READING, base, |locked, counted| {
            refusing(counted, 1).is_none() && quotas.charge(locked, &[7; 16], counted, 1) == 0
        })
    }

    fn flush(&self) {
        let (quotas, mut used) = (self.quotas(), [0; 1]);
        let (batch, _) = quotas.collect(1, 0, 10);
        for charge in &batch {
            let row = &self.table[usize::from(charge.id.policy != 0)];
            used[0] = row.load(Acquire) + charge.amount;
            row.store(used[0], Release);
        }
        quotas.settle(batch.iter().zip(used), 1);
    }
}

/// G12: two calls find a quota for one, while flushes run and another quota takes the slot. At most
/// one of them passes, and the table has what has passed.
#[test]
fn a_quota_is_exact_while_it_is_flushed_and_its_slot_is_taken() {
    let mut model = Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let shared: Arc<Shared> = Arc::default();
        let others = Arc::clone(&shared);
        let other = thread::spawn(move || {
            let passed = others.call(0);
            others.flush();
            others.call(1);
            others.flush();
            passed
        });
        let own = shared.call(0);
        let passed = i64::from(own) + i64::from(other.join().expect("a thread"));
        shared.flush();
        assert_eq!(passed, shared.table[0].load(Acquire));
        assert!(passed <= 1, "{passed}");
    });
}
