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

/// The body of a refusal; None for `VALID`.
pub fn body(status: Status, request_id: &str, context: &Context) -> Option<Value> {
    let mut error = Map::new();
    error.insert("code".into(), status.label().into());
    error.insert("message".into(), message(status, &context.required_plans).into());
    error.insert("request_id".into(), request_id.into());
    match (status, context.tasks) {
        (Status::Valid, _) => return None,
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
    Some(json!({ "error": error }))
}

/// The header fields of a status. Every 401 has `WWW-Authenticate` (RFC 9110, section 15.5.2). A
/// request with a credential, or without the scope, gets the error code of RFC 6750, section 3.1.
/// So does one with a key that is no credential, since nothing else says what is wrong with it.
pub fn headers(status: Status, scope: Option<&str>, has_bare_key: bool) -> Value {
    const CHALLENGE: &str = "Bearer realm=\"api\"";
    let field = match status {
        Status::MissingApiKey if has_bare_key => {
            let description = "The API key must follow the word Bearer and a space";
            format!("{CHALLENGE}, error=\"invalid_request\", error_description=\"{description}\"")
        }
        Status::MissingApiKey => CHALLENGE.to_owned(),
        Status::InsufficientScope => {
            let scope = scope.filter(|scope| is_scope(scope.as_bytes()));
            let scope = scope.map(|scope| format!(", scope=\"{scope}\"")).unwrap_or_default();
            format!("{CHALLENGE}, error=\"insufficient_scope\"{scope}")
        }
        _ if status.http_status() == 401 => {
            let description = status.message();
            format!("{CHALLENGE}, error=\"invalid_token\", error_description=\"{description}\"")
        }
        _ => return json!({}),
    };
    json!({ "WWW-Authenticate": field })
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
            Some(json!({"error": {
                "code": "INVALID_API_KEY",
                "message": "The provided API key is invalid or has been revoked",
                "request_id": "req_abc123xyz"}}))
        );
        let context = Context {
            current_plan: Some("Free".into()),
            required_plans: plans(&["Plus", "Pro"]),
            ..Context::default()
        };
        assert_eq!(
            body(Status::PlanRequired, "req_abc123xyz", &context),
            Some(json!({"error": {
                "code": "PLAN_REQUIRED",
                "message": "API access requires a Plus or Pro plan. \
                            Please upgrade your subscription.",
                "request_id": "req_abc123xyz",
                "details": {"current_plan": "Free", "required_plans": ["Plus", "Pro"]}}}))
        );
        assert_eq!(body(Status::Valid, "req_abc123xyz", &context), None);
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
        let body = body(Status::ConcurrencyLimitExceeded, "r", &context).expect("a refusal");
        assert_eq!(body["error"]["details"], json!({"allowed": 3, "running": 3}));
    }

    #[test]
    fn challenges() {
        assert_eq!(headers(Status::Valid, None, false), json!({}));
        assert_eq!(headers(Status::PlanRequired, None, false), json!({}));
        assert_eq!(
            headers(Status::MissingApiKey, None, false),
            json!({"WWW-Authenticate": "Bearer realm=\"api\""})
        );
        assert_eq!(
            headers(Status::MissingApiKey, None, true),
            json!({"WWW-Authenticate":
                "Bearer realm=\"api\", error=\"invalid_request\", \
                 error_description=\"The API key must follow the word Bearer and a space\""})
        );
        assert_eq!(
            headers(Status::ApiKeyExpired, None, false),
            json!({"WWW-Authenticate": "Bearer realm=\"api\", error=\"invalid_token\", \
                                        error_description=\"The API key has expired\""})
        );
        assert_eq!(
            headers(Status::InsufficientScope, Some("tasks:write"), false),
            json!({"WWW-Authenticate":
                "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"tasks:write\""})
        );
        assert_eq!(
            headers(Status::InsufficientScope, Some("a\" , b"), false),
            json!({"WWW-Authenticate": "Bearer realm=\"api\", error=\"insufficient_scope\""})
        );
        // Nothing in a description may end its quoted string (RFC 6750, section 3).
        for status in Status::ALL {
            assert!(!status.message().contains(['"', '\\']));
        }
    }
}
