//! The counters of `vpk.stats`, the uses of keys in `vpk.key_list`, and handing over a standby's
//! uses to the primary.

use pgrx::prelude::*;

use pure::answer::status::Status;

use crate::admin::usage::{self, UsageFilter};
use crate::pg::call::Call;
use crate::pg::error::OrRaise;
use crate::pg::ffi::guard::passing_errors;
use crate::pg::sql::visibility;
use crate::pg::types::appended::also_named;
use crate::pg::types::json::jsonb;
use crate::pg::types::table::TableIterator;
use crate::pg::types::{Interval, Json, Text, TextArray, Timestamp, Uuid};
use crate::usage::{current, handover, stats};

/// The row of the view `vpk.stats`, which picks each answer by the label beside it.
#[pg_extern(volatile, parallel_unsafe, schema = "vpk", name = "stats_row")]
fn counters_row(
    call: Call,
) -> TableIterator<
    'static,
    (
        name!(since, Option<Timestamp>),
        name!(answers, Option<Vec<i64>>),
        name!(uses_pending, Option<i64>),
        name!(uses_flushed, Option<i64>),
        name!(uses_dropped, Option<i64>),
        name!(last_flush_at, Option<Timestamp>),
        name!(last_flush_seconds, Option<f64>),
        name!(last_error_at, Option<Timestamp>),
        name!(last_error, Option<Text>),
        name!(statuses, Option<TextArray>),
        name!(limits_unenforced, Option<i64>),
    ),
> {
    passing_errors(|| {
        let Some(stats) = stats::own() else {
            let nothing = (None, None, None, None, None, None, None, None, None, None, None);
            return TableIterator::once(&call, nothing);
        };
        let last_flush = stats.last_flush;
        let row = (
            Some(Timestamp::from_micros(stats.since)),
            Some(stats.answers),
            Some(stats.pending),
            Some(stats.flushed),
            Some(stats.dropped),
            last_flush.map(|flush| Timestamp::from_micros(flush.ended_at)),
            last_flush.map(|flush| flush.micros as f64 / 1e6),
            stats.failure.as_ref().map(|(at, _)| Timestamp::from_micros(*at)),
            stats.failure.as_ref().map(|(_, message)| Text::new(&call, message)),
            Some(TextArray::new(Status::ALL.iter().map(|status| status.label()))),
            Some(stats.unenforced),
        );
        TableIterator::once(&call, row)
    })
}

// Of 0.5.0 to 0.9.0, which have no limits; and of releases before, whose view picks each answer by
// its position.
also_named!(counters_row_wrapper, labelled_stats_row_wrapper, pg_finfo_labelled_stats_row_wrapper);
also_named!(counters_row_wrapper, stats_row_wrapper, pg_finfo_stats_row_wrapper);

/// For the view `vpk.key_list`, which passes what its snapshot shows in the table.
#[pg_extern(stable, parallel_safe, schema = "vpk")]
fn current_uses(key_id: Option<Uuid>, uses: Option<i64>) -> i64 {
    passing_errors(|| {
        let uses = uses.unwrap_or(0);
        key_id.map_or(uses, |key| current::uses(key, uses, visibility::by_caller()))
    })
}

/// For the view `vpk.key_list`, in the same way.
#[pg_extern(stable, parallel_safe, schema = "vpk")]
fn current_last_use(key_id: Option<Uuid>, last_used_at: Option<Timestamp>) -> Option<Timestamp> {
    passing_errors(|| match key_id {
        Some(key) => current::last_use(key, last_used_at, visibility::by_caller()),
        None => last_used_at,
    })
}

#[pg_extern(volatile, parallel_unsafe)]
fn vpk_pending_uses(
    max_rows: default!(Option<i32>, "10000"),
    call: Call,
) -> TableIterator<'static, (name!(key_id, Uuid), name!(last_used_at, Timestamp), name!(uses, i64))>
{
    passing_errors(|| {
        let rows = handover::pending(max_rows).or_raise().into_iter().map(|reports| {
            let uses = i64::try_from(reports.uses).unwrap_or(i64::MAX);
            (Uuid::new(&call, reports.key), Timestamp::from_micros(reports.last_used_at), uses)
        });
        TableIterator::new(&call, rows)
    })
}

#[pg_extern(volatile, parallel_unsafe)]
fn vpk_settle_uses(key_id: Option<Uuid>, uses: Option<i64>) -> i64 {
    passing_errors(|| handover::settle(key_id, uses).or_raise())
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_add_uses(
    key_id: Option<Uuid>,
    last_used_at: Option<Timestamp>,
    uses: Option<i64>,
    call: Call,
) -> bool {
    passing_errors(|| handover::add(&call, key_id, last_used_at, uses).or_raise())
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_usage(
    account: default!(Option<Text>, "NULL"),
    id: default!(Option<Uuid>, "NULL"),
    since: default!(Option<Timestamp>, "NULL"),
    until: default!(Option<Timestamp>, "NULL"),
    bucket: default!(Option<Interval>, "'1 hour'"),
    call: Call,
) -> TableIterator<
    'static,
    (name!(starts_at, Timestamp), name!(uses, i64), name!(denied, Json), name!(charged, Json)),
> {
    passing_errors(|| {
        let filter = UsageFilter { account, id };
        let found = usage::usage(&call, filter, since, until, bucket).or_raise();
        let rows = found.into_iter().map(|bucket| {
            let denied = jsonb(&serde_json::Value::Object(bucket.denied));
            let charged = jsonb(&serde_json::Value::Object(bucket.charged));
            (bucket.starts_at, bucket.uses, denied, charged)
        });
        TableIterator::new(&call, rows)
    })
}
