//! The response of a service to its caller: the JSON body and the header fields.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::answer::status::Status;
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
    matches!(status, Status::PlanRequired | Status::ConcurrencyLimitExceeded)
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
}

/// Whether the header fields of a status depend on facts.
pub const fn headers_vary(status: Status, facts: &HeaderFacts) -> bool {
    facts.has_bare_key
        || matches!(status, Status::InsufficientScope | Status::ConcurrencyLimitExceeded)
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
        _ => return json!({}),
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
