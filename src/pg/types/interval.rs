//! `interval` by its fields.

use pgrx::pg_sys;

use crate::pg::call::Call;
use crate::pg::types::Interval;

impl Interval {
    /// Its months, days and microseconds (src/include/datatype/timestamp.h).
    pub fn fields(self, _: &Call) -> (i32, i32, i64) {
        // SAFETY: an interval is a pointer to this, and good for the call.
        let pg_sys::Interval { time, day, month } =
            unsafe { *self.0.cast_mut_ptr::<pg_sys::Interval>() };
        (month, day, time)
    }
}
