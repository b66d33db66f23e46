//! Buckets in memory that processes share.
//!
//! The memory is an array of sets. A set has a lock and room for a few buckets. All buckets of a
//! holder, an account or a key, are in one set, which its hash names. So the lock of a set is held
//! while the policies of a holder are decided and charged, and a call takes the locks of at most
//! two sets, always in the same order.
//!
//! A bucket that is full is as good as none, so its place is free for another. Where no place is
//! free, the call passes for that policy, and the caller counts it.
//!
//! A lock is held for some hundred instructions that cannot fail, and never while its holder waits
//! for anything but the lock of the second set. The clock is read under the lock: a process that is
//! stopped between the two would take the bucket back to the time before.

use crate::limits::bucket::Nanos;
use crate::limits::bucket_set::{BucketId, Set, Stored};
use crate::limits::rate_decision::{self, Limit, Verdict};

/// A policy that applies to a call, with the id of its bucket.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Identifies the bucket.
    pub id: BucketId,
    /// The policy and, after the decision, the bucket.
    pub limit: Limit,
    /// Where in its set the bucket is likely to be.
    likely: u8,
}

impl Counted {
    /// A policy, with the id of its bucket.
    pub const fn new(id: BucketId, limit: Limit) -> Counted {
        Counted { id, limit, likely: 0 }
    }
}

impl AsRef<Limit> for Counted {
    fn as_ref(&self) -> &Limit {
        &self.limit
    }
}

impl AsMut<Limit> for Counted {
    fn as_mut(&mut self) -> &mut Limit {
        &mut self.limit
    }
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What the policies say to it.
    pub verdict: Verdict,
    /// When they did.
    pub now: Nanos,
    /// For how many policies there was no place. They let the call pass uncounted.
    pub unstored: usize,
}

/// The sets.
#[derive(Clone, Copy)]
pub struct Sets<'memory>(pub &'memory [Set]);

/// The locks of the sets of one or two holders, which are held.
#[derive(Clone, Copy)]
pub struct Locked<'memory> {
    sets: Sets<'memory>,
    numbers: [usize; 2],
}

impl<'memory> Sets<'memory> {
    /// Decides on a call by the policies of one or two holders, and charges them if it passes.
    pub fn charge(
        self,
        database: u32,
        counted: &mut [Counted],
        cost: u32,
        clock: impl FnOnce() -> Nanos,
    ) -> Decided {
        self.look_up(counted);
        self.while_locked(holders(counted), |locked| {
            let now = clock();
            locked.read(counted);
            let verdict = rate_decision::charge(counted, cost, now);
            Decided { verdict, now, unstored: locked.store(database, counted, now) }
        })
    }

    /// Reads the buckets of policies of one or two holders, and decides as a call of this cost
    /// would be decided. Charges nothing.
    pub fn peek(self, counted: &mut [Counted], cost: u32, now: Nanos) -> Verdict {
        self.while_locked(holders(counted), |locked| locked.read(counted));
        rate_decision::verdict(counted, cost, now)
    }

    /// Looks where the buckets of policies are likely to be. So the processor fetches them while it
    /// takes the locks, and not after that.
    #[inline]
    pub fn look_up(self, counted: &mut [Counted]) {
        for each in counted {
            each.likely = self.set(each.id.holder).map_or(0, |set| set.likely(each.id));
        }
    }

    /// Runs `run` while the sets of two holders, which may be the same, are locked. It must not
    /// fail, nor wait for anything.
    pub fn while_locked<R>(self, holders: [u64; 2], run: impl FnOnce(Locked<'memory>) -> R) -> R {
        let [first, second] = holders.map(|holder| self.number(holder));
        let numbers = [first.min(second), first.max(second)];
        let locked = Locked { sets: self, numbers };
        let [lower, upper] = numbers.map(|number| self.0.get(number));
        match (lower, upper.filter(|_| first != second)) {
            (Some(lower), Some(upper)) => lower.lock.with(|| upper.lock.with(|| run(locked))),
            (Some(lower), None) => lower.lock.with(|| run(locked)),
            (None, _) => run(locked),
        }
    }

    /// Runs `run` while the set of a number is locked; None if there is no such set. It must not
    /// fail, nor wait for anything.
    pub(super) fn while_set_locked<R>(self, number: usize, run: impl FnOnce() -> R) -> Option<R> {
        self.0.get(number).map(|set| set.lock.with(run))
    }

    /// The number of the set of a holder; None if there is no set at all.
    pub(super) fn number_of(self, holder: u64) -> Option<usize> {
        Some(self.number(holder)).filter(|number| *number < self.0.len())
    }

    /// Forgets a bucket, which is full then. Returns whether it was not.
    pub fn forget(self, id: BucketId, now: Nanos) -> bool {
        let forget = |set: &Set| set.lock.with(|| set.forget(id, now));
        self.set(id.holder).is_some_and(forget)
    }

    /// Forgets the buckets of databases that were dropped.
    pub fn forget_databases(self, is_dropped: impl Fn(u32) -> bool) {
        for set in self.0 {
            set.lock.with(|| set.forget_databases(&is_dropped));
        }
    }

    /// How many buckets are not full.
    pub fn in_use(self, now: Nanos) -> usize {
        self.0.iter().map(|set| set.used(now).count()).sum()
    }

    /// The buckets that are not full, as the time that is left until they are. None if a set is
    /// locked, whose content may be half written.
    pub fn export(self, now: Nanos) -> Option<Vec<Stored>> {
        let mut exported = Vec::new();
        for set in self.0 {
            let left = |stored: Stored| Stored { bucket: stored.bucket.time_left(now), ..stored };
            set.lock.try_with(|| exported.extend(set.used(now).map(left)))?;
        }
        Some(exported)
    }

    /// Loads what was exported. Returns for how many buckets there was no place.
    pub fn import(self, exported: &[Stored], now: Nanos) -> usize {
        let load = |each: &&Stored| {
            let stored = Stored { bucket: each.bucket.resumed(now), ..**each };
            self.set(each.id.holder).is_some_and(|set| set.lock.with(|| set.store(stored, 0, now)))
        };
        exported.len() - exported.iter().filter(load).count()
    }

    /// The set of a holder; None if there is no set at all.
    pub(super) fn set(self, holder: u64) -> Option<&'memory Set> {
        self.0.get(self.number(holder))
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the result is less than the number of sets"
    )]
    fn number(self, holder: u64) -> usize {
        // The high half of a product maps evenly onto the sets.
        ((u128::from(holder) * self.0.len() as u128) >> 64) as usize
    }
}

impl<'memory> Locked<'memory> {
    /// Reads the buckets of policies of the holders.
    pub fn read(self, counted: &mut [Counted]) {
        for each in counted {
            let found = self.set(each.id).and_then(|set| set.bucket(each.id, each.likely));
            each.limit.bucket = found.unwrap_or_default();
        }
    }

    /// Stores the buckets of policies of the holders. Returns for how many there was no place.
    pub fn store(self, database: u32, counted: &[Counted], now: Nanos) -> usize {
        let is_stored = |each: &&Counted| {
            let stored = Stored { database, id: each.id, bucket: each.limit.bucket };
            self.set(each.id).is_some_and(|set| set.store(stored, each.likely, now))
        };
        counted.len() - counted.iter().filter(is_stored).count()
    }

    /// Whether the set of a holder is locked.
    pub(super) fn is_of(self, holder: u64) -> bool {
        self.numbers.contains(&self.sets.number(holder))
    }

    /// The set of a bucket, if it is locked.
    fn set(self, id: BucketId) -> Option<&'memory Set> {
        self.sets.set(id.holder).filter(|_| self.is_of(id.holder))
    }
}

/// The holders of the first and the last bucket.
fn holders(counted: &[Counted]) -> [u64; 2] {
    [counted.first(), counted.last()].map(|each| each.map_or(0, |each| each.id.holder))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use super::*;
    use crate::limits::bucket::{Bucket, Wait};
    use crate::limits::bucket_set::WAYS;
    use crate::limits::policy::Policy;
    use crate::sync::Ordering::Relaxed;

    const SECOND: Nanos = 1_000_000_000;

    fn sets(number: usize) -> Vec<Set> {
        (0..number).map(|_| Set::default()).collect()
    }

    /// Charges at a time.
    fn charge(sets: Sets, database: u32, all: &mut [Counted], cost: u32, now: Nanos) -> Decided {
        sets.charge(database, all, cost, || now)
    }

    /// The verdict on a call, and the number of policies without a place.
    fn call(sets: Sets, all: &mut [Counted], cost: u32, now: Nanos) -> (Verdict, usize) {
        let Decided { verdict, unstored, .. } = charge(sets, 1, all, cost, now);
        (verdict, unstored)
    }

    /// A number that looks like a hash.
    fn hash(number: u64) -> u64 {
        (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d)
    }

    fn counted(holder: u64, policy: u64, amount: i64, period: i64) -> Counted {
        let rate = Policy::new(amount, period, None).expect("a policy").rate(1);
        let id = BucketId { holder: hash(holder), policy: hash(holder * 1_000 + policy) };
        Counted::new(id, Limit { rate, bucket: Bucket::default() })
    }

    #[test]
    fn a_bucket_is_found_again() {
        let memory = sets(4);
        let sets = Sets(&memory);
        let mut minute = [counted(1, 1, 3, 60)];
        for _ in 0..3 {
            assert_eq!(charge(sets, 5, &mut minute, 1, SECOND).verdict, Verdict::Passes);
        }
        let verdict = charge(sets, 5, &mut minute, 1, SECOND).verdict;
        let refused = Verdict::Refused { by: 0, wait: Wait::Nanos(20 * SECOND) };
        assert_eq!((verdict, sets.peek(&mut minute, 1, SECOND)), (refused, refused));
        assert_eq!(minute[0].limit.bucket.remaining(minute[0].limit.rate, SECOND), 0);
        // Another policy, and other holders, one of them in the same set and with the same tag.
        let mut alike = minute[0];
        alike.id.holder ^= 1;
        for other in [counted(1, 2, 3, 60), counted(2, 1, 3, 60), alike] {
            assert_eq!(charge(sets, 5, &mut [other], 3, SECOND).verdict, Verdict::Passes);
        }
        assert_eq!(sets.in_use(SECOND), 4);
        assert!(sets.forget(minute[0].id, SECOND) && !sets.forget(minute[0].id, SECOND));
        assert_eq!(charge(sets, 5, &mut minute, 3, SECOND).verdict, Verdict::Passes);
        assert_eq!(sets.in_use(61 * SECOND), 0);
        sets.forget_databases(|database| database == 5);
        assert_eq!(sets.in_use(SECOND), 0);
    }

    /// G11: another process may have moved the bucket since it was looked up.
    #[test]
    fn a_bucket_is_found_wherever_it_was_expected() {
        let memory = sets(1);
        let sets = Sets(&memory);
        let mut both = [counted(1, 1, 3, 60), counted(1, 2, 3, 60)];
        assert_eq!(charge(sets, 1, &mut both, 2, SECOND).verdict, Verdict::Passes);
        for likely in 0..=u8::MAX {
            both.iter_mut().for_each(|each| each.likely = likely);
            sets.while_locked(holders(&both), |locked| {
                locked.read(&mut both);
                locked.store(1, &both, SECOND)
            });
            let remaining = both.map(|it| it.limit.bucket.remaining(it.limit.rate, SECOND));
            assert_eq!((remaining, sets.in_use(SECOND)), ([1, 1], 2), "expected at {likely}");
        }
    }

    /// G11: a process that was stopped meanwhile takes no bucket back.
    #[test]
    fn the_clock_is_read_under_the_lock() {
        let memory = sets(2);
        let mut minute = [counted(1, 1, 3, 60)];
        let number = Sets(&memory).number(minute[0].id.holder);
        let decided = Sets(&memory).charge(1, &mut minute, 1, || {
            assert!(memory[number].lock.try_with(|| ()).is_none());
            7
        });
        assert_eq!(decided, Decided { verdict: Verdict::Passes, now: 7, unstored: 0 });
    }

    /// G11: what one policy refuses consumes nothing of another.
    #[test]
    fn a_refused_call_stores_no_charge() {
        let memory = sets(4);
        let sets = Sets(&memory);
        let mut both = [counted(1, 1, 100, 60), counted(7, 1, 2, 1)];
        let passed = (0..5).filter(|_| call(sets, &mut both, 1, 0).0 == Verdict::Passes);
        assert_eq!(passed.count(), 2);
        sets.peek(&mut both, 1, 0);
        let remaining = both.map(|it| it.limit.bucket.remaining(it.limit.rate, 0));
        assert_eq!(remaining, [98, 0]);
        // A cost of 0 takes no place.
        assert_eq!(call(sets, &mut [counted(9, 1, 1, 1)], 0, 0).0, Verdict::Passes);
        assert_eq!(sets.in_use(0), 2);
    }

    #[test]
    fn a_refused_call_stores_the_pace_of_a_narrower_policy() {
        let memory = sets(4);
        let sets = Sets(&memory);
        let mut policy = [counted(1, 1, 1_000, 86_400)];
        assert_eq!(call(sets, &mut policy, 1_000, SECOND).0, Verdict::Passes);
        policy[0].limit.rate = counted(1, 1, 2, 1).limit.rate;
        assert_ne!(call(sets, &mut policy, 1, SECOND).0, Verdict::Passes);
        assert_eq!(call(sets, &mut policy, 2, 2 * SECOND).0, Verdict::Passes);
    }

    #[test]
    fn full_buckets_make_room_and_others_do_not() {
        let memory = sets(1);
        let sets = Sets(&memory);
        let one = |holder, now| call(sets, &mut [counted(holder, 1, 1, 60)], 1, now);
        for holder in 0..WAYS as u64 {
            assert_eq!(one(holder, SECOND), (Verdict::Passes, 0));
        }
        for _ in 0..2 {
            assert_eq!(one(99, SECOND), (Verdict::Passes, 1), "there is no room");
        }
        assert!((0..WAYS as u64).all(|holder| one(holder, SECOND).0 != Verdict::Passes));
        assert_eq!(one(99, 61 * SECOND), (Verdict::Passes, 0));
        assert_ne!(one(99, 61 * SECOND).0, Verdict::Passes);
    }

    #[test]
    fn a_bucket_of_another_holder_is_left_alone() {
        let memory = sets(4);
        let sets = Sets(&memory);
        let holder = |wanted| (0..).find(|it| sets.number(hash(*it)) == wanted).expect("a holder");
        let mut both = [0, 1].map(|set| counted(holder(set), 1, 1, 60));
        let account = both[0].id.holder;
        assert_eq!(rate_decision::charge(&mut both, 1, 0), Verdict::Passes);
        let stored = sets.while_locked([account; 2], |locked| locked.store(1, &both, 0));
        assert_eq!((stored, sets.in_use(0)), (1, 1));
        sets.while_locked([account; 2], |locked| locked.read(&mut both));
        assert_eq!(both[1].limit.bucket, Bucket::default());
    }

    #[test]
    fn without_sets_every_call_passes() {
        let mut minute = [counted(1, 1, 1, 60)];
        for _ in 0..2 {
            assert_eq!(call(Sets(&[]), &mut minute, 1, 0), (Verdict::Passes, 1));
        }
        assert_eq!(call(Sets(&[]), &mut [], 1, 0), (Verdict::Passes, 0));
    }

    #[test]
    fn buckets_outlive_a_restart_of_the_clock() {
        let (memory, other) = (sets(4), sets(9));
        let (before, after) = (Sets(&memory), Sets(&other));
        for holder in 0..20 {
            charge(before, holder as u32, &mut [counted(holder, 1, 4, 60)], 3, 500 * SECOND);
        }
        let exported = before.export(510 * SECOND).expect("no set is locked");
        assert_eq!(exported.len(), 20);
        assert_eq!(after.import(&exported, SECOND), 0);
        for holder in 0..20 {
            let mut minute = [counted(holder, 1, 4, 60)];
            let now = SECOND + 5 * SECOND;
            assert_eq!(after.peek(&mut minute, 1, now), Verdict::Passes);
            assert_eq!(minute[0].limit.bucket.remaining(minute[0].limit.rate, now), 2);
        }
        assert_eq!(after.export(SECOND).map(|it| it.len()), Some(20));
        memory[0].lock.with(|| assert_eq!(before.export(0), None));
        assert!(Sets(&[]).import(&exported, 0) == 20);
    }

    /// G11: of racing calls exactly as many pass as the policies allow together, with keys of their
    /// own sets in either order of locks.
    #[test]
    fn exactly_as_many_racing_calls_pass_as_all_policies_allow() {
        const THREADS: usize = 8;
        const CALLS: usize = 20_000;
        let memory = sets(3);
        let sets = Sets(&memory);
        let passed: [AtomicUsize; 4] = core::array::from_fn(|_| AtomicUsize::new(0));
        let start = Barrier::new(THREADS);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (passed, start) = (&passed, &start);
                scope.spawn(move || {
                    start.wait();
                    for turn in 0..CALLS {
                        let key = (turn + thread) % 4;
                        // Two policies of the account, and one of each of its keys.
                        let mut all = [
                            counted(1, 1, 150_000, 86_400),
                            counted(1, 2, 120_000, 86_400),
                            counted(10 + key as u64, 1, 35_000, 86_400),
                        ];
                        let (verdict, unstored) = call(sets, &mut all, 1, SECOND);
                        assert_eq!(unstored, 0);
                        if verdict == Verdict::Passes {
                            passed[key].fetch_add(1, Relaxed);
                        }
                    }
                });
            }
        });
        let passed = passed.map(|it| it.into_inner());
        assert_eq!(passed.iter().sum::<usize>(), 120_000);
        let mut account = [counted(1, 1, 150_000, 86_400), counted(1, 2, 120_000, 86_400)];
        sets.peek(&mut account, 1, SECOND);
        let remaining = account.map(|it| it.limit.bucket.remaining(it.limit.rate, SECOND));
        assert_eq!(remaining, [30_000, 0]);
        for (key, passed) in passed.iter().enumerate() {
            let mut own = [counted(10 + key as u64, 1, 35_000, 86_400)];
            sets.peek(&mut own, 1, SECOND);
            let remaining = own[0].limit.bucket.remaining(own[0].limit.rate, SECOND);
            assert!(*passed <= 35_000);
            assert_eq!(remaining as usize, 35_000 - passed);
        }
    }
}
