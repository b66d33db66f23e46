//! Intervals.

use pgrx::pg_sys;

use crate::pg::types::{FromRaw, Interval};

impl Interval {
    /// Its months, days and microseconds, which do not add up (src/include/datatype/timestamp.h).
    pub fn parts(self) -> (i32, i32, i64) {
        // SAFETY: an interval is a pointer to this struct, good for the call.
        let interval = unsafe { self.raw().cast_mut_ptr::<pg_sys::Interval>().read() };
        (interval.month, interval.day, interval.time)
    }
}
