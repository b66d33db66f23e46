//! The launcher: the worker that looks for pending uses and starts their flush, one database after
//! the other.

use core::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use pure::usage::backoff::Turns;
use pure::usage::shared::Ledger;
use pure::usage::written::Rest;

use crate::pg::background::worker::{self, Unconnected, WorkerState};
use crate::pg::background::{databases, shmem, usage_file};
use crate::pg::server::{clock, settings};

/// Minimum time between rounds, even when a flush is requested. A session that drops a database
/// checks every 0.1 s whether other processes use it (src/backend/storage/ipc/procarray.c:
/// CountOtherDBBackends).
const PAUSE: Duration = Duration::from_millis(250);

/// Runs until the server ends.
pub fn run(mut unconnected: Unconnected) {
    let Some(ledger) = shmem::ledger() else { return };
    let header = ledger.header;
    // If either fails, the process ends, and the postmaster starts it again.
    if !worker::claim(&header.launcher) || !usage_file::forget() {
        return;
    }
    let mut turns = Turns::default();
    loop {
        header.wanted.store(false, Relaxed);
        round(&mut unconnected, ledger, &mut turns);
        header.looked_at.store(clock::now().micros(), Relaxed);
        let ended = Instant::now();
        loop {
            let due = if header.wanted.load(Relaxed) {
                PAUSE
            } else {
                settings::usage_flush_interval().max(PAUSE)
            };
            let left = due.saturating_sub(ended.elapsed());
            if left.is_zero() {
                break;
            }
            if !worker::wait(left) {
                return;
            }
        }
    }
}

/// Flushes pending uses, and forgets uses and buckets of databases that were dropped.
fn round(unconnected: &mut Unconnected, ledger: Ledger, turns: &mut Turns) {
    let mut pending = ledger.databases(clock::now().micros(), settings::usage_rewrite_interval());
    let quotas = shmem::quota_sets();
    if let Some(quotas) = quotas {
        pending.extend(quotas.databases());
        pending.sort_unstable();
        pending.dedup();
    }
    if pending.is_empty() {
        return;
    }
    // Before the databases are listed: a database that is created in between was not dropped.
    let counted: Vec<u32> = ledger.tallies().map(|tally| tally.database.load(Relaxed)).collect();
    let databases = databases::all(unconnected);
    let find = |oid: u32| databases.iter().find(|database| database.oid == oid);
    let dropped = |oid: &u32| find(*oid).is_none_or(|database| database.invalid);

    let closed: Vec<u32> = counted.into_iter().filter(dropped).collect();
    closed.iter().for_each(|oid| ledger.close(*oid));
    if !closed.is_empty() {
        for sets in [shmem::rate_sets(), shmem::identifier_sets()].into_iter().flatten() {
            sets.forget_databases(|database| closed.contains(&database));
        }
    }
    if let Some(quotas) = quotas
        && (!closed.is_empty() || pending.iter().any(dropped))
    {
        let listed = |database: &u32| closed.contains(database) || pending.contains(database);
        quotas.forget_databases(|database| listed(&database) && dropped(&database));
    }
    for oid in turns.order(&pending) {
        if dropped(&oid) {
            let (uses, _) = ledger.slots.collect(oid, 0, usize::MAX, Rest::NONE);
            ledger.settle(uses.iter());
            let (refusals, _) = ledger.refusals.collect(oid, 0, usize::MAX, Rest::NONE);
            ledger.settle_refusals(refusals.iter(), None);
        } else if find(oid).is_some_and(|database| database.open)
            && !turns.rests(oid, Instant::now())
        {
            flush(ledger, oid, turns);
        }
    }
}

/// Has a flusher flush the pending uses of a database.
fn flush(ledger: Ledger, database: u32, turns: &mut Turns) {
    let (begun, before) = (Instant::now(), ledger.header.flushes.load(Relaxed));
    let failure = match worker::run_in(database) {
        // It has recorded its error itself.
        WorkerState::Ended => None,
        WorkerState::NoRoom => Some("no background worker is free; see max_worker_processes"),
        WorkerState::TooLong => {
            Some("the worker could not connect, or took too long, and was ended")
        }
    };
    if ledger.header.flushes.load(Relaxed) == before {
        turns.failed(database, Instant::now(), begun.elapsed());
    } else {
        turns.succeeded(database);
    }
    let now = clock::now().micros();
    if let Some(failure) = failure
        && let Some(tally) = ledger.tally(database, now)
    {
        tally.failure.record(now, failure.as_bytes());
    }
}
