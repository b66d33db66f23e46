//! The full answer for a service: `vpk_authenticate`.

use pure::answer::decision::Request;
use pure::answer::response;
use pure::answer::status::Status;
use pure::encoding::widen;
use pure::key::environment::{Environment, Environments};
use pure::request::authorization::MAX_LENGTH;

use crate::pg::call::Call;
use crate::pg::server::{clock, settings};
use crate::pg::types::json::jsonb;
use crate::pg::types::{Inet, Json, Text, TextArray, Timestamp, Uuid};
use crate::verify::{Answer, body};

/// Everything a service needs to go on, or to answer its own caller.
pub struct Authentication {
    pub status: Status,
    pub key_id: Option<Uuid>,
    pub key_name: Option<Text>,
    pub account: Option<Text>,
    pub plan: Option<Text>,
    pub environment: Option<Text>,
    pub scopes: Option<TextArray>,
    pub metadata: Option<Json>,
    pub expires_at: Option<Timestamp>,
    pub request_id: Text,
    pub headers: Json,
    pub error: Option<Json>,
}

/// What is options, beside the header.
pub struct AuthenticateOptions {
    pub scope: Option<Text>,
    pub client_ip: Option<Inet>,
    pub request_id: Option<Text>,
    pub environment: Option<Text>,
}

/// Judges the header's value, and composes what goes with the answer.
pub fn authenticate(
    call: &Call,
    header: Option<Text>,
    options: &AuthenticateOptions,
) -> Authentication {
    // A scope is short (see limits::MAX_SCOPE_BYTES); a longer one is no key's.
    let scope = options.scope.map(|scope| scope.presented_unguarded(call, MAX_LENGTH).bytes);
    let request = Request {
        environments: accepted(call, options.environment),
        client_ip: super::client_network(options.client_ip),
        scope,
        now: clock::now().micros(),
    };
    let answer = super::header(call, header, &request);
    // From here on nothing is read any more.
    let (request_id, error) = body::for_answer(call, &answer, options.request_id);
    let scope = scope.map(widen);
    let headers = jsonb(&response::headers(answer.status, scope.as_deref()));
    shape(call, &answer, request_id, headers, error)
}

/// The environments that are accepted here and options for.
fn accepted(call: &Call, options: Option<Text>) -> Environments {
    let here = settings::environments();
    match options
        .map(|options| Environment::from_name(options.presented_unguarded(call, MAX_LENGTH).bytes))
    {
        None => here,
        Some(Some(options)) => here.only(options),
        Some(None) => Environments::default(),
    }
}

/// A denied key tells the caller's log which key and account it was, and no more: a service that
/// forgets to look at the status finds nothing to go on with.
fn shape(
    call: &Call,
    answer: &Answer,
    request_id: Text,
    headers: Json,
    error: Option<Json>,
) -> Authentication {
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
        scopes: details.map(|details| details.scopes_array),
        metadata: details.map(|details| details.metadata),
        expires_at: valid.and_then(|key| key.expires_at).map(Timestamp::from_micros),
        request_id,
        headers,
        error,
    }
}
