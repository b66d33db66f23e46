//! Counting uses of keys and answers, without writing to the database.
//!
//! A verification adds to memory that all processes share ([`crate::pg::background::shmem`]). The
//! launcher starts a worker in each database where something is pending. The worker writes uses,
//! charges of quotas and refusals to their tables, and tidies these up. If the library was not
//! preloaded, there is no such memory, and nothing is counted.

mod charges;
pub mod current;
mod flusher;
pub mod handover;
mod launcher;
mod refusals;
pub mod standby;
pub mod stats;
mod tidy;

use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use pure::answer::status::Status;
use pure::instant::Micros;
use pure::usage::shared::{Ledger, Tally};

use crate::pg::background::shmem;
use crate::pg::background::worker::{self, EntryPoints};
use crate::pg::server::{clock, database, settings};

/// The functions that the background workers run.
pub const ENTRY_POINTS: EntryPoints =
    EntryPoints { launcher: launcher::run, flusher: flusher::run };

/// Counts an answer that is given now. Notes the use of the key, or that the key was refused, where
/// there is such a key.
pub fn note(status: Status, key: Option<&[u8; 16]>, now: Micros) {
    let Some(ledger) = shmem::ledger() else { return };
    let tally = own_tally(ledger, now);
    if let Some(tally) = tally {
        tally.answers[status as usize].fetch_add(1, Relaxed);
    }
    let Some(key) = key else { return };
    let wanted = if status == Status::Valid {
        ledger.note(database::own(), key, now, tally)
    } else {
        settings::usage_history() > 0 && ledger.note_refusal(database::own(), key, status, now)
    };
    if wanted {
        worker::wake(ledger.header.launcher.load(Relaxed));
    }
}

/// Counts limits that a call has passed uncounted, since there was no room for their buckets.
pub fn note_unenforced(limits: usize) {
    let Some(ledger) = shmem::ledger() else { return };
    // Also where there is nothing to count: the launcher forgets the buckets of a database that was
    // dropped if the database has a tally.
    if let Some(tally) = own_tally(ledger, clock::now().micros())
        && limits > 0
    {
        tally.limits_unenforced.fetch_add(limits as u64, Relaxed);
    }
}

/// The tally of this process's database. Its number is looked up once.
fn own_tally(ledger: Ledger<'static>, now: Micros) -> Option<&'static Tally> {
    const UNKNOWN: usize = usize::MAX;
    const NONE: usize = usize::MAX - 1;
    static NUMBER: AtomicUsize = AtomicUsize::new(UNKNOWN);
    let mut number = NUMBER.load(Relaxed);
    if number == UNKNOWN {
        number = ledger.tally_number(database::own(), now).unwrap_or(NONE);
        NUMBER.store(number, Relaxed);
    }
    ledger.tally_at(number)
}
