//! Starting, extending and finishing concurrent tasks.

use pgrx::prelude::*;

use pure::limits::rate_decision;

use crate::pg::call::Call;
use crate::pg::error::OrRaise;
use crate::pg::ffi::guard::passing_errors;
use crate::pg::types::appended::{Appended, also_named};
use crate::pg::types::status::StatusLabel;
use crate::pg::types::table::TableIterator;
use crate::pg::types::{Inet, Interval, Json, Text, Timestamp, Uuid};
use crate::tasks;
use crate::verify::RequestOptions;

#[pg_extern(volatile, parallel_unsafe, security_definer, name = "vpk_task_start")]
#[search_path(pg_catalog, pg_temp)]
#[expect(clippy::too_many_arguments, reason = "an SQL function has as many arguments")]
fn start_task_at_cost(
    token: Option<Text>,
    ttl: default!(Option<Interval>, "'15 min'"),
    client_ip: default!(Option<Inet>, "NULL"),
    scope: default!(Option<Text>, "NULL"),
    request_id: default!(Appended<Text, 4>, "NULL"),
    environment: default!(Appended<Text, 5>, "NULL"),
    cost: default!(Appended<i32, 6>, "1"),
    call: Call,
) -> TableIterator<
    'static,
    (
        name!(status, StatusLabel),
        name!(http_status, i32),
        name!(lease, Option<Uuid>),
        name!(running, Option<i32>),
        name!(allowed, Option<i32>),
        name!(expires_at, Option<Timestamp>),
        name!(error, Option<Json>),
        name!(headers, Json),
    ),
> {
    passing_errors(|| {
        let options = RequestOptions {
            scope,
            client_ip,
            request_id: request_id.0,
            environment: environment.0,
        };
        let started =
            tasks::start(&call, token, ttl, &options, rate_decision::cost_of(cost.0)).or_raise();
        let row = (
            StatusLabel::new(&call, started.status),
            started.status.http_status(),
            started.lease,
            started.running,
            started.allowed,
            started.expires_at,
            started.error,
            started.headers,
        );
        TableIterator::once(&call, row)
    })
}

also_named!(start_task_at_cost_wrapper, start_task_wrapper, pg_finfo_start_task_wrapper);
also_named!(start_task_at_cost_wrapper, vpk_task_start_wrapper, pg_finfo_vpk_task_start_wrapper);

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_task_extend(lease: Option<Uuid>, ttl: Option<Interval>, call: Call) -> Option<Timestamp> {
    passing_errors(|| tasks::extend(&call, lease, ttl).or_raise())
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_task_finish(lease: Option<Uuid>, call: Call) -> bool {
    passing_errors(|| tasks::finish(&call, lease))
}
