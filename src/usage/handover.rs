//! Uses on their way from a standby, which can write nothing, to the primary.
//!
//! Somebody who is connected to both reads what is pending on the standby, adds it to the table on the
//! primary, commits, and then takes it from the standby's memory. What fails in between is done again
//! as a whole: nothing is lost, and what had been committed counts twice.

use core::sync::atomic::Ordering::Relaxed;
use std::cell::RefCell;

use pure::error::CallError;
use pure::usage::handover::{Handover, Report};
use pure::usage::shared::Ledger;

use crate::pg::background::{shmem, usage_file, worker};
use crate::pg::call::Call;
use crate::pg::server::{clock, database};
use crate::pg::sql::{commit, lock};
use crate::pg::types::{SqlValue, Timestamp, Uuid};
use crate::store::usage;

/// How far a standby's clock may be ahead, in microseconds.
const SKEW: i64 = 60_000_000;

thread_local! {
    /// What this session has reports and not yet taken. It means something only as long as the session
    /// holds the lock under which it was reports.
    static HANDOVER: RefCell<Handover> = RefCell::default();
}

/// Tells what is pending, at most so many keys of it; nobody else is reports until the transaction ends.
pub fn pending(max_rows: Option<i32>) -> Result<Vec<Report>, CallError> {
    let limit = match max_rows.map(usize::try_from) {
        None => usize::MAX,
        Some(Ok(rows)) => rows,
        Some(Err(_)) => {
            return Err(CallError::invalid("max_rows must not be negative")
                .hint("Pass NULL for all that is pending."));
        }
    };
    let ledger = of_standby()?;
    if lock::handover() == lock::Handover::Busy {
        return Err(CallError::busy("another session is bringing the uses of this standby over")
            .hint("Try again when its transaction on this standby has ended."));
    }
    let handover = Handover::new(ledger.slots.collect(database::own(), 0, limit).0);
    let reports = handover.report();
    HANDOVER.replace(handover);
    Ok(reports)
}

/// Takes uses of a key from the memory, which are in the primary's table; how many. Never more than
/// were reports in this transaction.
pub fn settle(key: Option<Uuid>, uses: Option<i64>) -> Result<i64, CallError> {
    let key = required("key_id", key)?.to_bytes();
    let uses = positive(uses)?;
    let ledger = of_standby()?;
    if lock::handover() != lock::Handover::Held {
        return Err(CallError::out_of_place("vpk_pending_uses was not called in this transaction")
            .detail("What it has shown can be settled until the end of its transaction.")
            .hint("Begin again with vpk_pending_uses: what was not settled is still pending."));
    }
    // A crash would bring back what the memory was started with.
    if !usage_file::forget() {
        return Err(CallError::out_of_place("the file of pending uses cannot be removed")
            .hint("See the server log."));
    }
    let taken = HANDOVER.with_borrow_mut(|handover| handover.take(&key, uses));
    // After a promotion the worker settles, which might begin just now. Before, it is a session of another
    // database that is at it, for as long as this one will be.
    loop {
        let settled = worker::try_exclusive(&ledger.header.flusher, || {
            database::in_recovery().then(|| ledger.settle(taken.iter()))
        });
        match settled {
            Some(Some(())) => break,
            None if database::in_recovery() => std::thread::yield_now(),
            _ => return Err(not_a_standby()),
        }
    }
    let settled = taken.iter().map(|pending| pending.uses).sum();
    if let Some(tally) = ledger.tally(database::own(), clock::now().micros()) {
        tally.flushed.fetch_add(settled, Relaxed);
    }
    Ok(i64::try_from(settled).unwrap_or(i64::MAX))
}

/// Adds uses that another server has noted to the table; false where there is no such key. The commit
/// waits for the disk, since the other server forgets them then.
pub fn add(
    call: &Call,
    key: Option<Uuid>,
    last_used_at: Option<Timestamp>,
    uses: Option<i64>,
) -> Result<bool, CallError> {
    let key = required("key_id", key)?;
    let last_used_at = required("last_used_at", last_used_at)?;
    positive(uses)?;
    let now = clock::now();
    // None for -infinity.
    let ahead = last_used_at.micros().checked_sub(now.micros()).filter(|ahead| *ahead <= SKEW);
    let last_used_at = match ahead {
        Some(..=0) => last_used_at,
        Some(_) => now,
        None => {
            return Err(CallError::invalid("last_used_at must be an instant that has passed").hint(
                "Pass what vpk_pending_uses has shown, and see whether the servers' clocks agree.",
            ));
        }
    };
    let parameters = [Some(key.datum()), Some(last_used_at.datum()), uses.map(Into::into)];
    let added = !usage::ADD.write(call, &parameters).is_empty();
    commit::until_on_disk();
    Ok(added)
}

/// The memory of a standby, whose uses no worker brings anywhere.
fn of_standby() -> Result<Ledger<'static>, CallError> {
    let ledger = shmem::ledger().ok_or_else(|| {
        CallError::out_of_place("the use of keys is not noted on this server")
            .hint("Add vibepeak_keys to shared_preload_libraries, and restart the server.")
    })?;
    if database::in_recovery() { Ok(ledger) } else { Err(not_a_standby()) }
}

fn not_a_standby() -> CallError {
    CallError::out_of_place("this server is not a standby")
        .detail("Its worker brings the uses of keys to vpk.key_usage.")
        .hint("Call this function on a standby.")
}

fn required<T>(what: &str, value: Option<T>) -> Result<T, CallError> {
    value.ok_or_else(|| {
        CallError::invalid(format!("{what} must not be null"))
            .hint(format!("Pass the {what} that vpk_pending_uses has shown."))
    })
}

fn positive(uses: Option<i64>) -> Result<u64, CallError> {
    let uses = required("uses", uses)?;
    u64::try_from(uses).ok().filter(|uses| *uses > 0).ok_or_else(|| {
        CallError::invalid("uses must be greater than 0")
            .hint("Pass the uses that vpk_pending_uses has shown.")
    })
}
