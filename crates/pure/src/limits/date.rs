//! Dates of the Gregorian calendar, as days from 2000-01-01 on: PostgreSQL's `date`.

use crate::instant::Micros;

/// A date: the number of days since 2000-01-01.
pub type Day = i64;

/// The days from the first of March of the year 0 to 2000-01-01.
const TO_2000: i64 = 730_425;
/// The days of 400 years.
const DAYS_OF_400_YEARS: i64 = 146_097;

/// A date as a year, a month from 1 to 12 and a day of the month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// The year; 0 is the year before the year 1.
    pub year: i64,
    /// The month, from 1 on.
    pub month: i64,
    /// The day of the month, from 1 on.
    pub day: i64,
}

impl Date {
    /// The date of a day. A year begins with March here, so that a leap day is its last.
    pub const fn of(day: Day) -> Date {
        let day = day.saturating_add(TO_2000);
        let (cycle, of_cycle) =
            (day.div_euclid(DAYS_OF_400_YEARS), day.rem_euclid(DAYS_OF_400_YEARS));
        let leap_days = of_cycle / 1_460 - of_cycle / 36_524 + of_cycle / 146_096;
        let year = (of_cycle - leap_days) / 365;
        let of_year = of_cycle - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (month, carried) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        Date { year: cycle * 400 + year + carried, month, day }
    }

    /// The day of the date.
    pub const fn to_day(self) -> Day {
        let year = self.year.saturating_sub((self.month <= 2) as i64);
        let (cycle, year) = (year.div_euclid(400), year.rem_euclid(400));
        let month = (self.month + 9) % 12;
        let of_year = (153 * month + 2) / 5 + self.day - 1;
        let days = 365 * year + year / 4 - year / 100 + of_year;
        cycle.saturating_mul(DAYS_OF_400_YEARS).saturating_add(days - TO_2000)
    }

    /// The date so many months later: the same day of its month, or else the month's last.
    pub fn after_months(self, months: i64) -> Date {
        let month = self.month_number().saturating_add(months);
        let first = Date::of_month_number(month);
        let next = Date::of_month_number(month.saturating_add(1));
        let length = next.to_day() - first.to_day();
        Date { day: self.day.min(length), ..first }
    }

    /// The number of the month since the beginning of the year 0.
    pub const fn month_number(self) -> i64 {
        self.year.saturating_mul(12).saturating_add(self.month - 1)
    }

    /// The first day of a month.
    const fn of_month_number(number: i64) -> Date {
        Date { year: number.div_euclid(12), month: number.rem_euclid(12) + 1, day: 1 }
    }

    /// The date in a text of the form `2026-01-31`, if there is such a date.
    pub fn parse(text: &[u8]) -> Option<Date> {
        let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *text else { return None };
        let number = |digits: &[u8]| {
            let add = |number, digit: &u8| {
                digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
            };
            digits.iter().try_fold(0, add)
        };
        let date = Date {
            year: number(&[y1, y2, y3, y4])?,
            month: number(&[m1, m2])?,
            day: number(&[d1, d2])?,
        };
        // The same again, if there is such a date.
        let exists = (1..=12).contains(&date.month) && Date::of(date.to_day()) == date;
        exists.then_some(date)
    }
}

impl core::fmt::Display for Date {
    fn fmt(&self, formatter: &mut core::fmt::Formatter) -> core::fmt::Result {
        write!(formatter, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

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
    use proptest::prelude::*;

    use super::*;

    fn date(text: &str) -> Date {
        Date::parse(text.as_bytes()).expect("a date")
    }

    #[test]
    fn dates_that_are_known() {
        for (text, day) in [
            ("2000-01-01", 0),
            ("1970-01-01", -10_957),
            ("2000-02-29", 59),
            ("2001-01-01", 366),
            ("2026-11-29", 9_829),
            ("9999-12-31", 2_921_939),
            ("0000-03-01", -730_425),
        ] {
            assert_eq!((date(text).to_day(), Date::of(day)), (day, date(text)), "{text}");
        }
        for text in ["2026-02-29", "2026-13-01", "2026-00-01", "2026-04-31", "2026-1-1", "", "x"] {
            assert_eq!(Date::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn months_are_counted_from_the_date() {
        let anchor = date("2024-01-31");
        let days: Vec<_> = (0..14).map(|n| anchor.after_months(n).to_string()).collect();
        assert_eq!(days[..4], ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"]);
        assert_eq!(days[12..], ["2025-01-31", "2025-02-28"]);
        assert_eq!(anchor.after_months(-2).to_string(), "2023-11-30");
        assert_eq!(date("2024-02-29").after_months(12).to_string(), "2025-02-28");
        assert_eq!(date("2024-02-29").after_months(48).to_string(), "2028-02-29");
    }

    proptest! {
        #[test]
        fn days_and_dates_are_one_to_one(day in -1_000_000_000..1_000_000_000i64) {
            let (date, next) = (Date::of(day), Date::of(day + 1));
            prop_assert_eq!(date.to_day(), day);
            prop_assert!((1..=12).contains(&date.month) && (1..=31).contains(&date.day));
            let follows = (next.year, next.month, next.day) > (date.year, date.month, date.day);
            prop_assert!(follows);
            if (0..=9_999).contains(&date.year) {
                prop_assert_eq!(Date::parse(date.to_string().as_bytes()), Some(date));
            }
        }
    }

    #[test]
    fn an_instant_is_shown_by_iso_8601() {
        assert_eq!(iso(0).as_deref(), Some("2000-01-01T00:00:00Z"));
        assert_eq!(iso(-1).as_deref(), Some("1999-12-31T23:59:59Z"));
        let noon = (366 * 86_400 + 12 * 3_600 + 34 * 60 + 56) * 1_000_000 + 789;
        assert_eq!(iso(noon).as_deref(), Some("2001-01-01T12:34:56Z"));
        assert_eq!((iso(Micros::MIN), iso(Micros::MAX)), (None, None));
    }
}
