//! The flusher: the worker that writes the pending uses of one database to its table.

use core::sync::atomic::Ordering::Relaxed;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use pure::usage::shared::{Ledger, Tally};
use pure::usage::slots::Pending;

use crate::pg::background::worker::Connected;
use crate::pg::background::{shmem, worker};
use crate::pg::server::{clock, settings};
use crate::pg::sql::visibility;
use crate::store::usage::{self, Skipped};
use crate::usage::charges::Charges;
use crate::usage::{refusals, tidy};

/// How long it begins transactions. Including the last one, it blocks dropping and renaming the
/// database for less than two seconds.
pub(super) const STAY: Duration = Duration::from_millis(700);
/// How many slots one transaction flushes.
pub(super) const BATCH: usize = 2_000;
/// How many charges one transaction flushes. Each takes longer than a use does.
const CHARGES: usize = 500;
/// How long uses of a key that does not exist are kept, in microseconds: an open transaction may
/// have created and used it.
const PATIENCE: i64 = 60_000_000;

/// Flushes pending uses for as long as it may stay.
pub fn run(connected: Connected, database: u32) {
    let Some(ledger) = shmem::ledger() else { return };
    if !worker::claim(&ledger.header.flusher) {
        return;
    }
    let tally = ledger.tally(database, clock::now().micros());
    let record = |message: &str| {
        if let Some(tally) = tally {
            // It may be cut anywhere, and databases of any encoding show it.
            let message: String =
                message.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
            tally.failure.record(clock::now().micros(), message.as_bytes());
        }
    };
    worker::reporting_errors(|| flush(connected, ledger, database, tally), record);
}

fn flush(mut connected: Connected, ledger: Ledger, database: u32, tally: Option<&Tally>) {
    let started = Instant::now();
    let kept = settings::usage_history() > 0;
    let rest = ledger.rest(clock::now().micros(), settings::usage_rewrite_interval());
    // Of a flusher that failed.
    ledger.header.open.store(0, Relaxed);
    let mut next = Some(0);
    while let Some(from) = next {
        if started.elapsed() >= STAY {
            ledger.header.wanted.store(true, Relaxed);
            break;
        }
        let (batch, more) = ledger.slots.collect(database, from, BATCH, rest);
        next = more;
        if batch.is_empty() {
            continue;
        }
        let (flushed, forgotten) = connected.transaction(|call| {
            let skipped = usage::flush(call, &batch, kept);
            let (flushed, forgotten) = sort(&batch, skipped, clock::now().micros());
            ledger.begin(flushed.iter(), visibility::own_transaction());
            (flushed, forgotten)
        });
        ledger.end(flushed.iter(), rest);
        ledger.settle(forgotten.iter());
        if let Some(tally) = tally {
            tally.flushed.fetch_add(flushed.iter().map(|pending| pending.uses).sum(), Relaxed);
        }
    }
    // In transactions of their own, after the uses: who locks the tables of quotas delays no use.
    let mut charges = Charges::of(database);
    while charges.is_left() {
        if started.elapsed() >= STAY {
            ledger.header.wanted.store(true, Relaxed);
            break;
        }
        charges.collect(CHARGES);
        if !charges.is_empty() {
            connected.transaction(|call| charges.flush(call, kept));
            charges.settle();
        }
    }
    refusals::flush(&mut connected, ledger, database, started);
    if let Some(tally) = tally {
        let took = i64::try_from(started.elapsed().as_micros()).unwrap_or(i64::MAX);
        tally.flush_micros.store(took, Relaxed);
        tally.flushed_at.store(clock::now().micros(), Relaxed);
    }
    ledger.header.flushes.fetch_add(1, Relaxed);
    if let Some(tally) = tally {
        tidy::tidy(&mut connected, tally, started);
    }
}

/// Divides a batch into uses that have been flushed and uses to forget. Uses of keys that no longer
/// exist are forgotten; so are all, if the database does not have the extension. The rest stays for
/// the next flush.
pub(super) fn sort(
    batch: &[Pending],
    skipped: Option<Vec<Skipped>>,
    now: i64,
) -> (Vec<Pending>, Vec<Pending>) {
    let Some(skipped) = skipped else { return (Vec::new(), batch.to_vec()) };
    let exists: HashMap<_, _> = skipped.into_iter().map(|it| (it.key, it.exists)).collect();
    let of = |pending: &&Pending| exists.get(&pending.key).copied();
    let flushed = batch.iter().filter(|pending| of(pending).is_none()).copied().collect();
    let obsolete = |pending: &&Pending| {
        of(pending) == Some(false) && now.saturating_sub(pending.last_used_at) > PATIENCE
    };
    (flushed, batch.iter().filter(obsolete).copied().collect())
}

#[cfg(test)]
mod tests {
    use pure::answer::status::Status;

    use super::*;

    #[test]
    fn skipped_uses_wait_unless_their_key_does_not_exist() {
        let pending = |number: u8, last_used_at| Pending {
            slot: number.into(),
            database: 1,
            key: [number; 16],
            status: Status::Valid,
            last_used_at,
            uses: 1,
        };
        let now = 10 * PATIENCE;
        let batch = [
            pending(1, 0),
            pending(2, 0),       // locked by another session
            pending(3, now - 1), // does not exist, perhaps not yet
            pending(4, 0),       // does not exist
        ];
        let left = [(2, true), (3, false), (4, false)];
        let left = left.map(|(number, exists)| Skipped { key: [number; 16], exists });
        let (flushed, forgotten) = sort(&batch, Some(left.into()), now);
        assert_eq!((flushed, forgotten), (vec![batch[0]], vec![batch[3]]));
        assert_eq!(sort(&batch, None, now), (vec![], batch.to_vec()));
    }
}
