//! `vpk_verify` and the other functions that verify a key, and the texts of statuses.

use pgrx::prelude::*;

use pure::answer::decision::Request;
use pure::answer::response;
use pure::answer::status::Status;
use pure::encoding::narrow;
use pure::limits::rate_decision;

use crate::pg::call::Call;
use crate::pg::ffi::guard::passing_errors;
use crate::pg::types::appended::{Appended, also_named};
use crate::pg::types::status::StatusLabel;
use crate::pg::types::table::TableIterator;
use crate::pg::types::{Bytes, Inet, Json, Text, TextArray, Timestamp, Uuid};
use crate::verify::{self, RequestOptions, authenticate, body};

#[pg_extern(volatile, parallel_unsafe)]
fn vpk_verify(token: Option<Text>, call: Call) -> StatusLabel {
    passing_errors(|| {
        let status = verify::token(&call, token, &verify::bare_request());
        StatusLabel::new(&call, status)
    })
}

#[pg_extern(volatile, parallel_unsafe)]
fn vpk_verify_hash(
    key_hash: Option<Bytes>,
    client_ip: default!(Option<Inet>, "NULL"),
    call: Call,
) -> StatusLabel {
    passing_errors(|| {
        let request =
            Request { client_ip: verify::client_network(client_ip), ..verify::bare_request() };
        let status = verify::hash(&call, key_hash, &request);
        StatusLabel::new(&call, status)
    })
}

#[pg_extern(volatile, parallel_unsafe, name = "vpk_authenticate")]
fn authenticate_at_cost(
    authorization: Option<Text>,
    scope: default!(Option<Text>, "NULL"),
    client_ip: default!(Option<Inet>, "NULL"),
    request_id: default!(Option<Text>, "NULL"),
    environment: default!(Option<Text>, "NULL"),
    cost: default!(Appended<i32, 5>, "1"),
    call: Call,
) -> TableIterator<
    'static,
    (
        name!(status, StatusLabel),
        name!(http_status, i32),
        name!(key_id, Option<Uuid>),
        name!(key_name, Option<Text>),
        name!(account, Option<Text>),
        name!(plan, Option<Text>),
        name!(environment, Option<Text>),
        name!(scopes, Option<TextArray>),
        name!(metadata, Option<Json>),
        name!(expires_at, Option<Timestamp>),
        name!(request_id, Text),
        name!(headers, Json),
        name!(error, Option<Json>),
        name!(limits, Option<Json>),
    ),
> {
    passing_errors(|| {
        let options = RequestOptions { scope, client_ip, request_id, environment };
        let cost = rate_decision::cost_of(cost.0);
        let answer = authenticate::authenticate(&call, authorization, &options, cost);
        let row = (
            StatusLabel::new(&call, answer.status),
            answer.status.http_status(),
            answer.key_id,
            answer.key_name,
            answer.account,
            answer.plan,
            answer.environment,
            answer.scopes,
            answer.metadata,
            answer.expires_at,
            answer.request_id,
            answer.headers,
            answer.error,
            answer.limits,
        );
        TableIterator::once(&call, row)
    })
}

also_named!(
    authenticate_at_cost_wrapper,
    vpk_authenticate_wrapper,
    pg_finfo_vpk_authenticate_wrapper
);

#[pg_extern(immutable, parallel_safe)]
fn vpk_client_ip(value: Option<Text>, call: Call) -> Option<Inet> {
    passing_errors(|| verify::client_ip(&call, value?))
}

#[pg_extern(volatile, parallel_unsafe)]
fn vpk_error(
    status: Option<StatusLabel>,
    request_id: default!(Option<Text>, "NULL"),
    account: default!(Option<Text>, "NULL"),
    call: Call,
) -> Option<Json> {
    passing_errors(|| {
        let status = status.and_then(StatusLabel::status)?;
        let account = account.map(|account| body::stored_account(&call, account));
        let facts = body::facts(&call, status, account, None);
        let id = body::presented_id(&call, request_id);
        body::compose(&call, status, &facts, id, None).1
    })
}

/// The rows of the view `vpk.status_codes`.
#[pg_extern(volatile, parallel_unsafe, schema = "vpk")]
fn status_rows(
    call: Call,
) -> TableIterator<
    'static,
    (
        name!(status, StatusLabel),
        name!(http_status, i32),
        name!(message, Text),
        name!(description, Text),
    ),
> {
    passing_errors(|| {
        let facts = body::facts(&call, Status::PlanRequired, None, None);
        let plans = body::plan_names(facts.required_plans);
        let rows = Status::ALL.iter().map(|&status| {
            (
                StatusLabel::new(&call, status),
                status.http_status(),
                Text::new(&call, &narrow(&response::message(status, &plans))),
                Text::new(&call, status.description().as_bytes()),
            )
        });
        TableIterator::new(&call, rows)
    })
}
