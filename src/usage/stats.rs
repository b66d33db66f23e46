//! What was counted for this database: the view `vpk.stats`, and what the doctor looks at.

use core::sync::atomic::Ordering::Relaxed;

use crate::pg::background::shmem;
use crate::pg::server::{clock, database};

/// The counters of this database.
pub struct Stats {
    /// Since when they count. All instants are in microseconds since 2000.
    pub since: i64,
    /// Answers, in the order of the statuses.
    pub answers: Vec<i64>,
    /// Uses that are not in the table yet.
    pub pending: i64,
    /// Whether half of the room for them is taken, by all databases.
    pub crowded: bool,
    /// Uses that came to the table.
    pub flushed: i64,
    /// Uses for which there was no room.
    pub dropped: i64,
    /// The same, since the server started.
    pub dropped_lately: i64,
    pub last_flush: Option<Flush>,
    /// The last flush that failed: when, and the server's message.
    pub failure: Option<(i64, Vec<u8>)>,
}

/// A flush that succeeded.
#[derive(Clone, Copy)]
pub struct Flush {
    pub ended_at: i64,
    pub micros: i64,
}

/// The worker that starts flushes, for the whole server.
#[derive(Clone, Copy)]
pub struct Launcher {
    pub process: Option<i32>,
    /// When it last looked for something to flush.
    pub looked_at: Option<i64>,
}

/// The counters, where the library was preloaded and there is room for this database's.
pub fn own() -> Option<Stats> {
    let ledger = shmem::ledger()?;
    let tally = super::own_tally(ledger, clock::now().micros())?;
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let ended_at = instant(tally.flushed_at.load(Relaxed));
    let dropped = tally.dropped.load(Relaxed);
    Some(Stats {
        since: tally.since.load(Relaxed),
        answers: tally.answers.iter().map(|answers| number(answers.load(Relaxed))).collect(),
        pending: number(ledger.slots.pending(database::own())),
        crowded: ledger.crowded(),
        flushed: number(tally.flushed.load(Relaxed)),
        dropped: number(dropped),
        dropped_lately: number(dropped.saturating_sub(tally.dropped_before.load(Relaxed))),
        last_flush: ended_at
            .map(|ended_at| Flush { ended_at, micros: tally.flush_micros.load(Relaxed) }),
        failure: tally.failure.read(),
    })
}

/// The launcher, where the library was preloaded.
pub fn launcher() -> Option<Launcher> {
    let header = shmem::ledger()?.header;
    let process = header.launcher.load(Relaxed);
    Some(Launcher {
        process: (process != 0).then_some(process),
        looked_at: instant(header.looked_at.load(Relaxed)),
    })
}

fn instant(micros: i64) -> Option<i64> {
    (micros != 0).then_some(micros)
}
