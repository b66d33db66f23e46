//! What was granted to an account on top of its quotas, as its column `quota_grants` holds it.
//!
//! The column is a text such as `calls/month@822355200000000=500`: meter and span of the quota, the
//! beginning of the period in microseconds since 2000-01-01 UTC, and what was granted for it.

use core::fmt::Write;

use crate::instant::Micros;
use crate::limits::name::Name;
use crate::limits::quota_period::Span;
use crate::white_space::trimmed;

/// What was granted for one period of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What is counted.
    pub meter: Name,
    /// The length of the period.
    pub span: Span,
    /// When the period began; [`Micros::MIN`] is `-infinity`.
    pub period_start: Micros,
    /// How much.
    pub amount: i64,
}

/// The grants of a column. Skips elements that do not have the form above.
pub fn grants(text: &[u8]) -> impl Iterator<Item = Grant> {
    text.split(|byte| *byte == b',').filter_map(|element| parse(trimmed(element)))
}

/// What was granted for a period of a quota.
pub fn granted(text: &[u8], meter: Name, span: Span, period_start: Micros) -> i64 {
    let is_it = |grant: &Grant| {
        grant.meter == meter && grant.span == span && grant.period_start == period_start
    };
    grants(text).filter(is_it).fold(0, |sum, grant| sum.saturating_add(grant.amount))
}

/// The column with another grant, and without those that `is_over` says.
pub fn with(text: &[u8], new: Grant, is_over: impl Fn(&Grant) -> bool) -> String {
    let before = granted(text, new.meter, new.span, new.period_start);
    let sum = Grant { amount: before.saturating_add(new.amount), ..new };
    let is_other = |grant: &Grant| Grant { amount: sum.amount, ..*grant } != sum;
    let others = grants(text).filter(|grant| is_other(grant) && !is_over(grant));
    let mut written = String::new();
    for Grant { meter, span, period_start, amount } in others.chain([sum]) {
        let comma = if written.is_empty() { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(written, "{comma}{meter}/{span}@{period_start}={amount}");
    }
    written
}

fn parse(element: &[u8]) -> Option<Grant> {
    let (kind, rest) = str::from_utf8(element).ok()?.split_once('@')?;
    let (meter, span) = kind.split_once('/')?;
    let (period_start, amount) = rest.split_once('=')?;
    Some(Grant {
        meter: Name::parse(meter.as_bytes())?,
        span: Span::from_name(span.as_bytes())?,
        period_start: period_start.parse().ok()?,
        amount: amount.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_of_a_period_add_up_and_those_that_are_over_leave() {
        let meter = |name: &str| Name::parse(name.as_bytes()).expect("a name");
        let grant = |name, span, period_start, amount| Grant {
            meter: meter(name),
            span,
            period_start,
            amount,
        };
        let mut text = String::new();
        let mut add = |new: Grant| text = with(text.as_bytes(), new, |it| it.period_start == 5);
        add(grant("calls", Span::Month, 5, 500));
        add(grant("calls", Span::Month, 5, -20));
        add(grant("calls", Span::Total, Micros::MIN, i64::MAX));
        add(grant("calls", Span::Total, Micros::MIN, 1));
        add(grant("calls", Span::Month, -6, 7));
        add(grant("tokens", Span::Month, -6, 8));
        let whole = "calls/total@-9223372036854775808=9223372036854775807, calls/month@-6=7, \
            tokens/month@-6=8";
        assert_eq!(text, whole);
        let of = |name, span, start| granted(text.as_bytes(), meter(name), span, start);
        assert_eq!(of("calls", Span::Month, -6), 7);
        assert_eq!(of("tokens", Span::Month, -6), 8);
        assert_eq!(of("calls", Span::Month, 5), 0);
        assert_eq!(of("calls", Span::Day, -6), 0);
    }

    #[test]
    fn other_texts_are_no_grants() {
        for text in
            ["", "calls", "calls/month=5", "calls/month@x=5", "a b/day@1=1", "a/x@1=1", "\u{e9}"]
        {
            assert_eq!(grants(text.as_bytes()).count(), 0, "{text}");
        }
        assert_eq!(grants(b"x, a/day@1=2").count(), 1);
    }
}
