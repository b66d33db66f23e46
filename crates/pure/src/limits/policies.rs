//! The policies of a plan, an account or a key, as its column `rate_limits` holds them.
//!
//! The column is a text that an operator can read and write: `second=20/1s, minute=100/1min+150`.
//! Each policy has a name, an amount, a period and, after a plus sign, a burst that is not the
//! amount. A period is a number of seconds (`s`), minutes (`min`), hours (`h`) or days (`d`).

use core::fmt::{self, Display};

use crate::error::CallError;
use crate::limits::applicable::Limits;
use crate::limits::name::Name;
use crate::limits::policy::{Policy, PolicyError};
use crate::white_space::trimmed;

/// How many policies a plan, an account or a key has at most.
pub const MAX_POLICIES: usize = 4;

/// The units of a period, in seconds, the largest first.
const UNITS: [(&str, u32); 4] = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];

/// A policy with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedPolicy {
    /// Its name.
    pub name: Name,
    /// What it allows.
    pub policy: Policy,
}

/// Policies with different names, in their order.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Policies([Option<NamedPolicy>; MAX_POLICIES]);

/// Why a text is not a list of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoliciesError {
    /// An element is not of the form `name=amount/period` or `name=amount/period+burst`.
    Form,
    /// Two elements have the same name.
    Twice(Name),
    /// There are more than [`MAX_POLICIES`].
    TooMany,
    /// A policy is out of its bounds.
    Policy(Name, PolicyError),
}

impl Policies {
    /// Reads the text of a column. White space around an element does not count, and an empty text
    /// has no policy.
    pub fn parse(text: &[u8]) -> Result<Policies, PoliciesError> {
        let mut policies = Policies::default();
        if trimmed(text).is_empty() {
            return Ok(policies);
        }
        for element in text.split(|byte| *byte == b',') {
            let NamedPolicy { name, policy } = parse_element(trimmed(element))?;
            if policies.get(name).is_some() {
                return Err(PoliciesError::Twice(name));
            }
            policies.set(name, policy)?;
        }
        Ok(policies)
    }

    /// The policies, in order.
    pub fn iter(&self) -> impl Iterator<Item = NamedPolicy> + Clone + '_ {
        self.0.iter().copied().flatten()
    }

    /// Whether there is no policy.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The policy of a name.
    pub fn get(&self, name: Name) -> Option<Policy> {
        self.iter().find(|named| named.name == name).map(|named| named.policy)
    }

    /// Adds a policy after the others, or puts it in the place of the one of the same name.
    pub fn set(&mut self, name: Name, policy: Policy) -> Result<(), PoliciesError> {
        let is_its_place =
            |place: &&mut Option<NamedPolicy>| place.is_none_or(|named| named.name == name);
        let place = self.0.iter_mut().find(is_its_place).ok_or(PoliciesError::TooMany)?;
        *place = Some(NamedPolicy { name, policy });
        Ok(())
    }

    /// Removes the policy of a name. Returns whether there was one.
    pub fn remove(&mut self, name: Name) -> bool {
        let Some(at) = self.iter().position(|named| named.name == name) else { return false };
        self.0[at] = None;
        self.0[at..].rotate_left(1);
        true
    }
}

impl Limits for Policies {
    type Limit = NamedPolicy;

    fn each(&self) -> impl Iterator<Item = NamedPolicy> + Clone {
        self.iter()
    }

    fn has_kind_of(&self, named: NamedPolicy) -> bool {
        self.get(named.name).is_some()
    }
}

fn parse_element(element: &[u8]) -> Result<NamedPolicy, PoliciesError> {
    let form = || -> Option<_> {
        let (name, rest) = split_once(element, b'=')?;
        let (amount, rest) = split_once(rest, b'/')?;
        let (period, burst) = match split_once(rest, b'+') {
            Some((period, burst)) => (period, Some(number(burst)?)),
            None => (rest, None),
        };
        Some((Name::parse(name)?, number(amount)?, seconds(period)?, burst))
    };
    let (name, amount, period, burst) = form().ok_or(PoliciesError::Form)?;
    let policy = Policy::new(amount, period, burst);
    let policy = policy.map_err(|error| PoliciesError::Policy(name, error))?;
    Ok(NamedPolicy { name, policy })
}

fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == separator)?;
    let (before, after) = text.split_at(at);
    Some((before, after.get(1..)?))
}

/// A number of 1 to 18 digits, without a sign.
fn number(text: &[u8]) -> Option<i64> {
    let is_number = (1..=18).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    is_number.then(|| text.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

/// The seconds of a number with a unit.
fn seconds(text: &[u8]) -> Option<i64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (count, unit) = text.split_at(digits);
    let (_, seconds) = UNITS.iter().find(|(name, _)| name.as_bytes() == unit)?;
    Some(number(count)?.saturating_mul((*seconds).into()))
}

impl Display for NamedPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let NamedPolicy { name, policy } = self;
        let period = policy.period();
        let (unit, seconds) =
            UNITS.into_iter().find(|(_, unit)| period % unit == 0).unwrap_or(UNITS[3]);
        write!(formatter, "{name}={}/{}{unit}", policy.amount(), period / seconds)?;
        if policy.burst() == policy.amount() {
            return Ok(());
        }
        write!(formatter, "+{}", policy.burst())
    }
}

impl Display for Policies {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        for (at, named) in self.iter().enumerate() {
            formatter.write_str(if at == 0 { "" } else { ", " })?;
            named.fmt(formatter)?;
        }
        Ok(())
    }
}

impl From<PoliciesError> for CallError {
    fn from(error: PoliciesError) -> CallError {
        const EXAMPLE: &str = "For example: second=20/1s, minute=100/1min+150.";
        match error {
            PoliciesError::Form => CallError::invalid("invalid rate limits")
                .detail(
                    "Each is of the form name=amount/period or name=amount/period+burst. A period \
                     is a number of s, min, h or d.",
                )
                .hint(EXAMPLE),
            PoliciesError::Twice(name) => {
                CallError::invalid(format!("rate limit \"{name}\" is listed twice")).hint(EXAMPLE)
            }
            PoliciesError::TooMany => {
                CallError::invalid(format!("there are more than {MAX_POLICIES} rate limits"))
                    .detail("A plan, an account or a key has at most so many.")
                    .hint("Remove one: pass its name and amount => NULL to vpk_set_rate_limit.")
            }
            PoliciesError::Policy(name, error) => {
                let error = CallError::from(error);
                CallError { message: format!("rate limit \"{name}\": {}", error.message), ..error }
            }
        }
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{:?}", self.to_string())
    }
}

#[cfg(test)]
pub(crate) mod examples {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::policy::examples;

    /// Any policies, of few names.
    pub fn policies() -> impl Strategy<Value = Policies> {
        let name = prop_oneof!["[a-d]", "[A-Za-z0-9._-]{1,32}"];
        prop::collection::vec((name, examples::policies()), 0..7).prop_map(|named| {
            let mut policies = Policies::default();
            for (name, policy) in named {
                _ = policies.set(Name::parse(name.as_bytes()).expect("a name"), policy);
            }
            policies
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::examples::policies;
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).expect("a name")
    }

    fn parsed(text: &str) -> Result<String, PoliciesError> {
        Policies::parse(text.as_bytes()).map(|policies| policies.to_string())
    }

    #[test]
    fn a_column_reads_as_it_is_written() {
        for (text, written) in [
            ("", ""),
            (" \t", ""),
            ("minute=100/1min", "minute=100/1min"),
            ("second=20/1s, minute=100/1min+150", "second=20/1s, minute=100/1min+150"),
            ("  second=20/1s ,minute=100/60s+100\n", "second=20/1s, minute=100/1min"),
            ("a=1/90s,b=1/120s,c=1/7200s,d=1/31d", "a=1/90s, b=1/2min, c=1/2h, d=1/31d"),
            ("a=001/1s+02", "a=1/1s+2"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(written), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_policies() {
        use PoliciesError::{Form, TooMany, Twice};
        for text in [
            "minute",
            "minute=",
            "minute=100",
            "minute=100/",
            "minute=100/60",
            "minute=100/min",
            "minute=100/1m",
            "minute=100/1s+",
            "minute=100/1s+1+1",
            "minute=-1/1s",
            "minute=1.5/1s",
            "=100/1s",
            "a b=1/1s",
            "minute = 1/1s",
            "a=1/1s,",
            ",",
            "a=1/1s;b=1/1s",
            "\0",
            "a=9999999999999999999/1s",
            "a=1/9999999999999999999d",
        ] {
            assert_eq!(parsed(text), Err(Form), "{text}");
        }
        assert_eq!(parsed("a=1/1s,a=2/1s"), Err(Twice(name("a"))));
        assert_eq!(parsed("a=1/1s,b=1/1s,c=1/1s,d=1/1s,e=1/1s"), Err(TooMany));
        assert_eq!(parsed("a=0/1s"), Err(PoliciesError::Policy(name("a"), PolicyError::Amount)));
        assert_eq!(parsed("a=1/0s"), Err(PoliciesError::Policy(name("a"), PolicyError::Period)));
        let long = "a=1/999999999999999999d";
        assert_eq!(parsed(long), Err(PoliciesError::Policy(name("a"), PolicyError::Period)));
        assert_eq!(parsed("a=1/1d+367"), Err(PoliciesError::Policy(name("a"), PolicyError::Fill)));
    }

    #[test]
    fn an_error_says_what_is_wrong_and_what_is_right() {
        let error = |text: &str| {
            let error = Policies::parse(text.as_bytes()).expect_err("an error");
            let CallError { message, hint, .. } = error.into();
            (message, hint.unwrap_or_default())
        };
        let (message, hint) = error("minute");
        assert_eq!(message, "invalid rate limits");
        let (_, example) = hint.split_once(": ").expect("an example");
        assert!(Policies::parse(example.trim_end_matches('.').as_bytes()).is_ok(), "{example}");
        assert_eq!(error("a=1/1s,a=1/1s").0, "rate limit \"a\" is listed twice");
        assert_eq!(error("a=0/1s").0, "rate limit \"a\": amount must be between 1 and 1000000");
        let (message, hint) = error("a=1/1s,b=1/1s,c=1/1s,d=1/1s,e=1/1s");
        assert_eq!(message, "there are more than 4 rate limits");
        assert!(hint.contains("vpk_set_rate_limit"), "{hint}");
    }

    #[test]
    fn a_policy_is_added_replaced_and_removed() {
        let policy = |amount| Policy::new(amount, 1, None).expect("a policy");
        let mut policies = Policies::default();
        assert!(policies.is_empty());
        for (at, text) in ["a", "b", "c", "d"].into_iter().enumerate() {
            assert_eq!(policies.set(name(text), policy(at as i64 + 1)), Ok(()));
        }
        assert_eq!(policies.set(name("e"), policy(9)), Err(PoliciesError::TooMany));
        assert_eq!(policies.set(name("b"), policy(7)), Ok(()));
        assert!(policies.remove(name("a")) && !policies.remove(name("a")));
        assert_eq!(policies.to_string(), "b=7/1s, c=3/1s, d=4/1s");
        assert_eq!(policies.set(name("a"), policy(1)), Ok(()));
        assert_eq!(policies.to_string(), "b=7/1s, c=3/1s, d=4/1s, a=1/1s");
        assert_eq!(policies.get(name("c")), Some(policy(3)));
        assert_eq!(policies.get(name("x")), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(policies in policies()) {
            let text = policies.to_string();
            prop_assert_eq!(Policies::parse(text.as_bytes()), Ok(policies));
        }

        /// Any bytes are refused, or are policies that are written and read without a change.
        #[test]
        fn any_bytes_are_read_or_refused(
            text in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                "([ab]=[0-9]{1,8}/[0-9]{1,7}(s|min|h|d)(\\+[0-9]{1,7})?[, ]{0,2}){0,5}"
                    .prop_map(String::into_bytes),
            ],
        ) {
            if let Ok(policies) = Policies::parse(&text) {
                let written = policies.to_string();
                prop_assert_eq!(Policies::parse(written.as_bytes()), Ok(policies));
            }
        }
    }
}
