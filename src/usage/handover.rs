//! Handing over the uses of a standby, which cannot write to its tables, to the primary.
//!
//! A program that is connected to both reads the pending uses on the standby, adds them to the
//! table on the primary, commits, and then settles them on the standby. If a step fails, the
//! program repeats all of them: no use is lost, and uses that had been committed count twice.

use core::sync::atomic::Ordering::Relaxed;
use std::cell::RefCell;

use pure::error::CallError;
use pure::usage::handover::{Handover, Report};
use pure::usage::written::Rest;

use crate::pg::call::Call;
use crate::pg::server::{clock, database, settings};
use crate::pg::sql::commit;
use crate::pg::sql::lock::HandedOver;
use crate::pg::types::{Timestamp, Uuid};
use crate::store::usage;
use crate::usage::standby::{
    begin, begin_settling, checked_limit, in_the_past, of_standby, required, while_a_standby,
};

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

fn positive(uses: Option<i64>) -> Result<u64, CallError> {
    let uses = required("uses", uses)?;
    u64::try_from(uses).ok().filter(|uses| *uses > 0).ok_or_else(|| {
        CallError::invalid("uses must be greater than 0")
            .hint("Pass the uses that vpk_pending_uses returned.")
    })
}
