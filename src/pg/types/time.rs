//! What intervals consist of.

use pgrx::pg_sys::{self, Datum};

use crate::pg::call::Call;
use crate::pg::ffi::guard::guarded;
use crate::pg::types::Interval;

impl Interval {
    /// So many seconds, in days where they are whole ones.
    pub fn of_seconds(call: &Call, seconds: u32) -> Interval {
        const DAY: u32 = 24 * 60 * 60;
        let interval = match i32::try_from(seconds / DAY) {
            Ok(day) if seconds % DAY == 0 => pg_sys::Interval { time: 0, day, month: 0 },
            _ => pg_sys::Interval { time: i64::from(seconds) * 1_000_000, day: 0, month: 0 },
        };
        // SAFETY: the closure holds plain data, and cannot panic.
        let kept = unsafe { guarded(|| call.keep_unguarded([interval].into_iter())) };
        Interval(Datum::from(kept.as_mut_ptr()))
    }
}
