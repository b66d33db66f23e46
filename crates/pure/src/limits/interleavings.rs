//! Every interleaving of two calls, up to a number of preemptions. Only loom can run these tests:
//! see tools/test/loom.

use std::sync::Arc;

use loom::model::Builder;
use loom::thread;

use crate::limits::bucket::Bucket;
use crate::limits::charge::{Limit, Verdict};
use crate::limits::policy::Policy;
use crate::limits::set::{BucketId, Set};
use crate::limits::sets::{Counted, Sets};

/// A policy of the holder of a set of two, with a bucket for so many calls.
fn counted(set: u64, calls: i64) -> Counted {
    let rate = Policy::new(calls, 60, None).expect("a policy").rate(1);
    let id = BucketId { holder: set << 63, policy: 7 };
    Counted { id, limit: Limit { rate, bucket: Bucket::default() } }
}

/// One of two calls passes: the account has room for both, and the key that both use for one. The
/// sets are named in either order.
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
