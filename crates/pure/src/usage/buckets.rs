//! The buckets of usage over time, as instants at which they begin, in UTC.

use crate::error::CallError;
use crate::instant::Micros;
use crate::limits::date::Date;
use crate::usage::history::{DAY, HOUR, day_of, first_of_hours, hour_of};

/// How long a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many hours, which divide a day.
    Hours(i64),
    /// So many days.
    Days(i64),
    /// So many months, which divide a year.
    Months(i64),
}

impl Length {
    /// One hour.
    pub const HOUR: Length = Length::Hours(1);

    /// The length of an interval of so many months, days and microseconds. 22023 where it is of
    /// another kind.
    pub fn new(months: i32, days: i32, micros: i64) -> Result<Length, CallError> {
        let months = i64::from(months);
        let in_days = i64::from(days).checked_mul(DAY).and_then(|days| days.checked_add(micros));
        let length = match (months, in_days) {
            (0, Some(length))
                if (HOUR..DAY).contains(&length) && DAY % length == 0 && length % HOUR == 0 =>
            {
                Some(Length::Hours(length / HOUR))
            }
            (0, Some(length)) if length >= DAY && length % DAY == 0 => {
                Some(Length::Days(length / DAY))
            }
            (1..=12, Some(0)) if 12 % months == 0 => Some(Length::Months(months)),
            _ => None,
        };
        length.ok_or_else(|| {
            CallError::invalid("bucket is not a length that buckets can have")
                .detail("Usage is counted by the hour, and before the last 8 days by the day.")
                .hint(
                    "Pass whole hours that divide a day, whole days, or months that divide a year.",
                )
        })
    }

    /// When the bucket of an instant begins. Days are counted from 2001-01-01 on, a Monday.
    fn start(self, at: Micros) -> Micros {
        const MONDAY: Micros = 366 * DAY;
        match self {
            Length::Hours(hours) => at - at.rem_euclid(hours * HOUR),
            Length::Days(days) => at - (at - MONDAY).rem_euclid(days.saturating_mul(DAY)),
            Length::Months(months) => {
                let date = Date::of(day_of(at) / DAY);
                let month = date.month_number();
                let first = Date { day: 1, ..date }.after_months(-month.rem_euclid(months));
                first.to_day() * DAY
            }
        }
    }

    /// When the bucket after one that begins at this instant begins.
    fn next(self, start: Micros) -> Micros {
        match self {
            Length::Hours(hours) => start.saturating_add(hours * HOUR),
            Length::Days(days) => start.saturating_add(days.saturating_mul(DAY)),
            Length::Months(months) => Date::of(start / DAY).after_months(months).to_day() * DAY,
        }
    }
}

/// A range of time.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// It begins with the bucket of this instant; None is the beginning of the history.
    pub since: Option<Micros>,
    /// It ends before the hour that begins at or after this instant; None is now.
    pub until: Option<Micros>,
    /// The current time.
    pub now: Micros,
    /// The length of the history, in microseconds; 0 is none.
    pub kept: i64,
}

impl Range {
    /// The instant before which its hours begin, which is after now by an hour at most.
    pub fn end(&self) -> Micros {
        let until = self.until.unwrap_or(Micros::MAX).min(self.now.saturating_add(1));
        hour_of(until.saturating_sub(1)).saturating_add(HOUR)
    }

    /// When its buckets begin, in order. Where days have no hours any more, a bucket is a day at
    /// least. None where there is no history. 22023 where it ends before it begins.
    pub fn starts(&self, length: Length) -> Result<Vec<Micros>, CallError> {
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since >= until
        {
            return Err(CallError::invalid("until must be after since")
                .hint("Leave until out for all that has happened since."));
        }
        if self.kept == 0 {
            return Ok(Vec::new());
        }
        let (end, hours) = (self.end(), first_of_hours(self.now));
        let first = day_of(self.now.saturating_sub(self.kept));
        let since = self.since.unwrap_or(first).max(first);
        let mut starts = Vec::new();
        let mut fill = |length: Length, from: Micros, end: Micros| {
            let mut start = length.start(from);
            while start < end {
                starts.push(start);
                start = length.next(start);
            }
        };
        if since >= end {
            return Ok(starts);
        }
        match length {
            Length::Hours(_) => {
                if since < hours {
                    fill(Length::Days(1), since, hours.min(end));
                }
                fill(length, since.max(hours), end);
            }
            Length::Days(_) | Length::Months(_) => fill(length, since, end),
        }
        Ok(starts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Condition;

    /// 2026-11-30 07:30 UTC, a Monday.
    const NOW: Micros = 9_830 * DAY + 7 * HOUR + HOUR / 2;

    fn starts(since: Option<Micros>, until: Option<Micros>, length: Length) -> Vec<Micros> {
        let range = Range { since, until, now: NOW, kept: 90 * DAY };
        range.starts(length).expect("a range")
    }

    fn date(at: Micros) -> (i64, i64, i64) {
        let Date { year, month, day } = Date::of(at / DAY);
        (year, month, day)
    }

    #[test]
    fn lengths_are_hours_days_or_months() {
        assert_eq!(date(NOW), (2026, 11, 30));
        let of = |months, days, micros| Length::new(months, days, micros).ok();
        assert_eq!(of(0, 0, HOUR), Some(Length::HOUR));
        assert_eq!(of(0, 0, 6 * HOUR), Some(Length::Hours(6)));
        assert_eq!([of(0, 1, 0), of(0, 0, DAY)], [Some(Length::Days(1)); 2]);
        assert_eq!(of(0, 7, 0), Some(Length::Days(7)));
        assert_eq!([of(1, 0, 0), of(12, 0, 0)].map(|it| it.is_some()), [true; 2]);
        for (months, days, micros) in [
            (0, 0, 0),
            (0, 0, HOUR / 2),
            (0, 0, HOUR + HOUR / 2),
            (0, 0, 5 * HOUR),
            (0, 1, HOUR),
            (0, -1, 0),
            (0, 2, -DAY - HOUR * 5),
            (1, 1, 0),
            (5, 0, 0),
            (24, 0, 0),
            (-1, 0, 0),
            (0, i32::MAX, i64::MAX),
        ] {
            let error = Length::new(months, days, micros).expect_err("an error").condition;
            assert_eq!(error, Condition::InvalidParameterValue, "{months} {days} {micros}");
        }
    }

    #[test]
    fn the_first_bucket_is_the_one_of_since_and_the_last_the_one_before_until() {
        let hour = hour_of(NOW);
        assert_eq!(starts(Some(NOW - HOUR), None, Length::HOUR), [hour - HOUR, hour]);
        assert_eq!(starts(Some(NOW - HOUR), Some(hour), Length::HOUR), [hour - HOUR]);
        assert_eq!(starts(Some(NOW - HOUR), Some(hour + 1), Length::HOUR), [hour - HOUR, hour]);
        assert_eq!(starts(Some(NOW), Some(Micros::MAX), Length::HOUR), [hour]);
        assert_eq!(starts(Some(NOW + DAY), None, Length::HOUR), [0; 0]);
        let day = day_of(NOW);
        assert_eq!(starts(Some(NOW), None, Length::Hours(6)), [day + 6 * HOUR]);
        assert_eq!(starts(Some(NOW), None, Length::Days(7)), [day], "weeks begin on Mondays");
        assert_eq!(starts(Some(NOW - DAY), None, Length::Days(7)), [day - 7 * DAY, day]);
        let months = starts(Some(NOW - 40 * DAY), None, Length::Months(1));
        assert_eq!(
            months.iter().map(|at| date(*at)).collect::<Vec<_>>(),
            [(2026, 10, 1), (2026, 11, 1)]
        );
        let quarter = starts(Some(NOW), None, Length::Months(3));
        assert_eq!(quarter.iter().map(|at| date(*at)).collect::<Vec<_>>(), [(2026, 10, 1)]);
    }

    #[test]
    fn days_without_hours_are_buckets_of_a_day() {
        let all = starts(None, None, Length::HOUR);
        let hours = first_of_hours(NOW);
        assert_eq!(all.first(), Some(&(day_of(NOW) - 90 * DAY)));
        assert_eq!(all.iter().filter(|start| **start < hours).count(), 82);
        assert_eq!(all.iter().filter(|start| **start >= hours).count(), 8 * 24 + 8);
        assert!(all.is_sorted() && all.iter().all(|start| hour_of(*start) == *start));
        assert_eq!(starts(Some(Micros::MIN), None, Length::HOUR), all);
        assert_eq!(starts(None, None, Length::Days(1)).len(), 91);
    }

    #[test]
    fn without_a_history_there_are_none_and_a_range_ends_after_it_begins() {
        let range = Range { since: None, until: None, now: NOW, kept: 0 };
        assert_eq!(range.starts(Length::HOUR).expect("a range"), [0; 0]);
        for until in [NOW, NOW - 1] {
            let range = Range { since: Some(NOW), until: Some(until), now: NOW, kept: DAY };
            let error = range.starts(Length::HOUR).expect_err("an error").condition;
            assert_eq!(error, Condition::InvalidParameterValue);
        }
    }
}
