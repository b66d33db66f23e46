//! What handing over the uses and the charges of a standby have in common: the checks, the lock,
//! and taking something out of the memory unless the standby is promoted.

use pure::error::CallError;
use pure::usage::shared::Ledger;

use crate::pg::background::{shmem, usage_file, worker};
use crate::pg::server::{clock, database};
use crate::pg::sql::lock::{self, HandedOver};
use crate::pg::types::Timestamp;

/// How far a standby's clock may be ahead, in microseconds.
const SKEW: i64 = 60_000_000;

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
