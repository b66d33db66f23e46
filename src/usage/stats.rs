//! The counters of this database, for the view `vpk.stats` and for the doctor.

use core::sync::atomic::Ordering::Relaxed;

use pure::instant::Micros;

use crate::pg::background::shmem;
use crate::pg::server::{clock, database};

/// The counters of this database.
pub struct Stats {
    /// When counting began.
    pub since: Micros,
    /// The number of answers of each status, in the order of [`pure::answer::status::Status::ALL`].
    pub answers: Vec<i64>,
    /// The number of uses that have not been written to the table yet.
    pub pending: i64,
    /// Whether the uses of all databases take half of the slots.
    pub crowded: bool,
    /// The number of uses that were written to the table.
    pub flushed: i64,
    /// The number of uses that were dropped because all slots were full.
    pub dropped: i64,
    /// How many of them were dropped since the server started.
    pub dropped_lately: i64,
    /// The number of limits that a call passed uncounted because there was no room for a bucket.
    pub unenforced: i64,
    /// How many of them there were since the server started.
    pub unenforced_lately: i64,
    /// The last flush that succeeded.
    pub last_flush: Option<Flush>,
    /// The last flush that failed: when, and the error message.
    pub failure: Option<(Micros, Vec<u8>)>,
}

/// A flush that succeeded.
#[derive(Clone, Copy)]
pub struct Flush {
    /// When it ended.
    pub ended_at: Micros,
    /// How long it took, in microseconds.
    pub micros: i64,
}

/// The worker that starts flushes, for the whole server.
#[derive(Clone, Copy)]
pub struct Launcher {
    /// Its process id, if it is running.
    pub process: Option<i32>,
    /// When it last looked for pending uses.
    pub looked_at: Option<Micros>,
}

/// The counters; None if the library was not preloaded, or all tallies are assigned to other
/// databases.
pub fn own() -> Option<Stats> {
    let ledger = shmem::ledger()?;
    let tally = super::own_tally(ledger, clock::now().micros())?;
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let ended_at = instant(tally.flushed_at.load(Relaxed));
    let dropped = tally.dropped.load(Relaxed);
    let unenforced = tally.limits_unenforced.load(Relaxed);
    let unenforced_before = tally.limits_unenforced_before.load(Relaxed);
    Some(Stats {
        since: tally.since.load(Relaxed),
        answers: tally.answers.iter().map(|answers| number(answers.load(Relaxed))).collect(),
        pending: number(ledger.slots.pending(database::own())),
        crowded: ledger.crowded(),
        flushed: number(tally.flushed.load(Relaxed)),
        dropped: number(dropped),
        dropped_lately: number(dropped.saturating_sub(tally.dropped_before.load(Relaxed))),
        unenforced: number(unenforced),
        unenforced_lately: number(unenforced.saturating_sub(unenforced_before)),
        last_flush: ended_at
            .map(|ended_at| Flush { ended_at, micros: tally.flush_micros.load(Relaxed) }),
        failure: tally.failure.read(),
    })
}

/// The launcher; None if the library was not preloaded.
pub fn launcher() -> Option<Launcher> {
    let header = shmem::ledger()?.header;
    let process = header.launcher.load(Relaxed);
    Some(Launcher {
        process: (process != 0).then_some(process),
        looked_at: instant(header.looked_at.load(Relaxed)),
    })
}

fn instant(micros: Micros) -> Option<Micros> {
    (micros != 0).then_some(micros)
}
