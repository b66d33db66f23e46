//! What intervals and dates consist of.

use pgrx::pg_sys::{self, Datum};

use crate::pg::call::Call;
use crate::pg::ffi::guard::guarded;
use crate::pg::types::{Date, Interval};

impl Interval {
    /// Its months, days and microseconds (src/include/datatype/timestamp.h).
    pub fn fields(self, _: &Call) -> (i32, i32, i64) {
        // SAFETY: an interval is a pointer to this, and good for the call.
        let pg_sys::Interval { time, day, month } =
            unsafe { *self.0.cast_mut_ptr::<pg_sys::Interval>() };
        (month, day, time)
    }

    /// So many seconds, in days where they are whole ones.
    pub fn of_seconds(call: &Call, seconds: u32) -> Interval {
        const DAY: u32 = 24 * 60 * 60;
        let interval = match i32::try_from(seconds / DAY) {
            Ok(day) if seconds.is_multiple_of(DAY) => pg_sys::Interval { time: 0, day, month: 0 },
            _ => pg_sys::Interval { time: i64::from(seconds) * 1_000_000, day: 0, month: 0 },
        };
        // SAFETY: the closure holds plain data, and cannot panic.
        let kept = unsafe { guarded(|| call.keep_unguarded([interval].iter().copied())) };
        Interval(Datum::from(kept.as_mut_ptr()))
    }
}

impl Date {
    /// The days since 2000-01-01; those of `infinity` and `-infinity` are the ends of an `i32`
    /// (src/include/utils/date.h).
    pub fn to_day(self) -> i64 {
        i64::from(self.0.value() as i32)
    }

    /// The date that is so many days after 2000-01-01, where the server has such a date.
    pub fn of_day(day: i64) -> Option<Date> {
        i32::try_from(day).ok().map(|day| Date(Datum::from(day)))
    }
}
