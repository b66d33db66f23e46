//! Starting, extending and finishing concurrent tasks.

use pgrx::prelude::*;

use crate::pg::call::Call;
use crate::pg::error::OrRaise;
use crate::pg::ffi::guard::passing_errors;
use crate::pg::types::status::StatusLabel;
use crate::pg::types::{Inet, Interval, Json, Text, Timestamp, Uuid};
use crate::tasks;

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_task_start(
    token: Option<Text>,
    ttl: default!(Option<Interval>, "'15 min'"),
    client_ip: default!(Option<Inet>, "NULL"),
    scope: default!(Option<Text>, "NULL"),
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
    ),
> {
    passing_errors(|| {
        let started = tasks::start(&call, token, ttl, client_ip, scope).or_raise();
        TableIterator::once((
            StatusLabel::new(&call, started.status),
            started.status.http_status(),
            started.lease,
            started.running,
            started.allowed,
            started.expires_at,
            started.error,
        ))
    })
}

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
