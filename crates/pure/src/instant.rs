//! Instants, as every part of the crate measures them.

use crate::limits::civil::Date;

/// An instant: microseconds since 2000-01-01 00:00:00 UTC, as in PostgreSQL's `timestamptz`
/// (src/include/datatype/timestamp.h).
pub type Micros = i64;

/// An instant by ISO 8601, in UTC and whole seconds; None for `infinity` and `-infinity`.
pub fn iso(instant: Micros) -> Option<String> {
    if instant == Micros::MIN || instant == Micros::MAX {
        return None;
    }
    let seconds = instant.div_euclid(1_000_000);
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (hours, minutes) = (second / 3_600, second / 60 % 60);
    Some(format!("{}T{hours:02}:{minutes:02}:{:02}Z", Date::of(day), second % 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_shown_by_iso_8601() {
        assert_eq!(iso(0).as_deref(), Some("2000-01-01T00:00:00Z"));
        assert_eq!(iso(-1).as_deref(), Some("1999-12-31T23:59:59Z"));
        let noon = (366 * 86_400 + 12 * 3_600 + 34 * 60 + 56) * 1_000_000 + 789;
        assert_eq!(iso(noon).as_deref(), Some("2001-01-01T12:34:56Z"));
        assert_eq!((iso(Micros::MIN), iso(Micros::MAX)), (None, None));
    }
}
