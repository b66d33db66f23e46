//! The clock.

use pure::limits::bucket::Nanos;

use crate::pg::ffi::unguarded;
use crate::pg::types::Timestamp;

/// The current time of the machine's clock, and not the start of the transaction.
pub fn now() -> Timestamp {
    // SAFETY: reads the clock and raises no error (src/backend/utils/adt/timestamp.c).
    Timestamp::from_micros(unsafe { unguarded::GetCurrentTimestamp() })
}

/// When the server was started.
pub fn server_start() -> Timestamp {
    // SAFETY: reads a variable, which the postmaster has set (src/backend/utils/adt/timestamp.c).
    Timestamp::from_micros(unsafe { pgrx::pg_sys::PgStartTime })
}

/// The time of a clock that never goes back, in nanoseconds since a start that all processes of the
/// machine share. Setting the machine's clock does not change it. It starts anew with the machine.
///
/// It calls nothing of the server, and cannot fail: it may be called while a spin lock is held.
pub fn monotonic() -> Nanos {
    let time = time_of(libc::CLOCK_MONOTONIC);
    time.tv_sec as Nanos * 1_000_000_000 + time.tv_nsec as Nanos
}

/// The same time in seconds, a few milliseconds late at most. It begins again after 136 years.
pub fn monotonic_seconds() -> u32 {
    // Linux reads the counter of the processor for the other clock, which takes several times as
    // long.
    #[cfg(target_os = "linux")]
    let clock = libc::CLOCK_MONOTONIC_COARSE;
    #[cfg(not(target_os = "linux"))]
    let clock = libc::CLOCK_MONOTONIC;
    time_of(clock).tv_sec as u32
}

fn time_of(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the function writes the time to where the pointer says, and the system has each of
    // the clocks that are used above, which a process may always read.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time
}

/// Microseconds from the Unix epoch (1970) to PostgreSQL's (2000).
pub const UNIX_EPOCH_OFFSET: i64 = 946_684_800_000_000;
