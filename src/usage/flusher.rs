//! The worker that brings the uses of one database to its table.

use core::sync::atomic::Ordering::Relaxed;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use pure::usage::shared::{Ledger, Tally};
use pure::usage::slots::Pending;

use crate::pg::background::worker::Connected;
use crate::pg::background::{shmem, worker};
use crate::pg::server::clock;
use crate::store::usage::{self, Skipped};

/// For how long transactions are begun: with the last one, the database is kept from being removed or
/// renamed for less than two seconds.
const STAY: Duration = Duration::from_millis(700);
/// How many uses one transaction brings.
const BATCH: usize = 2_000;
/// How long uses of a key that is not there wait for it: it may have been made and used in a
/// transaction that is still open. In microseconds.
const PATIENCE: i64 = 60_000_000;

/// Brings what is pending, as far as it gets in the time.
pub fn run(connected: Connected, database: u32) {
    let Some(ledger) = shmem::ledger() else { return };
    if !worker::claim(&ledger.header.flusher) {
        return;
    }
    let tally = ledger.tally(database, clock::now().micros());
    let tell = |message: &str| {
        if let Some(tally) = tally {
            // It is cut somewhere, and shown in databases of any encoding.
            let message: String =
                message.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
            tally.failure.record(clock::now().micros(), message.as_bytes());
        }
    };
    worker::reporting_errors(|| flush(connected, ledger, database, tally), tell);
}

fn flush(mut connected: Connected, ledger: Ledger, database: u32, tally: Option<&Tally>) {
    let started = Instant::now();
    let mut next = Some(0);
    while let Some(from) = next {
        if started.elapsed() >= STAY {
            ledger.header.wanted.store(true, Relaxed);
            break;
        }
        let (batch, rest) = ledger.slots.collect(database, from, BATCH);
        next = rest;
        if batch.is_empty() {
            continue;
        }
        let left = connected.transaction(|call| usage::flush(call, &batch));
        let (brought, forgotten) = sort(&batch, left, clock::now().micros());
        ledger.settle(brought.iter().chain(&forgotten));
        if let Some(tally) = tally {
            tally.flushed.fetch_add(brought.iter().map(|pending| pending.uses).sum(), Relaxed);
        }
    }
    if let Some(tally) = tally {
        let took = i64::try_from(started.elapsed().as_micros()).unwrap_or(i64::MAX);
        tally.flush_micros.store(took, Relaxed);
        tally.flushed_at.store(clock::now().micros(), Relaxed);
    }
}

/// What of a batch came to the table, and what is to be forgotten: uses of keys that are gone, and all
/// of them where there is no extension. The rest waits for the next time.
fn sort(batch: &[Pending], left: Option<Vec<Skipped>>, now: i64) -> (Vec<Pending>, Vec<Pending>) {
    let Some(left) = left else { return (Vec::new(), batch.to_vec()) };
    let left: HashMap<_, _> = left.into_iter().map(|left| (left.key, left.exists)).collect();
    let of = |pending: &&Pending| left.get(&pending.key).copied();
    let brought = batch.iter().filter(|pending| of(pending).is_none()).copied().collect();
    let gone = |pending: &&Pending| {
        of(pending) == Some(false) && now.saturating_sub(pending.last_used_at) > PATIENCE
    };
    (brought, batch.iter().filter(gone).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_waits_unless_its_key_is_gone() {
        let pending = |number: u8, last_used_at| Pending {
            slot: number.into(),
            database: 1,
            key: [number; 16],
            last_used_at,
            uses: 1,
        };
        let now = 10 * PATIENCE;
        let batch = [
            pending(1, 0),
            pending(2, 0),       // locked by somebody
            pending(3, now - 1), // not there, perhaps not yet
            pending(4, 0),       // not there
        ];
        let left = [(2, true), (3, false), (4, false)];
        let left = left.map(|(number, exists)| Skipped { key: [number; 16], exists });
        let (brought, forgotten) = sort(&batch, Some(left.into()), now);
        assert_eq!((brought, forgotten), (vec![batch[0]], vec![batch[3]]));
        assert_eq!(sort(&batch, None, now), (vec![], batch.to_vec()));
    }
}
