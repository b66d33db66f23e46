//! The full answer for a service: `vpk_authenticate`.

use pure::answer::response::HeaderFacts;
use pure::answer::status::Status;
use pure::request::authorization::{MAX_LENGTH, has_bare_key};
use pure::validate::LATEST_EXPIRY;

use crate::pg::call::Call;
use crate::pg::types::{Json, Text, TextArray, Timestamp, Uuid};
use crate::verify::body::Response;
use crate::verify::{Answer, RequestOptions, body};

/// Everything that a service needs to serve a request, or to refuse it.
pub struct Authentication {
    /// The result of the verification.
    pub status: Status,
    /// The key that was presented, even where it is refused; None where there is no such key.
    pub key_id: Option<Uuid>,
    /// What the key is called; None where it is refused.
    pub key_name: Option<Text>,
    /// The account that owns the key, even where the key is refused.
    pub account: Option<Text>,
    /// The name of the account's plan; None where the key is refused.
    pub plan: Option<Text>,
    /// The name of the key's environment; None where the key is refused.
    pub environment: Option<Text>,
    /// What the key may be used for; None where it is refused.
    pub scopes: Option<TextArray>,
    /// What the application keeps with the key; None where the key is refused.
    pub metadata: Option<Json>,
    /// When the key expires; None is never, and where the key is refused.
    pub expires_at: Option<Timestamp>,
    /// The caller's request id, or a new one.
    pub request_id: Text,
    /// The headers of the HTTP response, by name.
    pub headers: Json,
    /// The body of the HTTP response; None where the key is valid.
    pub error: Option<Json>,
    /// What the rate limits have left that were asked; None where none was.
    pub limits: Option<Json>,
}

/// Verifies the credential in a header's value, charges what the call costs, and composes the
/// answer.
pub fn authenticate(
    call: &Call,
    header: Option<Text>,
    options: &RequestOptions,
    cost: u32,
) -> Authentication {
    let request = options.request_unguarded(call);
    let answer = super::header(call, header, &request, cost);
    let has_bare_key = answer.status == Status::MissingApiKey
        && header.is_some_and(|it| has_bare_key(it.presented_unguarded(call, MAX_LENGTH).bytes));
    let facts = HeaderFacts { scope: request.scope, has_bare_key, ..HeaderFacts::default() };
    shape(call, &answer, body::for_answer(call, &answer, options.request_id, &facts))
}

/// A refused key has its id and account in the answer, for the caller's log, and nothing else: a
/// service that forgets to check the status finds nothing to serve the request with.
fn shape(call: &Call, answer: &Answer, response: Response) -> Authentication {
    let valid = answer.key.filter(|_| answer.status == Status::Valid);
    let details = valid.and_then(|key| key.details);
    Authentication {
        status: answer.status,
        key_id: answer.key.map(|key| Uuid::new(call, key.id)),
        key_name: details.map(|details| details.name),
        account: answer.key.map(|key| key.account),
        plan: valid.and(answer.plan),
        environment: valid
            .and_then(|key| key.environment)
            .map(|environment| Text::new(call, environment.name().as_bytes())),
        scopes: details.map(|details| details.scopes),
        metadata: details.map(|details| details.metadata),
        expires_at: valid
            .and_then(|key| key.expires_at)
            .map(|expires_at| Timestamp::from_micros(expires_at.min(LATEST_EXPIRY))),
        request_id: response.request_id,
        headers: response.headers,
        error: response.error,
        limits: response.limits,
    }
}
