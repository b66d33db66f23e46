//! Limits that are decided and charged in the server's memory, without writing to the database.
//!
//! The buckets are in memory that all processes share ([`crate::pg::background::shmem`]), which the
//! arithmetic is not: it is in [`pure::limits`]. If the library was not preloaded, there is no such
//! memory, and nothing can be limited.

pub mod identifier;

use pure::limits::set::WAYS;
use pure::limits::sets::Sets;

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
