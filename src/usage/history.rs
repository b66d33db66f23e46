//! Usage over time: what the flusher does for it beside writing uses.

use core::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use pure::usage::history::{by_hour, day_of, first_of_hours, hour_of};
use pure::usage::shared::{Ledger, Tally};

use crate::pg::background::worker::Connected;
use crate::pg::call::Call;
use crate::pg::server::{clock, settings};
use crate::pg::types::Timestamp;
use crate::store::history::{self, charges};
use crate::usage::flusher::{BATCH, STAY, sort};

/// Writes the pending refusals of a database for as long as the flusher may stay.
pub(super) fn flush_refusals(
    connected: &mut Connected,
    ledger: Ledger,
    database: u32,
    started: Instant,
) {
    let now = clock::now().micros();
    let rest = ledger.rest_of_refusals(now, settings::usage_rewrite_interval());
    let mut next = Some(0);
    while let Some(from) = next {
        if started.elapsed() >= STAY {
            ledger.header.wanted.store(true, Relaxed);
            return;
        }
        let (batch, more) = ledger.refusals.collect(database, from, BATCH, rest);
        next = more;
        if batch.is_empty() {
            continue;
        }
        let kept = settings::usage_history() > 0;
        let (written, forgotten) = connected.transaction(|call| {
            let skipped = if kept { history::add_refusals(call, &by_hour(&batch)) } else { None };
            sort(&batch, skipped, clock::now().micros())
        });
        ledger.settle_refusals(written.iter(), Some(rest));
        ledger.settle_refusals(forgotten.iter(), None);
    }
}

/// Once an hour, removes what is older than the history, and adds hours that are older than the
/// hours to their days, for as long as the flusher may stay. The next flush goes on.
pub(super) fn tidy(connected: &mut Connected, tally: &Tally, started: Instant) {
    let now = clock::now().micros();
    let kept = settings::usage_history();
    // An hour and a value of the setting: another value counts at once.
    let task = hour_of(now) + kept / 60_000_000;
    if tally.tidied.load(Relaxed) == task {
        return;
    }
    let end = if kept > 0 { day_of(now.saturating_sub(kept)) } else { i64::MAX };
    let (end, first) = (Timestamp::from_micros(end), Timestamp::from_micros(first_of_hours(now)));
    // Prunes first: what goes need not be folded.
    let steps: [fn(&Call, Timestamp) -> Option<bool>; 4] =
        [history::prune, charges::prune, history::fold, charges::fold];
    for (step, before) in steps.into_iter().zip([end, end, first, first]) {
        loop {
            if started.elapsed() >= STAY {
                return;
            }
            let more = connected.transaction(|call| step(call, before));
            if more != Some(true) {
                break;
            }
        }
    }
    tally.tidied.store(task, Relaxed);
}
