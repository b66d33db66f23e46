//! Limits that are decided and charged in the server's memory, without writing to the database.
//!
//! The buckets are in memory that all processes share ([`crate::pg::background::shmem`]), which the
//! arithmetic is not: it is in [`pure::limits`]. If the library was not preloaded, there is no such
//! memory, and nothing can be limited.
//!
//! A charge stays if the transaction rolls back. What follows the transaction is in [`changes`].

pub mod changes;
pub mod decide;
pub mod handover;
pub mod identifier;
pub mod invalid_keys;
pub mod quotas;
pub mod rate_limits;
pub mod subject;
pub mod used;

use pure::limits::bucket_set::WAYS;
use pure::limits::bucket_sets::Sets;

use crate::limits::rate_limits::{Applied, AppliedPolicy, Policies};
use crate::limits::subject::Subject;
use crate::pg::background::shmem;
use crate::pg::server::clock;

/// The room for buckets.
#[derive(Clone, Copy)]
pub struct Room {
    /// For those of accounts and keys.
    pub rates: Slots,
    /// For those of identifiers and client addresses.
    pub identifiers: Slots,
}

/// The slots of one kind of buckets.
#[derive(Clone, Copy)]
pub struct Slots {
    /// How many there are.
    pub total: usize,
    /// How many are taken: those of buckets that are not full.
    pub taken: usize,
}

/// The room for buckets; None if the library was not preloaded.
pub fn room() -> Option<Room> {
    let now = clock::monotonic();
    let slots = |sets: Sets| Slots { total: sets.0.len() * WAYS, taken: sets.in_use(now) };
    let (rates, identifiers) = shmem::rate_sets().zip(shmem::identifier_sets())?;
    Some(Room { rates: slots(rates), identifiers: slots(identifiers) })
}

/// What is left of a limit.
#[derive(Clone, Copy)]
pub struct Left {
    /// How many calls of cost 1 would pass now.
    pub remaining: u32,
    /// When all of it is there again, in seconds from now.
    pub resets_in: u32,
}

/// What is left of each limit, in order; None if the library was not preloaded.
pub fn left(mut applied: Applied) -> Option<Vec<Left>> {
    let now = clock::monotonic();
    shmem::rate_sets()?.peek(applied.buckets_mut(), 1, now);
    let left = applied.buckets().iter().map(|it| Left {
        remaining: it.limit.bucket.remaining(it.limit.rate, now),
        resets_in: it.limit.bucket.reset_seconds(it.limit.rate, now).try_into().unwrap_or(u32::MAX),
    });
    Some(left.collect())
}

/// Gives back what is used of some limits of a subject. Returns of how many something was used.
pub fn forget(subject: &Subject, is_meant: impl Fn(AppliedPolicy) -> bool) -> usize {
    let Some((sets, applied)) = shmem::rate_sets().zip(Applied::to(subject)) else { return 0 };
    let now = clock::monotonic();
    let policies = Policies::of(subject);
    let all = policies.iter().zip(applied.buckets());
    all.filter(|(policy, bucket)| is_meant(*policy) && sets.forget(bucket.id, now)).count()
}
