//! The limits of a caller as header fields and as JSON.
//!
//! `RateLimit` and `RateLimit-Policy` are those of the Internet-Draft "RateLimit header fields for
//! HTTP" of the IETF's working group HTTPAPI, in its versions 10 and 11: lists of strings with
//! parameters (RFC 9651). They may change until it is an RFC.

use serde_json::{Map, Value, json};

use crate::limits::bucket::Wait;

/// The largest integer of a structured field (RFC 9651, section 3.3.1).
const LARGEST: u64 = 999_999_999_999_999;

/// Which header fields an answer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fields {
    /// Those of the draft, if limits refuse the call.
    #[default]
    Denied,
    /// Those of the draft, also if the call passes.
    Always,
    /// The older `X-RateLimit-*`, also if the call passes.
    Legacy,
    /// None but `Retry-After`.
    Off,
}

impl Fields {
    /// All choices, by their names.
    pub const ALL: [(&'static str, Fields); 4] = [
        ("denied", Fields::Denied),
        ("always", Fields::Always),
        ("legacy", Fields::Legacy),
        ("off", Fields::Off),
    ];
}

/// What a caller may know of a limit after its call.
#[derive(Clone, Copy, Debug)]
pub struct LimitState<'call> {
    /// Its name.
    pub name: &'call str,
    /// How much passes in a period.
    pub limit: u64,
    /// The period, in seconds; None for a calendar's, which differ in length.
    pub window: Option<u32>,
    /// How much is left.
    pub remaining: u64,
    /// When all of it is there again, in seconds from now; None is never.
    pub reset: Option<u64>,
    /// How long the call has to wait for this limit.
    pub wait: Wait,
}

impl LimitState<'_> {
    fn refuses(&self) -> bool {
        self.wait != Wait::None
    }
}

/// When the call passes, in seconds from now and never too early. None if it never does, or if
/// nothing refuses it.
pub fn retry_after(limits: &[LimitState]) -> Option<u64> {
    let wait = limits.iter().map(|limit| limit.wait).max()?;
    wait.seconds().filter(|seconds| *seconds > 0)
}

/// The header fields that tell of limits.
///
/// The field `RateLimit` of a refusal names the limits that refuse the call, so that none of them
/// promises more than `Retry-After` does. `t` is then the time until the call passes. In other
/// answers, it is the time until all of the limit is there again.
pub fn header_fields(choice: Fields, limits: &[LimitState]) -> Map<String, Value> {
    let mut fields = Map::new();
    let is_refused = limits.iter().any(LimitState::refuses);
    if let Some(seconds) = retry_after(limits) {
        fields.insert("Retry-After".into(), seconds.to_string().into());
    }
    let is_told = match choice {
        Fields::Off => false,
        Fields::Denied => is_refused,
        Fields::Always | Fields::Legacy => true,
    };
    if limits.is_empty() || !is_told {
        return fields;
    }
    if choice == Fields::Legacy {
        add_legacy(&mut fields, limits);
        return fields;
    }
    let named: Vec<_> = one_of_each_name(limits).collect();
    let told = named.iter().filter(|limit| limit.refuses() == is_refused);
    let states: Vec<_> = told.map(|limit| state_item(limit)).collect();
    let policies: Vec<_> = named.iter().map(|limit| policy_item(limit)).collect();
    fields.insert("RateLimit".into(), states.join(", ").into());
    fields.insert("RateLimit-Policy".into(), policies.join(", ").into());
    fields
}

/// A name stands for one limit in a field: of several, the one that makes the call wait longest, or
/// else has the least left.
fn one_of_each_name<'all, 'call>(
    limits: &'all [LimitState<'call>],
) -> impl Iterator<Item = &'all LimitState<'call>> {
    let tightness =
        |at: usize, limit: &LimitState| (core::cmp::Reverse(limit.wait), limit.remaining, at);
    limits.iter().enumerate().filter_map(move |(at, limit)| {
        let mut others = limits.iter().enumerate().filter(|(_, other)| other.name == limit.name);
        others.all(|(other, it)| tightness(other, it) >= tightness(at, limit)).then_some(limit)
    })
}

fn policy_item(limit: &LimitState) -> String {
    let window = limit.window.map(|seconds| format!(";w={seconds}")).unwrap_or_default();
    format!("{};q={}{window}", quoted(limit.name), limit.limit.min(LARGEST))
}

fn state_item(limit: &LimitState) -> String {
    let seconds = if limit.refuses() { limit.wait.seconds() } else { limit.reset };
    let seconds = seconds.filter(|seconds| *seconds > 0).map(|seconds| seconds.min(LARGEST));
    let seconds = seconds.map(|seconds| format!(";t={seconds}")).unwrap_or_default();
    format!("{};r={}{seconds}", quoted(limit.name), limit.remaining.min(LARGEST))
}

/// A string of a structured field (RFC 9651, section 4.1.6).
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}

/// Fields that have room for one limit: the one that makes the call wait longest, or else has the
/// least left.
fn add_legacy(fields: &mut Map<String, Value>, limits: &[LimitState]) {
    let tightest =
        limits.iter().min_by_key(|limit| (core::cmp::Reverse(limit.wait), limit.remaining));
    let Some(limit) = tightest else { return };
    let seconds = if limit.refuses() { limit.wait.seconds() } else { limit.reset };
    let values = [
        ("X-RateLimit-Limit", Some(limit.limit)),
        ("X-RateLimit-Remaining", Some(limit.remaining)),
        ("X-RateLimit-Reset", seconds),
    ];
    for (name, value) in values {
        if let Some(value) = value {
            fields.insert(name.into(), value.to_string().into());
        }
    }
}

/// The column `limits` of an answer; None if nothing is limited.
pub fn limits_json(limits: &[LimitState]) -> Option<Value> {
    let object = |limit: &LimitState| {
        json!({
            "policy": limit.name,
            "limit": limit.limit,
            "remaining": limit.remaining,
            "reset": limit.reset,
        })
    };
    (!limits.is_empty()).then(|| limits.iter().map(object).collect())
}

/// The details of a refusal by a rate limit. A call that can never pass costs more than the burst.
pub fn rate_details(limit: &LimitState, cost: u32, burst: u32) -> Value {
    match limit.wait.seconds() {
        Some(seconds) => json!({
            "policy": limit.name,
            "limit": limit.limit,
            "period": limit.window,
            "retry_after": seconds,
        }),
        None => json!({
            "policy": limit.name,
            "limit": limit.limit,
            "period": limit.window,
            "cost": cost,
            "burst": burst,
        }),
    }
}

/// The details of a refusal by a quota, which is renewed at an instant, or never.
pub fn quota_details(meter: &str, amount: i64, used: i64, resets_at: Option<&str>) -> Value {
    json!({ "meter": meter, "amount": amount, "used": used, "resets_at": resets_at })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sfv::{BareItem, List, ListEntry, Parser};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn minute(remaining: u64, wait: Wait) -> LimitState<'static> {
        let (limit, window, reset) = (100, Some(60), Some(38));
        LimitState { name: "minute", limit, window, remaining, reset, wait }
    }

    fn month(wait: Wait) -> LimitState<'static> {
        LimitState {
            name: "month",
            limit: 10_000,
            window: None,
            remaining: 0,
            reset: Some(86_400),
            wait,
        }
    }

    #[test]
    fn a_refusal_tells_when_to_come_back() {
        let limits = [minute(0, Wait::Nanos(6 * SECOND + 1)), month(Wait::None)];
        assert_eq!(
            Value::from(header_fields(Fields::Denied, &limits)),
            json!({
                "Retry-After": "7",
                "RateLimit": "\"minute\";r=0;t=7",
                "RateLimit-Policy": "\"minute\";q=100;w=60, \"month\";q=10000",
            })
        );
        assert_eq!(
            Value::from(header_fields(Fields::Legacy, &limits)),
            json!({
                "Retry-After": "7",
                "X-RateLimit-Limit": "100",
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": "7",
            })
        );
        let off = header_fields(Fields::Off, &limits);
        assert_eq!(Value::from(off), json!({"Retry-After": "7"}));
        let details = json!({"policy": "minute", "limit": 100, "period": 60, "retry_after": 7});
        assert_eq!(rate_details(&limits[0], 1, 20), details);
    }

    #[test]
    fn the_longest_wait_is_stated() {
        let limits = [minute(0, Wait::Nanos(1)), month(Wait::Nanos(86_400 * SECOND))];
        assert_eq!(retry_after(&limits), Some(86_400));
        let fields = header_fields(Fields::Always, &limits);
        assert_eq!(fields["RateLimit"], "\"minute\";r=0;t=1, \"month\";r=0;t=86400");
    }

    #[test]
    fn a_call_that_never_passes_is_not_to_be_tried_again() {
        let limits = [minute(20, Wait::Forever), month(Wait::Nanos(SECOND))];
        let fields = header_fields(Fields::Denied, &limits);
        assert_eq!(fields.get("Retry-After"), None);
        assert_eq!(fields["RateLimit"], "\"minute\";r=20, \"month\";r=0;t=1");
        let details =
            json!({"policy": "minute", "limit": 100, "period": 60, "cost": 21, "burst": 20});
        assert_eq!(rate_details(&limits[0], 21, 20), details);
        let legacy = header_fields(Fields::Legacy, &limits);
        assert_eq!(legacy.get("X-RateLimit-Reset"), None);
    }

    #[test]
    fn an_answer_that_passes_has_fields_if_they_are_wanted() {
        let limits = [minute(37, Wait::None), month(Wait::None)];
        let of = |choice| Value::from(header_fields(choice, &limits));
        assert_eq!((of(Fields::Denied), of(Fields::Off)), (json!({}), json!({})));
        assert_eq!(
            of(Fields::Always),
            json!({
                "RateLimit": "\"minute\";r=37;t=38, \"month\";r=0;t=86400",
                "RateLimit-Policy": "\"minute\";q=100;w=60, \"month\";q=10000",
            })
        );
        assert_eq!(of(Fields::Legacy)["X-RateLimit-Reset"], "86400");
        for (_, choice) in Fields::ALL {
            assert!(header_fields(choice, &[]).is_empty());
        }
        let full = LimitState { reset: Some(0), ..minute(100, Wait::None) };
        assert_eq!(header_fields(Fields::Always, &[full])["RateLimit"], "\"minute\";r=100");
    }

    #[test]
    fn a_name_stands_for_the_tighter_limit() {
        let (wide, tight) = (minute(90, Wait::None), minute(3, Wait::None));
        let of = |limits: &[_]| header_fields(Fields::Always, limits)["RateLimit"].clone();
        assert_eq!(of(&[wide, tight]), "\"minute\";r=3;t=38");
        assert_eq!(of(&[tight, wide]), "\"minute\";r=3;t=38");
        assert_eq!(of(&[wide, wide]), "\"minute\";r=90;t=38");
        let refusing = minute(5, Wait::Nanos(1));
        assert_eq!(of(&[tight, refusing]), "\"minute\";r=5;t=1");
    }

    #[test]
    fn limits_are_json() {
        assert_eq!(limits_json(&[]), None);
        let limits = [minute(37, Wait::None), LimitState { reset: None, ..month(Wait::Forever) }];
        assert_eq!(
            limits_json(&limits),
            Some(json!([
                {"policy": "minute", "limit": 100, "remaining": 37, "reset": 38},
                {"policy": "month", "limit": 10_000, "remaining": 0, "reset": null},
            ]))
        );
        let at = Some("2026-12-01T00:00:00+00:00");
        let details = json!({"meter": "calls", "amount": 5, "used": 6, "resets_at": at});
        assert_eq!(quota_details("calls", 5, 6, at), details);
    }

    fn waits() -> impl Strategy<Value = Wait> {
        prop_oneof![Just(Wait::None), Just(Wait::Forever), (1..u64::MAX).prop_map(Wait::Nanos)]
    }

    /// Items of a field, by their names.
    fn items(field: &Value) -> Vec<(String, Vec<(String, i64)>)> {
        let text = field.as_str().expect("a text");
        let list: List = Parser::new(text).parse().expect("a list of RFC 9651");
        let item = |entry: &ListEntry| {
            let ListEntry::Item(item) = entry else { panic!("{text}: an inner list") };
            let BareItem::String(name) = &item.bare_item else { panic!("{text}: no string") };
            let parameter = |(key, value): (&sfv::Key, &BareItem)| {
                let BareItem::Integer(value) = value else { panic!("{text}: no integer") };
                (key.to_string(), i64::from(*value))
            };
            (name.to_string(), item.params.iter().map(parameter).collect())
        };
        list.iter().map(item).collect()
    }

    proptest! {
        /// A parser of RFC 9651 reads the fields of any limits. What it reads is what the draft
        /// asks for, and no promise is earlier than `Retry-After`.
        #[test]
        fn the_fields_are_structured(
            limits in prop::collection::vec(
                ("[ -~]{0,6}", any::<u64>(), any::<Option<u32>>(), any::<u64>(),
                 any::<Option<u64>>(), waits()),
                1..6,
            ),
        ) {
            let limits: Vec<_> = limits
                .iter()
                .map(|(name, limit, window, remaining, reset, wait)| LimitState {
                    name,
                    limit: *limit,
                    window: window.map(|window| window.max(1)),
                    remaining: *remaining,
                    reset: *reset,
                    wait: *wait,
                })
                .collect();
            let fields = header_fields(Fields::Always, &limits);
            let retry_after = fields.get("Retry-After").map(|it| it.as_str().expect("a text"));
            let retry_after = retry_after.map(|it| it.parse::<i64>().expect("a number"));
            let (policies, states) = (items(&fields["RateLimit-Policy"]), items(&fields["RateLimit"]));
            prop_assert!(!states.is_empty());
            for (name, parameters) in &policies {
                let limit = limits.iter().find(|limit| limit.name == name);
                prop_assert!(limit.is_some());
                prop_assert_eq!(policies.iter().filter(|(other, _)| other == name).count(), 1);
                let keys: Vec<_> = parameters.iter().map(|(key, _)| key.as_str()).collect();
                prop_assert!(keys == ["q"] || keys == ["q", "w"]);
                prop_assert!(parameters.iter().all(|(key, value)| *value >= i64::from(key == "w")));
            }
            for (name, parameters) in &states {
                prop_assert!(policies.iter().any(|(other, _)| other == name));
                let keys: Vec<_> = parameters.iter().map(|(key, _)| key.as_str()).collect();
                prop_assert!(keys == ["r"] || keys == ["r", "t"]);
                prop_assert!(parameters.iter().all(|(_, value)| *value >= 0));
                if let (Some(retry_after), [_, (_, t)]) = (retry_after, &parameters[..]) {
                    prop_assert!(*t <= retry_after);
                }
            }
            let waits: Vec<_> = limits.iter().map(|limit| limit.wait).collect();
            let never = waits.contains(&Wait::Forever) || waits.iter().all(|it| *it == Wait::None);
            prop_assert_eq!(retry_after.is_none(), never);
        }
    }
}
