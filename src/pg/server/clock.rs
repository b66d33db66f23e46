//! The clock.

use crate::pg::ffi::unguarded;
use crate::pg::types::Timestamp;

/// The current time of the machine's clock, and not the start of the transaction.
pub fn now() -> Timestamp {
    // SAFETY: reads the clock and raises no error (src/backend/utils/adt/timestamp.c).
    Timestamp::from_micros(unsafe { unguarded::GetCurrentTimestamp() })
}

/// Microseconds from the Unix epoch (1970) to PostgreSQL's (2000).
pub const UNIX_EPOCH_OFFSET: i64 = 946_684_800_000_000;
