//! The audit trail, `vpk.events`.

use pgrx::prelude::*;

use crate::admin::{actor, delete};
use crate::pg::call::Call;
use crate::pg::error::OrRaise;
use crate::pg::ffi::guard::passing_errors;
use crate::pg::types::{Text, Timestamp};

/// The default of `vpk.events.actor`.
#[pg_extern(volatile, parallel_unsafe, schema = "vpk")]
fn event_actor(call: Call) -> Option<Text> {
    passing_errors(|| actor::of_call(&call))
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_purge_events(
    before: Option<Timestamp>,
    max_rows: default!(Option<i32>, "NULL"),
    call: Call,
) -> i64 {
    passing_errors(|| delete::purge_events(&call, before, max_rows).or_raise())
}
