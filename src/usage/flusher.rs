//! The flusher: the worker that writes the pending uses, charges and refusals of one database to
//! its tables.

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
const STAY: Duration = Duration::from_millis(700);
/// How many slots one transaction flushes.
pub(super) const BATCH: usize = 2_000;
/// How many charges one transaction flushes. Each takes longer than a use does.
const CHARGES: usize = 500;
/// How long uses of a key that does not exist are kept, in microseconds: an open transaction may
/// have created and used it.
const KEPT_WITHOUT_KEY: i64 = 60_000_000;

/// Flushes the pending uses, charges and refusals, for as long as it may stay.
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

/// A flush of a database that has begun.
pub(super) struct Flush<'shared> {
    pub(super) connected: Connected,
    pub(super) ledger: Ledger<'shared>,
    /// The database, by OID.
    pub(super) database: u32,
    pub(super) tally: Option<&'shared Tally>,
    started: Instant,
    /// Whether there is a history.
    has_history: bool,
    /// Whether it is noted that it has succeeded.
    is_noted: bool,
}

/// The parts of a flush, in order. Each has transactions of its own, so that a lock on the tables
/// of quotas delays no use.
const PARTS: [fn(&mut Flush); 4] = [flush_uses, flush_charges, refusals::flush, tidy::tidy];

/// The part that writes nothing that is pending.
const TIDYING: usize = 3;

impl Flush<'_> {
    /// Notes a flush that has succeeded so far.
    fn note_success(&mut self) {
        if core::mem::replace(&mut self.is_noted, true) {
            return;
        }
        if let Some(tally) = self.tally {
            let took = i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX);
            tally.flush_micros.store(took, Relaxed);
            tally.flushed_at.store(clock::now().micros(), Relaxed);
        }
        self.ledger.header.flushes.fetch_add(1, Relaxed);
    }

    /// Whether its time is over.
    pub(super) fn is_over(&self) -> bool {
        self.started.elapsed() >= STAY
    }

    /// The same, and if so, has the next flush follow at once.
    pub(super) fn has_to_stop(&self) -> bool {
        let is_over = self.is_over();
        if is_over {
            self.ledger.header.wanted.store(true, Relaxed);
        }
        is_over
    }
}

fn flush(connected: Connected, ledger: Ledger, database: u32, tally: Option<&Tally>) {
    let has_history = settings::usage_history() > 0;
    let started = Instant::now();
    let is_noted = false;
    let mut flush = Flush { connected, ledger, database, tally, started, has_history, is_noted };
    // Of a flusher that failed.
    ledger.header.open.store(0, Relaxed);
    // The next flush begins behind the part for which the time of this one ends, or that fails.
    let first = tally.map_or(0, |tally| tally.first_part.load(Relaxed));
    let begin_with = |part| {
        if let Some(tally) = tally {
            tally.first_part.store(part, Relaxed);
        }
    };
    for part in (first..first + PARTS.len()).map(|part| part % PARTS.len()) {
        if flush.has_to_stop() {
            flush.note_success();
            return;
        }
        if part == TIDYING && first == 0 {
            // All that was pending is written. An error in tidying up changes nothing of that.
            flush.note_success();
        }
        begin_with((part + 1) % PARTS.len());
        PARTS[part](&mut flush);
    }
    begin_with(0);
    flush.note_success();
}

fn flush_uses(flush: &mut Flush) {
    let Flush { ledger, database, has_history, .. } = *flush;
    let rest = ledger.rest(clock::now().micros(), settings::usage_rewrite_interval());
    let mut next = Some(0);
    while let Some(from) = next {
        if flush.has_to_stop() {
            return;
        }
        let (batch, more) = ledger.slots.collect(database, from, BATCH, rest);
        next = more;
        if batch.is_empty() {
            continue;
        }
        let (flushed, forgotten) = flush.connected.transaction(|call| {
            let skipped = usage::flush(call, &batch, has_history);
            let (flushed, forgotten) = sort(&batch, skipped, clock::now().micros());
            ledger.begin(flushed.iter(), visibility::own_transaction());
            (flushed, forgotten)
        });
        ledger.end(flushed.iter(), rest);
        ledger.settle(forgotten.iter());
        if let Some(tally) = flush.tally {
            tally.flushed.fetch_add(flushed.iter().map(|pending| pending.uses).sum(), Relaxed);
        }
    }
}

fn flush_charges(flush: &mut Flush) {
    let mut charges = Charges::of(flush.database);
    while charges.is_left() && !flush.has_to_stop() {
        if charges.collect(CHARGES) {
            let has_history = flush.has_history;
            let written = flush.connected.transaction(|call| charges.flush(call, has_history));
            charges.settle(&written);
        }
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
        of(pending) == Some(false) && now.saturating_sub(pending.last_used_at) > KEPT_WITHOUT_KEY
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
        let now = 10 * KEPT_WITHOUT_KEY;
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
