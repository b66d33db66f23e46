//! What was counted, and uses that are brought from a standby to the primary.

use pgrx::prelude::*;

use crate::pg::call::Call;
use crate::pg::error::OrRaise;
use crate::pg::types::{Text, Timestamp, Uuid};
use crate::usage::{handover, stats};

/// The row of the view `vpk.stats`.
#[pg_extern(volatile, parallel_unsafe, schema = "vpk")]
#[allow(clippy::type_complexity)]
fn stats_row(
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
    ),
> {
    let Some(stats) = stats::own() else {
        return TableIterator::once((None, None, None, None, None, None, None, None, None));
    };
    let last_flush = stats.last_flush;
    TableIterator::once((
        Some(Timestamp::from_micros(stats.since)),
        Some(stats.answers),
        Some(stats.pending),
        Some(stats.flushed),
        Some(stats.dropped),
        last_flush.map(|flush| Timestamp::from_micros(flush.ended_at)),
        last_flush.map(|flush| flush.micros as f64 / 1e6),
        stats.failure.as_ref().map(|(at, _)| Timestamp::from_micros(*at)),
        stats.failure.as_ref().map(|(_, message)| Text::new(&call, message)),
    ))
}

#[pg_extern(volatile, parallel_unsafe)]
fn vpk_pending_uses(
    max_rows: default!(Option<i32>, "10000"),
    call: Call,
) -> TableIterator<'static, (name!(key_id, Uuid), name!(last_used_at, Timestamp), name!(uses, i64))>
{
    let reports: Vec<_> = handover::pending(max_rows)
        .or_raise()
        .into_iter()
        .map(|reports| {
            let uses = i64::try_from(reports.uses).unwrap_or(i64::MAX);
            (Uuid::new(&call, reports.key), Timestamp::from_micros(reports.last_used_at), uses)
        })
        .collect();
    TableIterator::new(reports)
}

#[pg_extern(volatile, parallel_unsafe)]
fn vpk_settle_uses(key_id: Option<Uuid>, uses: Option<i64>) -> i64 {
    handover::settle(key_id, uses).or_raise()
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_add_uses(
    key_id: Option<Uuid>,
    last_used_at: Option<Timestamp>,
    uses: Option<i64>,
    call: Call,
) -> bool {
    handover::add(&call, key_id, last_used_at, uses).or_raise()
}
