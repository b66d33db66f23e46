//! The periods of quotas: hours, days, weeks, months and years, counted from a date in a time zone.
//!
//! Each period is computed from that date and never from the one before, which would turn the 31st
//! of January into the 28th of February and then into the 28th of March.

use core::fmt::{self, Display};

use crate::instant::Micros;
use crate::limits::date::{Date, Day};

const HOUR: Micros = 3_600_000_000;
const DAY: Micros = 24 * HOUR;
/// The date from which periods are counted where none is given: the first day of a year, a month
/// and a week. It is 2001-01-01, a Monday.
const ORIGIN: Day = 366;

/// The length of the periods of a quota. The numbers are in the file of uses: a new one goes to the
/// end, and none is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Span {
    /// 3,600 seconds, also where the clocks change.
    Hour = 0,
    /// From midnight to midnight.
    Day = 1,
    /// Seven days, from Monday on if no date is given.
    Week = 2,
    /// A month, from the 1st on if no date is given.
    Month = 3,
    /// A year, from the 1st of January on if no date is given.
    Year = 4,
    /// All time: the quota is never renewed.
    Total = 5,
}

impl Span {
    /// All spans.
    pub const ALL: [Span; 6] =
        [Span::Hour, Span::Day, Span::Week, Span::Month, Span::Year, Span::Total];

    /// Its name in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Span::Hour => "hour",
            Span::Day => "day",
            Span::Week => "week",
            Span::Month => "month",
            Span::Year => "year",
            Span::Total => "total",
        }
    }

    /// The span of a name, if it is one.
    pub fn from_name(name: &[u8]) -> Option<Span> {
        Span::ALL.into_iter().find(|span| span.name().as_bytes() == name)
    }

    /// The span of a number.
    pub fn from_number(number: u8) -> Option<Span> {
        Span::ALL.into_iter().find(|span| *span as u8 == number)
    }

    /// The first day of a period, by its number; the period of the number 0 begins with the anchor.
    fn first_day(self, anchor: Day, number: i64) -> Day {
        let months = |by: i64| Date::of(anchor).after_months(number.saturating_mul(by)).to_day();
        match self {
            Span::Day => anchor.saturating_add(number),
            Span::Week => anchor.saturating_add(number.saturating_mul(7)),
            Span::Month => months(1),
            Span::Year => months(12),
            Span::Hour | Span::Total => anchor,
        }
    }

    /// The number of the period that a day is in, or that of the next one.
    fn number_near(self, anchor: Day, day: Day) -> i64 {
        let months = || Date::of(day).month_number() - Date::of(anchor).month_number();
        match self {
            Span::Day => day.saturating_sub(anchor),
            Span::Week => day.saturating_sub(anchor).div_euclid(7),
            Span::Month => months(),
            Span::Year => months().div_euclid(12),
            Span::Hour | Span::Total => 0,
        }
    }
}

impl Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A time zone: what clocks show there, in microseconds since they showed 2000-01-01 00:00:00.
pub trait Zone {
    /// What clocks show at an instant.
    fn to_local(&self, instant: Micros) -> Micros;

    /// The instant at which clocks show a time: the later one if they show it twice. If they skip
    /// it, the instant at which they would have shown it, had they not been set forward.
    fn to_instant(&self, local: Micros) -> Micros;
}

/// Coordinated Universal Time.
pub struct Utc;

impl Zone for Utc {
    fn to_local(&self, instant: Micros) -> Micros {
        instant
    }

    fn to_instant(&self, local: Micros) -> Micros {
        local
    }
}

/// A period of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Its first instant; [`Micros::MIN`] is `-infinity`.
    pub start: Micros,
    /// The first instant after it; [`Micros::MAX`] is `infinity`.
    pub end: Micros,
}

/// The period that an instant is in, counted from an anchor.
///
/// Periods follow each other without a gap. Where clocks are set back over midnight, the day begins
/// at the midnight that [`Zone::to_instant`] names.
pub fn containing(span: Span, anchor: Option<Day>, zone: &impl Zone, instant: Micros) -> Period {
    let anchor = anchor.unwrap_or(ORIGIN);
    let midnight = |day: Day| zone.to_instant(day.saturating_mul(DAY));
    match span {
        Span::Total => return Period { start: Micros::MIN, end: Micros::MAX },
        Span::Hour => {
            let offset = instant.rem_euclid(HOUR) - midnight(anchor).rem_euclid(HOUR);
            let start = instant - offset.rem_euclid(HOUR);
            return Period { start, end: start + HOUR };
        }
        Span::Day | Span::Week | Span::Month | Span::Year => {}
    }
    let start_of = |number: i64| midnight(span.first_day(anchor, number));
    let near = span.number_near(anchor, zone.to_local(instant).div_euclid(DAY));
    // A period can begin later in its month, and a midnight that clocks skip can come later.
    let number = near - i64::from(start_of(near) > instant);
    Period { start: start_of(number), end: start_of(number + 1) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Micros = 60_000_000;
    const SECOND: Micros = 1_000_000;

    /// A zone with an offset in minutes from each instant on, in order. It answers as PostgreSQL
    /// does (src/backend/utils/adt/datetime.c: DetermineTimeZoneOffset).
    #[derive(Clone, Debug)]
    struct Offsets(Vec<(Micros, i64)>);

    impl Offsets {
        fn offset(&self, is_reached: impl Fn(Micros, Micros) -> bool) -> Micros {
            let mut reached = self.0.iter().rev();
            let found = reached.find(|(from, minutes)| is_reached(*from, minutes * MINUTE));
            found.unwrap_or(&self.0[0]).1 * MINUTE
        }
    }

    impl Zone for Offsets {
        fn to_local(&self, instant: Micros) -> Micros {
            instant + self.offset(|from, _| from <= instant)
        }

        fn to_instant(&self, local: Micros) -> Micros {
            local - self.offset(|from, offset| from.saturating_add(offset) <= local)
        }
    }

    fn day(text: &str) -> Day {
        Date::parse(text.as_bytes()).expect("a date").to_day()
    }

    fn utc(date: &str, hour: i64, minute: i64) -> Micros {
        day(date) * DAY + hour * HOUR + minute * MINUTE
    }

    fn sao_paulo() -> Offsets {
        let (begin, end) = (utc("2018-11-04", 3, 0), utc("2019-02-17", 2, 0));
        Offsets(vec![(Micros::MIN / 2, -180), (begin, -120), (end, -180)])
    }

    fn havana() -> Offsets {
        let (begin, end) = (utc("2026-03-08", 5, 0), utc("2026-11-01", 5, 0));
        Offsets(vec![(Micros::MIN / 2, -300), (begin, -240), (end, -300)])
    }

    fn kathmandu() -> Offsets {
        Offsets(vec![(Micros::MIN / 2, 345)])
    }

    /// The zone without the 30th of December 2011.
    fn apia() -> Offsets {
        Offsets(vec![(Micros::MIN / 2, -600), (utc("2011-12-30", 10, 0), 840)])
    }

    #[test]
    fn calendar_periods_need_no_anchor() {
        let now = utc("2026-11-29", 13, 45);
        let within = |span| containing(span, None, &Utc, now);
        let days = |start, end| Period { start: utc(start, 0, 0), end: utc(end, 0, 0) };
        let hour = Period { start: utc("2026-11-29", 13, 0), end: utc("2026-11-29", 14, 0) };
        assert_eq!(within(Span::Hour), hour);
        assert_eq!(within(Span::Day), days("2026-11-29", "2026-11-30"));
        // A Monday.
        assert_eq!(within(Span::Week), days("2026-11-23", "2026-11-30"));
        assert_eq!(within(Span::Month), days("2026-11-01", "2026-12-01"));
        assert_eq!(within(Span::Year), days("2026-01-01", "2027-01-01"));
        assert_eq!(within(Span::Total), Period { start: Micros::MIN, end: Micros::MAX });
    }

    /// G12: the 31st of each month, or its last day.
    #[test]
    fn periods_are_counted_from_the_anchor() {
        let anchor = Some(day("2023-10-31"));
        let month = |date: &str| containing(Span::Month, anchor, &Utc, utc(date, 12, 0));
        for [start, end] in [
            ["2023-10-31", "2023-11-30"],
            ["2023-12-31", "2024-01-31"],
            ["2024-01-31", "2024-02-29"],
            ["2024-02-29", "2024-03-31"],
            ["2024-03-31", "2024-04-30"],
            ["2025-01-31", "2025-02-28"],
            ["2025-02-28", "2025-03-31"],
            // Before the anchor.
            ["2023-08-31", "2023-09-30"],
            ["2023-02-28", "2023-03-31"],
        ] {
            let expected = Period { start: utc(start, 0, 0), end: utc(end, 0, 0) };
            assert_eq!(month(start), expected);
            let last = Date::of(day(end) - 1).to_string();
            assert_eq!(month(&last), expected, "{last}");
        }
        let year =
            |date: &str| containing(Span::Year, Some(day("2024-02-29")), &Utc, utc(date, 0, 0));
        let leap = Period { start: utc("2027-02-28", 0, 0), end: utc("2028-02-29", 0, 0) };
        assert_eq!((year("2027-02-28"), year("2028-02-28")), (leap, leap));
        assert_eq!(year("2028-02-29").end, utc("2029-02-28", 0, 0));
    }

    #[test]
    fn midnight_is_that_of_the_zone() {
        let [before, midnight] = [utc("2026-05-31", 18, 14), utc("2026-05-31", 18, 15)];
        let month = |instant| containing(Span::Month, None, &kathmandu(), instant);
        assert_eq!(month(before + 59 * SECOND).end, midnight);
        assert_eq!(month(midnight).start, midnight);
        let hour = containing(Span::Hour, None, &kathmandu(), midnight - 1);
        assert_eq!(hour, Period { start: midnight - HOUR, end: midnight });
    }

    #[test]
    fn a_day_lasts_as_long_as_clocks_say() {
        let zone = sao_paulo();
        // The clocks skip midnight, and go back to 23:00 of the day that ends.
        for (first, hours) in [("2018-11-03", 24), ("2018-11-04", 23), ("2019-02-16", 25)] {
            let start = zone.to_instant(day(first) * DAY);
            let period = containing(Span::Day, None, &zone, start);
            assert_eq!(period, Period { start, end: start + hours * HOUR }, "{first}");
            assert_eq!(containing(Span::Day, None, &zone, period.end - SECOND), period);
            assert_eq!(containing(Span::Day, None, &zone, period.end).start, period.end);
        }
        let month = containing(Span::Month, None, &zone, utc("2018-11-04", 3, 0));
        let expected = Period { start: utc("2018-11-01", 3, 0), end: utc("2018-12-01", 2, 0) };
        assert_eq!(month, expected);
    }

    #[test]
    fn a_midnight_that_comes_twice_begins_one_day() {
        let zone = havana();
        // Midnight is at 04:00 UTC, and again at 05:00.
        let second = utc("2026-11-01", 5, 0);
        assert_eq!(zone.to_local(second - HOUR), zone.to_local(second));
        let before = containing(Span::Month, None, &zone, second - 1);
        assert_eq!(before, Period { start: utc("2026-10-01", 4, 0), end: second });
        assert_eq!(containing(Span::Month, None, &zone, second).start, second);
    }

    #[test]
    fn a_day_that_is_left_out_has_no_period() {
        let zone = apia();
        let line = utc("2011-12-30", 10, 0);
        let before = containing(Span::Day, None, &zone, line - 1);
        let after = containing(Span::Day, None, &zone, line);
        assert_eq!(before, Period { start: line - DAY, end: line });
        assert_eq!(after, Period { start: line, end: line + DAY });
    }

    fn zones() -> impl Strategy<Value = Offsets> {
        let offsets =
            prop::collection::vec((0..20_000i64, -44..=44i64), 1..6).prop_map(|mut all| {
                // Quarters of an hour, at whole hours of days that are far from each other.
                all.sort_unstable();
                all.dedup_by_key(|(day, _)| *day / 3);
                let from = |(day, quarters): &(i64, i64)| (day * DAY + 2 * HOUR, quarters * 15);
                let mut all: Vec<_> = all.iter().map(from).collect();
                all[0].0 = Micros::MIN / 2;
                Offsets(all)
            });
        let known = || [sao_paulo(), havana(), kathmandu(), apia()];
        prop_oneof![(0..4usize).prop_map(move |at| known()[at].clone()), offsets,]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// G12: every instant is in one period, and periods follow each other.
        #[test]
        fn periods_partition_time(
            span in prop::sample::select(&Span::ALL).prop_filter("none", |it| *it != Span::Total),
            anchor in prop::option::of(-20_000..40_000i64),
            zone in zones(),
            day in -20_000..40_000i64,
            micros in prop_oneof![0..DAY, (0..96i64).prop_map(|quarters| quarters * 15 * MINUTE)],
            share in 0.0..1.0f64,
        ) {
            let instant = day * DAY + micros;
            let within = |instant| containing(span, anchor, &zone, instant);
            let period = within(instant);
            let Period { start, end } = period;
            prop_assert!(start <= instant && instant < end);
            let other = start + ((end - start) as f64 * share) as i64;
            prop_assert_eq!(within(start), period);
            prop_assert_eq!(within(other.min(end - 1)), period);
            prop_assert_eq!(within(end - 1), period);
            prop_assert_eq!(within(end).start, end);
            prop_assert_eq!(within(start - 1).end, start);
            let longest = match span {
                Span::Hour => HOUR,
                Span::Day => 3 * DAY,
                Span::Week => 9 * DAY,
                Span::Month => 33 * DAY,
                Span::Year | Span::Total => 368 * DAY,
            };
            prop_assert!(end - start <= longest);
        }
    }
}
