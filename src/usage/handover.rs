//! Handing over the uses of a standby, which cannot write to its tables, to the primary.
//!
//! A program that is connected to both reads the pending uses on the standby, adds them to the
//! table on the primary, commits, and then settles them on the standby. If a step fails, the
//! program repeats all of them: no use is lost, and uses that had been committed count twice.

use core::sync::atomic::Ordering::Relaxed;
use std::cell::RefCell;

use pure::error::CallError;
use pure::usage::handover::{Handover, Report};
use pure::usage::shared::Ledger;
use pure::usage::written::Rest;

use crate::pg::background::{shmem, usage_file, worker};
use crate::pg::call::Call;
use crate::pg::server::{clock, database, settings};
use crate::pg::sql::commit;
use crate::pg::sql::lock::{self, HandedOver};
use crate::pg::types::{Timestamp, Uuid};
use crate::store::usage;

/// How far a standby's clock may be ahead, in microseconds.
const SKEW: i64 = 60_000_000;

thread_local! {
    /// What this session has reported and not yet settled. It is valid only while the session holds
    /// the lock under which it was reported.
    static HANDOVER: RefCell<Handover> = RefCell::default();
}

/// Reports pending uses from at most `max_rows` slots. No other session can report uses of this
/// database until the transaction ends.
pub fn pending(max_rows: Option<i32>) -> Result<Vec<Report>, CallError> {
    let limit = checked_limit(max_rows)?;
    let ledger = of_standby()?;
    begin(HandedOver::Uses, "uses")?;
    let handover = Handover::new(ledger.slots.collect(database::own(), 0, limit, Rest::NONE).0);
    let reports = handover.report();
    HANDOVER.replace(handover);
    Ok(reports)
}

/// Subtracts uses of a key that have been added to the primary's table from the memory, and never
/// more than were reported in this transaction. Returns how many.
pub fn settle(key: Option<Uuid>, uses: Option<i64>) -> Result<i64, CallError> {
    let key = required("key_id", key)?.to_bytes();
    let uses = positive(uses)?;
    let ledger = of_standby()?;
    begin_settling(HandedOver::Uses, "uses")?;
    let taken = HANDOVER.with_borrow_mut(|handover| handover.take(&key, uses));
    while_a_standby(ledger, || ledger.settle(taken.iter()))?;
    let settled = taken.iter().map(|pending| pending.uses).sum();
    if let Some(tally) = ledger.tally(database::own(), clock::now().micros()) {
        tally.flushed.fetch_add(settled, Relaxed);
    }
    Ok(i64::try_from(settled).unwrap_or(i64::MAX))
}

/// Adds uses that another server has counted to the table. Returns false if the key does not exist.
/// The commit waits for the disk, since the other server settles the uses then.
pub fn add(
    call: &Call,
    key: Option<Uuid>,
    last_used_at: Option<Timestamp>,
    uses: Option<i64>,
) -> Result<bool, CallError> {
    let key = required("key_id", key)?;
    let last_used_at = required("last_used_at", last_used_at)?;
    let uses = positive(uses)?;
    let last_used_at = in_the_past("last_used_at", last_used_at)?;
    let uses = i64::try_from(uses).unwrap_or(i64::MAX);
    let added = usage::add(call, key, last_used_at, uses, settings::usage_history() > 0);
    commit::until_on_disk();
    Ok(added)
}

/// An instant of a standby's clock, which may be a little ahead.
pub fn in_the_past(what: &str, instant: Timestamp) -> Result<Timestamp, CallError> {
    let now = clock::now();
    // None for -infinity.
    match instant.micros().checked_sub(now.micros()).filter(|ahead| *ahead <= SKEW) {
        Some(..=0) => Ok(instant),
        Some(_) => Ok(now),
        None => Err(CallError::invalid(format!("{what} must be in the past")).hint(format!(
            "Pass the {what} that the standby returned, and check whether the servers' clocks agree."
        ))),
    }
}

/// How many rows a caller wants.
pub fn checked_limit(max_rows: Option<i32>) -> Result<usize, CallError> {
    max_rows.map_or(Ok(usize::MAX), |rows| {
        usize::try_from(rows).map_err(|_| {
            CallError::invalid("max_rows must not be negative")
                .hint("Pass NULL for all that is pending.")
        })
    })
}

/// Lets no other session hand over the same things of this database until the transaction ends.
/// Returns whether this transaction begins only now.
pub fn begin(of: HandedOver, name: &str) -> Result<bool, CallError> {
    match lock::handover(of) {
        lock::Handover::Taken => Ok(true),
        lock::Handover::Held => Ok(false),
        lock::Handover::Busy => Err(CallError::busy(format!(
            "another session is handing over the {name} of this standby"
        ))
        .hint("Try again when its transaction on this standby has ended.")),
    }
}

/// Checks that this transaction is handing over, and prepares to take things out of the memory.
pub fn begin_settling(of: HandedOver, name: &str) -> Result<(), CallError> {
    if lock::handover(of) != lock::Handover::Held {
        return Err(CallError::out_of_place(format!(
            "vpk_pending_{name} was not called in this transaction"
        ))
        .detail("What it has returned can be settled until its transaction ends.")
        .hint(format!("Call vpk_pending_{name} again: what was not settled is still pending.")));
    }
    // After a crash, the server would load the file again.
    if !usage_file::forget() {
        return Err(CallError::out_of_place("the file with pending uses could not be removed")
            .hint("See the server log."));
    }
    Ok(())
}

/// Runs `run`, which takes something out of the memory, unless this server was promoted. It must
/// not raise an error, must not allocate, and must be short.
pub fn while_a_standby(ledger: Ledger, run: impl Fn()) -> Result<(), CallError> {
    // After a promotion, the flusher settles, and may begin now. Before, a session of another
    // database settles, which takes as long as it does here.
    loop {
        let settled =
            worker::try_exclusive(&ledger.header.flusher, || database::in_recovery().then(&run));
        match settled {
            Some(Some(())) => return Ok(()),
            None if database::in_recovery() => std::thread::yield_now(),
            _ => return Err(not_a_standby()),
        }
    }
}

/// The ledger of a standby, whose uses no worker flushes.
pub fn of_standby() -> Result<Ledger<'static>, CallError> {
    let ledger = shmem::ledger().ok_or_else(|| {
        CallError::out_of_place("this server does not count the uses of keys")
            .hint("Add vibepeak_keys to shared_preload_libraries, and restart the server.")
    })?;
    if database::in_recovery() { Ok(ledger) } else { Err(not_a_standby()) }
}

fn not_a_standby() -> CallError {
    CallError::out_of_place("this server is not a standby")
        .detail("Its worker writes the uses of keys to vpk.key_usage.")
        .hint("Call this function on a standby.")
}

/// An argument that a caller has from a standby.
pub fn required<T>(what: &str, value: Option<T>) -> Result<T, CallError> {
    value.ok_or_else(|| {
        CallError::invalid(format!("{what} must not be null"))
            .hint(format!("Pass the {what} that the standby returned."))
    })
}

fn positive(uses: Option<i64>) -> Result<u64, CallError> {
    let uses = required("uses", uses)?;
    u64::try_from(uses).ok().filter(|uses| *uses > 0).ok_or_else(|| {
        CallError::invalid("uses must be greater than 0")
            .hint("Pass the uses that vpk_pending_uses returned.")
    })
}
