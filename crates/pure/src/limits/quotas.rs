//! The quotas of a plan, an account or a key, as its column `quotas` holds them.
//!
//! The column is a text that an operator can read and write, such as
//! `calls=10000/month in America/Sao_Paulo from 2026-01-31 warn 80%, tokens=5000000/day`. Each
//! quota has a meter, an amount and a span. The rest is optional and in this order: the time zone,
//! the date from which periods are counted, and the share from which on an event warns.

use core::fmt::{self, Display};

use crate::error::CallError;
use crate::limits::applicable::Limits;
use crate::limits::date::{Date, Day};
use crate::limits::name::Name;
use crate::limits::quota_period::Span;
use crate::white_space::trimmed;

/// How many quotas a plan, an account or a key has at most.
pub const MAX_QUOTAS: usize = 4;
/// The longest name of a time zone, in bytes (src/include/pgtime.h: TZ_STRLEN_MAX).
pub const MAX_ZONE: usize = 255;

/// How much may be used in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota<'text> {
    /// What is counted.
    pub meter: Name,
    /// How much may be used.
    pub amount: i64,
    /// The length of a period.
    pub span: Span,
    /// The name of the time zone of its midnights; None is UTC.
    pub zone: Option<&'text str>,
    /// The date from which periods are counted.
    pub anchor: Option<Day>,
    /// The share from which on an event warns, in hundredths.
    pub warn_at: Option<u8>,
}

/// Quotas of different meters or spans, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas<'text>([Option<Quota<'text>>; MAX_QUOTAS]);

/// Why a text is not a list of quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotasError {
    /// An element is not of the form above.
    Form,
    /// Two elements have the same meter and span.
    Twice(Name, Span),
    /// There are more than [`MAX_QUOTAS`].
    TooMany,
}

impl<'text> Quotas<'text> {
    /// Reads the text of a column. White space around an element does not count, and an empty text
    /// has no quota.
    pub fn parse(text: &'text [u8]) -> Result<Quotas<'text>, QuotasError> {
        let mut quotas = Quotas::default();
        if trimmed(text).is_empty() {
            return Ok(quotas);
        }
        for element in text.split(|byte| *byte == b',') {
            let quota = parse_element(trimmed(element)).ok_or(QuotasError::Form)?;
            if quotas.has_kind_of(quota) {
                return Err(QuotasError::Twice(quota.meter, quota.span));
            }
            quotas.set(quota)?;
        }
        Ok(quotas)
    }

    /// The quotas, in order.
    pub fn iter(&self) -> impl Iterator<Item = Quota<'text>> + Clone + '_ {
        self.0.iter().copied().flatten()
    }

    /// Whether there is no quota.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Adds a quota after the others, or puts it in the place of the one of its meter and span.
    pub fn set(&mut self, quota: Quota<'text>) -> Result<(), QuotasError> {
        let is_its_place = |place: &&mut Option<Quota>| place.is_none_or(|it| it.is_kind_of(quota));
        let place = self.0.iter_mut().find(is_its_place).ok_or(QuotasError::TooMany)?;
        *place = Some(quota);
        Ok(())
    }

    /// Removes the quota of a meter and span. Returns whether there was one.
    pub fn remove(&mut self, meter: Name, span: Span) -> bool {
        let is_it = |quota: Quota| quota.meter == meter && quota.span == span;
        let Some(at) = self.iter().position(is_it) else { return false };
        self.0[at] = None;
        self.0[at..].rotate_left(1);
        true
    }
}

impl<'text> Quota<'text> {
    /// Whether the other one counts the same in periods of the same length.
    pub fn is_kind_of(self, other: Quota) -> bool {
        self.meter == other.meter && self.span == other.span
    }
}

impl<'text> Limits for Quotas<'text> {
    type Limit = Quota<'text>;

    fn each(&self) -> impl Iterator<Item = Quota<'text>> + Clone {
        self.iter()
    }

    fn has_kind_of(&self, quota: Quota<'text>) -> bool {
        self.iter().any(|it| it.is_kind_of(quota))
    }
}

fn parse_element(element: &[u8]) -> Option<Quota<'_>> {
    let mut words = str::from_utf8(element).ok()?.split(' ').peekable();
    let (meter, rest) = words.next()?.split_once('=')?;
    let (amount, span) = rest.split_once('/')?;
    let is_number = !amount.is_empty() && amount.bytes().all(|byte| byte.is_ascii_digit());
    let mut option = |keyword: &str| match words.next_if_eq(&keyword) {
        Some(_) => words.next().map(Some),
        None => Some(None),
    };
    let (zone, anchor, warn_at) = (option("in")?, option("from")?, option("warn")?);
    let quota = Quota {
        meter: Name::parse(meter.as_bytes())?,
        amount: is_number.then(|| amount.parse().ok())??,
        span: Span::from_name(span.as_bytes())?,
        zone: zone.map(parse_zone).transpose().ok()?,
        anchor: match anchor {
            Some(date) => Some(Date::parse(date.as_bytes())?.to_day()),
            None => None,
        },
        warn_at: match warn_at {
            Some(share) => Some(parse_share(share)?),
            None => None,
        },
    };
    words.next().is_none().then_some(quota)
}

/// The name of a time zone. Whether there is such a zone, only the server knows.
fn parse_zone(name: &str) -> Result<&str, QuotasError> {
    let is_good = |byte: u8| byte.is_ascii_graphic() && byte != b',';
    let is_name = (1..=MAX_ZONE).contains(&name.len()) && name.bytes().all(is_good);
    is_name.then_some(name).ok_or(QuotasError::Form)
}

fn parse_share(text: &str) -> Option<u8> {
    let digits = text.strip_suffix('%')?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|share| is_number && (1..=100).contains(share))
}

impl Display for Quota<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let Quota { meter, amount, span, zone, anchor, warn_at } = self;
        write!(formatter, "{meter}={amount}/{span}")?;
        if let Some(zone) = zone {
            write!(formatter, " in {zone}")?;
        }
        if let Some(anchor) = anchor {
            write!(formatter, " from {}", Date::of(*anchor))?;
        }
        if let Some(share) = warn_at {
            write!(formatter, " warn {share}%")?;
        }
        Ok(())
    }
}

impl Display for Quotas<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        for (at, quota) in self.iter().enumerate() {
            formatter.write_str(if at == 0 { "" } else { ", " })?;
            quota.fmt(formatter)?;
        }
        Ok(())
    }
}

impl From<QuotasError> for CallError {
    fn from(error: QuotasError) -> CallError {
        const EXAMPLE: &str =
            "For example: calls=10000/month in America/Sao_Paulo from 2026-01-31 warn 80%.";
        match error {
            QuotasError::Form => CallError::invalid("invalid quotas")
                .detail(
                    "Each is of the form meter=amount/period, with hour, day, week, month, year or \
                     total. Then may follow, in this order: a time zone, a date from which \
                     periods are counted, and a share from which on an event warns.",
                )
                .hint(EXAMPLE),
            QuotasError::Twice(meter, span) => {
                CallError::invalid(format!("quota \"{meter}\" by {span} is listed twice"))
                    .hint(EXAMPLE)
            }
            QuotasError::TooMany => {
                CallError::invalid(format!("there are more than {MAX_QUOTAS} quotas"))
                    .detail("A plan, an account or a key has at most so many.")
                    .hint(
                        "Remove one: pass its meter, its period and amount => NULL to \
                           vpk_set_quota.",
                    )
            }
        }
    }
}

/// How much of a quota is used in the current period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How much may be used, including what was granted.
    pub allowed: i64,
    /// How much the table has.
    pub base: i64,
    /// How much was used on top of that, here and until now. Refunds make it less than 0.
    pub pending: i64,
}

impl Usage {
    /// How much is used.
    pub const fn used(self) -> i64 {
        self.base.saturating_add(self.pending)
    }

    /// How much is left; less than 0 if charges came after the calls.
    pub const fn remaining(self) -> i64 {
        self.allowed.saturating_sub(self.used())
    }

    /// Whether a call passes. A cost of 0 is answered as a cost of 1.
    pub fn admits(self, cost: u32) -> bool {
        self.remaining() >= cost.max(1).into()
    }

    /// What to add to `pending` for a charge. A refund brings what is used to 0 at most.
    pub fn charge(self, cost: i64) -> i64 {
        cost.max(-self.used().max(0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<String, QuotasError> {
        Quotas::parse(text.as_bytes()).map(|quotas| quotas.to_string())
    }

    #[test]
    fn a_column_reads_as_it_is_written() {
        for (text, written) in [
            ("", ""),
            ("calls=10000/month", "calls=10000/month"),
            (" calls=0/total ,tokens=007/day", "calls=0/total, tokens=7/day"),
            ("calls=1/month in UTC", "calls=1/month in UTC"),
            (
                "calls=1/month in America/Sao_Paulo from 2026-01-31 warn 80%",
                "calls=1/month in America/Sao_Paulo from 2026-01-31 warn 80%",
            ),
            (
                "calls=9223372036854775807/hour warn 100%",
                "calls=9223372036854775807/hour warn 100%",
            ),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(written), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_quotas() {
        for text in [
            "calls",
            "calls=1",
            "calls=/day",
            "calls=-1/day",
            "calls=+1/day",
            "calls=1/decade",
            "calls=1/Day",
            "calls=9223372036854775808/day",
            "a b=1/day",
            "calls=1/day,",
            "calls=1/day in",
            "calls=1/day in  UTC",
            "calls=1/day  in UTC",
            "calls=1/day from x",
            "calls=1/day from 2026-02-30",
            "calls=1/day warn 0%",
            "calls=1/day warn 101%",
            "calls=1/day warn 80",
            "calls=1/day warn +8%",
            "calls=1/day warn 80% in UTC",
            "calls=1/day in UTC in UTC",
            "calls=1/day and",
            "calls=1/day in \u{e9}",
            "\u{a0}",
        ] {
            assert_eq!(parsed(text), Err(QuotasError::Form), "{text}");
        }
        let calls = Name::parse(b"calls").expect("a name");
        let twice = parsed("calls=1/day, calls=2/day in UTC");
        assert_eq!(twice, Err(QuotasError::Twice(calls, Span::Day)));
        let many = "a=1/day,b=1/day,c=1/day,d=1/day,e=1/day";
        assert_eq!(parsed(many), Err(QuotasError::TooMany));
    }

    #[test]
    fn an_error_says_what_is_wrong_and_what_is_right() {
        let error = |text: &str| {
            let error = Quotas::parse(text.as_bytes()).expect_err("an error");
            let CallError { message, hint, .. } = error.into();
            (message, hint.unwrap_or_default())
        };
        let (message, hint) = error("calls");
        assert_eq!(message, "invalid quotas");
        let (_, example) = hint.split_once(": ").expect("an example");
        assert!(Quotas::parse(example.trim_end_matches('.').as_bytes()).is_ok(), "{example}");
        let twice = error("calls=1/day, calls=1/day");
        assert_eq!(twice.0, "quota \"calls\" by day is listed twice");
        let (message, hint) = error("a=1/day,b=1/day,c=1/day,d=1/day,e=1/day");
        assert_eq!(message, "there are more than 4 quotas");
        assert!(hint.contains("vpk_set_quota"), "{hint}");
    }

    #[test]
    fn a_quota_is_added_replaced_and_removed() {
        let quota = |text: &'static str| {
            let quotas = Quotas::parse(text.as_bytes()).expect("quotas");
            quotas.iter().next().expect("a quota")
        };
        let mut quotas = Quotas::parse(b"a=1/day, a=2/month").expect("quotas");
        assert_eq!(quotas.set(quota("a=3/day warn 50%")), Ok(()));
        assert_eq!(quotas.set(quota("b=4/day")), Ok(()));
        assert_eq!(quotas.to_string(), "a=3/day warn 50%, a=2/month, b=4/day");
        let name = quota("a=1/day").meter;
        assert!(quotas.remove(name, Span::Day) && !quotas.remove(name, Span::Day));
        assert_eq!(quotas.to_string(), "a=2/month, b=4/day");
        assert!(quotas.remove(name, Span::Month) && !quotas.is_empty());
    }

    #[test]
    fn a_call_passes_while_its_cost_is_left() {
        let usage = Usage { allowed: 10, base: 5, pending: 2 };
        assert_eq!((usage.used(), usage.remaining()), (7, 3));
        assert!(usage.admits(0) && usage.admits(3) && !usage.admits(4));
        // Charges after the call go below zero; refunds do not.
        assert_eq!((usage.charge(5), usage.charge(-3), usage.charge(-8)), (5, -3, -7));
        let in_debt = Usage { pending: 7, ..usage };
        assert_eq!(in_debt.remaining(), -2);
        assert!(!in_debt.admits(0));
        let unused = Usage { allowed: 0, base: 0, pending: 0 };
        assert!(!unused.admits(0));
        assert_eq!(unused.charge(-1), 0);
    }

    proptest! {
        /// Any bytes are refused, or are quotas that are written and read without a change.
        #[test]
        fn any_bytes_are_read_or_refused(
            text in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                "([ab]=[0-9]{1,20}/(hour|day|week|month|year|total)( in [A-Za-z/_+-]{1,9})?\
                    ( from [0-2][0-9]{3}-[01][0-9]-[0-3][0-9])?( warn [0-9]{1,3}%)?[, ]{0,2}){0,5}"
                    .prop_map(String::into_bytes),
            ],
        ) {
            if let Ok(quotas) = Quotas::parse(&text) {
                let written = quotas.to_string();
                prop_assert_eq!(Quotas::parse(written.as_bytes()), Ok(quotas));
            }
        }

        /// No numbers overflow, and no refund makes anything out of nothing.
        #[test]
        fn usage_has_bounds(
            numbers in any::<(i64, i64, i64)>(),
            cost in any::<i64>(),
            call in any::<u32>(),
        ) {
            let (allowed, base, pending) = numbers;
            let usage = Usage { allowed, base, pending };
            prop_assert_eq!(usage.admits(call), usage.remaining() >= i64::from(call.max(1)));
            let charged = Usage { pending: pending.saturating_add(usage.charge(cost)), ..usage };
            if cost >= 0 {
                prop_assert!(charged.used() >= usage.used());
            } else {
                prop_assert!(charged.used() <= usage.used());
                prop_assert!(charged.used() >= usage.used().min(0));
            }
        }
    }
}
