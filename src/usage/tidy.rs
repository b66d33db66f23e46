//! Tidying up: idempotency keys whose time is over and old rows of the history go, and old hours
//! become days.

use core::sync::atomic::Ordering::Relaxed;

use pure::usage::history::{day_of, first_of_hours, hour_of};

use crate::pg::call::Call;
use crate::pg::server::{clock, settings};
use crate::pg::types::Timestamp;
use crate::store::history::{self, charges};
use crate::store::quotas::idempotency_keys;
use crate::usage::flusher::Flush;

/// Once an hour, removes what is older than it has to be, and adds hours of the history that are
/// older than the hours to their days, for as long as the flusher may stay. The next flush goes on.
pub(super) fn tidy(flush: &mut Flush) {
    let Some(tally) = flush.tally else { return };
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
    let steps: [fn(&Call, Timestamp) -> Option<bool>; 5] = [
        |call, _| idempotency_keys::prune(call),
        history::prune,
        charges::prune,
        history::fold,
        charges::fold,
    ];
    for (step, before) in steps.into_iter().zip([end, end, end, first, first]) {
        loop {
            if flush.is_over() {
                return;
            }
            let more = flush.connected.transaction(|call| step(call, before));
            if more != Some(true) {
                break;
            }
        }
    }
    tally.tidied.store(task, Relaxed);
}
