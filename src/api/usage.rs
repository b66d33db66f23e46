//! What was counted.

use pgrx::prelude::*;

use crate::pg::call::Call;
use crate::pg::types::{Text, Timestamp};
use crate::usage::stats;

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
