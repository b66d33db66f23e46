//! The response of a service to its caller: the JSON body and the header fields.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::answer::status::Status;
use crate::limits::header_fields::{Fields, LimitState, header_fields};
use crate::request::scope::is_scope;

/// The facts in a body besides code and message.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The account's plan, if it is known.
    pub current_plan: Option<String>,
    /// The plans that include API access, in order of their rank.
    pub required_plans: Vec<String>,
    /// How many tasks the account's plan allows (None is no limit), and how many are running.
    pub tasks: Option<(Option<i32>, i64)>,
    /// What a rate limit or a quota that refuses a request says of itself.
    pub limit: Option<Value>,
}

/// The message of a status. For `PLAN_REQUIRED`, it names the plans that include API access.
pub fn message(status: Status, required_plans: &[String]) -> Cow<'static, str> {
    let (Status::PlanRequired, Some((last, others))) = (status, required_plans.split_last()) else {
        return status.message().into();
    };
    let plans = match others {
        [] => last.clone(),
        _ => format!("{} or {last}", others.join(", ")),
    };
    let article =
        if plans.starts_with(['A', 'E', 'I', 'O', 'a', 'e', 'i', 'o']) { "an" } else { "a" };
    format!("API access requires {article} {plans} plan. Please upgrade your subscription.").into()
}

/// Whether the body of a status says more than the status and the request id.
pub const fn has_details(status: Status) -> bool {
    matches!(
        status,
        Status::PlanRequired
            | Status::RateLimited
            | Status::QuotaExceeded
            | Status::ConcurrencyLimitExceeded
    )
}

/// The body of a refusal.
pub fn body(status: Status, request_id: &str, context: &Context) -> Value {
    let mut error = Map::new();
    error.insert("code".into(), status.label().into());
    error.insert("message".into(), message(status, &context.required_plans).into());
    error.insert("request_id".into(), request_id.into());
    match (status, context.tasks) {
        (Status::PlanRequired, _) => {
            let details = json!({
                "current_plan": context.current_plan,
                "required_plans": context.required_plans,
            });
            error.insert("details".into(), details);
        }
        (Status::ConcurrencyLimitExceeded, Some((allowed, running))) => {
            error.insert("details".into(), json!({"allowed": allowed, "running": running}));
        }
        (Status::RateLimited | Status::QuotaExceeded, _) => {
            if let Some(details) = &context.limit {
                error.insert("details".into(), details.clone());
            }
        }
        _ => {}
    }
    json!({ "error": error })
}

/// The facts in header fields besides the status.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeaderFacts<'call> {
    /// The scope that the request needs.
    pub scope: Option<&'call [u8]>,
    /// Whether the credential is a key, without the word before it.
    pub has_bare_key: bool,
    /// When another request can succeed: so many microseconds from now, if that is known.
    pub retry_after: Option<i64>,
    /// The limits that the request was counted or refused by.
    pub limits: &'call [LimitState<'call>],
    /// Which header fields tell of them.
    pub fields: Fields,
}

/// Whether the header fields of a status depend on facts.
pub const fn headers_vary(status: Status, facts: &HeaderFacts) -> bool {
    facts.has_bare_key
        || matches!(
            status,
            Status::InsufficientScope
                | Status::RateLimited
                | Status::QuotaExceeded
                | Status::ConcurrencyLimitExceeded
        )
        || !facts.limits.is_empty() && matches!(facts.fields, Fields::Always | Fields::Legacy)
}

/// The header fields of a status. Every 401 has `WWW-Authenticate` (RFC 9110, section 15.5.2). A
/// request with a credential, or without the scope, gets the error code of RFC 6750, section 3.1.
/// So does one with a key that is no credential, since nothing else says what is wrong with it.
pub fn headers(status: Status, facts: &HeaderFacts) -> Value {
    const CHALLENGE: &str = "Bearer realm=\"api\"";
    let field = match status {
        Status::MissingApiKey if facts.has_bare_key => {
            let description = "The API key must follow the word Bearer and a space";
            format!("{CHALLENGE}, error=\"invalid_request\", error_description=\"{description}\"")
        }
        Status::MissingApiKey => CHALLENGE.to_owned(),
        Status::InsufficientScope => {
            let scope = facts.scope.filter(|scope| is_scope(scope));
            let scope = scope.and_then(|scope| str::from_utf8(scope).ok());
            let scope = scope.map(|scope| format!(", scope=\"{scope}\"")).unwrap_or_default();
            format!("{CHALLENGE}, error=\"insufficient_scope\"{scope}")
        }
        _ if status.http_status() == 401 => {
            let description = status.message();
            format!("{CHALLENGE}, error=\"invalid_token\", error_description=\"{description}\"")
        }
        Status::ConcurrencyLimitExceeded => {
            return json!({ "Retry-After": retry_seconds(facts.retry_after).to_string() });
        }
        _ => return header_fields(facts.fields, facts.limits).into(),
    };
    json!({ "WWW-Authenticate": field })
}

/// Seconds, rounded up, from 1 to 60. A task can be given back before its lease ends, so that a
/// longer wait would be too long. Where nothing is known, it is the longest.
fn retry_seconds(micros: Option<i64>) -> i64 {
    const LONGEST: i64 = 60;
    micros.map_or(LONGEST, |micros| {
        micros.saturating_add(999_999).div_euclid(1_000_000).clamp(1, LONGEST)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::bucket::Wait;
    use crate::limits::header_fields::rate_details;

    fn plans(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn bodies_of_the_api_documentation() {
        assert_eq!(
            body(Status::InvalidApiKey, "req_abc123xyz", &Context::default()),
            json!({"error": {
                "code": "INVALID_API_KEY",
                "message": "The provided API key is invalid or has been revoked",
                "request_id": "req_abc123xyz"}})
        );
        let context = Context {
            current_plan: Some("Free".into()),
            required_plans: plans(&["Plus", "Pro"]),
            ..Context::default()
        };
        assert_eq!(
            body(Status::PlanRequired, "req_abc123xyz", &context),
            json!({"error": {
                "code": "PLAN_REQUIRED",
                "message": "API access requires a Plus or Pro plan. \
                            Please upgrade your subscription.",
                "request_id": "req_abc123xyz",
                "details": {"current_plan": "Free", "required_plans": ["Plus", "Pro"]}}})
        );
    }

    #[test]
    fn the_message_follows_the_plans() {
        for (names, expected) in [
            (&[][..], "API access is not included in any plan."),
            (&["Pro"], "API access requires a Pro plan. Please upgrade your subscription."),
            (
                &["Plus", "Pro", "Team"],
                "API access requires a Plus, Pro or Team plan. Please upgrade your subscription.",
            ),
            (
                &["Enterprise"],
                "API access requires an Enterprise plan. Please upgrade your subscription.",
            ),
        ] {
            assert_eq!(message(Status::PlanRequired, &plans(names)), expected);
        }
    }

    #[test]
    fn tasks_are_in_the_body() {
        let context = Context { tasks: Some((Some(3), 3)), ..Context::default() };
        let body = body(Status::ConcurrencyLimitExceeded, "r", &context);
        assert_eq!(body["error"]["details"], json!({"allowed": 3, "running": 3}));
    }

    #[test]
    fn limits_are_in_the_body_and_in_header_fields() {
        let limit = LimitState {
            name: "minute",
            limit: 100,
            window: Some(60),
            remaining: 0,
            reset: Some(60),
            wait: Wait::Nanos(6_000_000_001),
        };
        let refused = [limit];
        let facts = HeaderFacts { limits: &refused, ..HeaderFacts::default() };
        assert_eq!(
            headers(Status::RateLimited, &facts),
            json!({
                "Retry-After": "7",
                "RateLimit": "\"minute\";r=0;t=7",
                "RateLimit-Policy": "\"minute\";q=100;w=60",
            })
        );
        let details = Some(rate_details(&limit, 1, 100));
        let context = Context { limit: details, ..Context::default() };
        assert_eq!(
            body(Status::RateLimited, "r", &context)["error"]["details"],
            json!({"policy": "minute", "limit": 100, "period": 60, "retry_after": 7})
        );
        assert_eq!(
            body(Status::RateLimited, "r", &Context::default())["error"].get("details"),
            None
        );
        // A call that passes says nothing of its limits, unless it shall.
        let passed = [LimitState { wait: Wait::None, remaining: 99, ..limit }];
        for (fields, expected) in [
            (Fields::Denied, None),
            (Fields::Off, None),
            (Fields::Always, Some("RateLimit")),
            (Fields::Legacy, Some("X-RateLimit-Limit")),
        ] {
            let facts = HeaderFacts { limits: &passed, fields, ..HeaderFacts::default() };
            let headers = headers(Status::Valid, &facts);
            assert_eq!(headers_vary(Status::Valid, &facts), expected.is_some(), "{fields:?}");
            assert_eq!(headers, if expected.is_some() { headers.clone() } else { json!({}) });
            assert!(expected.is_none_or(|name| headers.get(name).is_some()), "{fields:?}");
        }
    }

    #[test]
    fn challenges() {
        let with_scope = |scope: &[u8]| {
            let facts = HeaderFacts { scope: Some(scope), ..HeaderFacts::default() };
            headers(Status::InsufficientScope, &facts)
        };
        assert_eq!(headers(Status::Valid, &HeaderFacts::default()), json!({}));
        assert_eq!(headers(Status::PlanRequired, &HeaderFacts::default()), json!({}));
        assert_eq!(
            headers(Status::MissingApiKey, &HeaderFacts::default()),
            json!({"WWW-Authenticate": "Bearer realm=\"api\""})
        );
        assert_eq!(
            headers(
                Status::MissingApiKey,
                &HeaderFacts { has_bare_key: true, ..HeaderFacts::default() }
            ),
            json!({"WWW-Authenticate":
                "Bearer realm=\"api\", error=\"invalid_request\", \
                 error_description=\"The API key must follow the word Bearer and a space\""})
        );
        assert_eq!(
            headers(Status::ApiKeyExpired, &HeaderFacts::default()),
            json!({"WWW-Authenticate": "Bearer realm=\"api\", error=\"invalid_token\", \
                                        error_description=\"The API key has expired\""})
        );
        assert_eq!(
            with_scope(b"tasks:write"),
            json!({"WWW-Authenticate":
                "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"tasks:write\""})
        );
        assert_eq!(
            with_scope(b"a\" , b"),
            json!({"WWW-Authenticate": "Bearer realm=\"api\", error=\"insufficient_scope\""})
        );
        // Nothing in a description may end its quoted string (RFC 6750, section 3).
        for status in Status::ALL {
            assert!(!status.message().contains(['"', '\\']));
        }
    }

    #[test]
    fn another_request_follows_after_1_to_60_seconds() {
        for (micros, seconds) in [
            (None, "60"),
            (Some(i64::MIN), "1"),
            (Some(0), "1"),
            (Some(1_000_000), "1"),
            (Some(1_000_001), "2"),
            (Some(59_000_001), "60"),
            (Some(61_000_000), "60"),
            (Some(i64::MAX), "60"),
        ] {
            let facts = HeaderFacts { retry_after: micros, ..HeaderFacts::default() };
            let expected = json!({"Retry-After": seconds});
            assert_eq!(headers(Status::ConcurrencyLimitExceeded, &facts), expected, "{micros:?}");
        }
    }
}
