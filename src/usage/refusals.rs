//! Flushing the refusals of keys to the history.

use pure::usage::history::by_hour;

use crate::pg::server::{clock, settings};
use crate::store::history;
use crate::usage::flusher::{BATCH, Flush, sort};

/// Writes the pending refusals of a database for as long as the flusher may stay.
pub(super) fn flush(flush: &mut Flush) {
    let Flush { ledger, database, .. } = *flush;
    let now = clock::now().micros();
    let rest = ledger.rest_of_refusals(now, settings::usage_rewrite_interval());
    let mut next = Some(0);
    while let Some(from) = next {
        if flush.has_to_stop() {
            return;
        }
        let (batch, more) = ledger.refusals.collect(database, from, BATCH, rest);
        next = more;
        if batch.is_empty() {
            continue;
        }
        let kept = settings::usage_history() > 0;
        let (written, forgotten) = flush.connected.transaction(|call| {
            let skipped = if kept { history::add_refusals(call, &by_hour(&batch)) } else { None };
            sort(&batch, skipped, clock::now().micros())
        });
        ledger.settle_refusals(written.iter(), Some(rest));
        ledger.settle_refusals(forgotten.iter(), None);
    }
}
