//! What a rename, a deletion or a new quota does to what is used in memory: at the commit, and
//! nothing at a rollback. Charges that come later, of keys that are gone, are left to the flush
//! ([`crate::usage`]).

use core::sync::atomic::Ordering::Relaxed;

use pure::limits::changes::Change;
use pure::limits::id::{HolderHash, HolderName};
use pure::limits::name::Name;
use pure::limits::pending_charge::PendingCharge;
use pure::limits::quota_period::Span;
use pure::limits::quota_sets::QuotaSets;

use crate::pg::background::shmem;
use crate::pg::call::Call;
use crate::pg::server::{clock, database, interrupts};
use crate::pg::sql::at_end::{AtEnd, End};
use crate::pg::types::Text;
use crate::store;

/// What this transaction has changed.
static CHANGES: AtEnd<Change> = AtEnd::new(carry_out);

/// Runs for each change when the transaction ends. It calls nothing of the server, and cannot fail.
fn carry_out(change: &Change, end: End) {
    let Some(quotas) = shmem::quota_sets() else { return };
    match end {
        End::Committed => change.carry_out(quotas, clock::monotonic()),
        End::RolledBack => change.read_again(quotas),
    }
}

/// Has an account that is deleted leave nothing of what it has used of its limits.
pub fn delete(call: &Call, account: Text) {
    if let Some(holder) = hash(HolderName::Account(account.bytes(call))) {
        CHANGES.note(Change::Deleted(holder));
    }
}

/// Has an account that gets another name keep what it has used of its limits.
pub fn rename(call: &Call, account: Text, new_account: Text) {
    let hash = |name: Text| hash(HolderName::Account(name.bytes(call)));
    if let Some((from, to)) = hash(account).zip(hash(new_account)) {
        CHANGES.note(Change::Renamed { from, to });
    }
}

/// Has a quota of an account or a key count from now on: without what is pending of an earlier one
/// of the same kind. The caller has deleted what the table had, and no other transaction adds to it
/// until this one ends.
pub fn begin(holder: HolderName, meter: Name, span: Span) {
    let Some((quotas, holder)) = shmem::quota_sets().zip(hash(holder)) else { return };
    wait_until_settled(quotas);
    let noted = CHANGES.noted();
    let mut pending = pending_of(quotas, holder, &noted);
    pending.retain(|charge| charge.counts.meter == meter && charge.counts.span == span);
    CHANGES.note(Change::Begun { holder, meter, span });
    end(pending.into_iter(), &noted);
}

/// What is pending of a holder, also under the names that it had before in this transaction.
fn pending_of(quotas: QuotaSets, holder: HolderHash, noted: &[Change]) -> Vec<PendingCharge> {
    let mut pending = quotas.pending_of(holder);
    let mut name = holder;
    for change in noted.iter().rev() {
        if let Change::Renamed { from, to } = change
            && *to == name
        {
            name = *from;
            for earlier in quotas.pending_of(name) {
                let id = name.handed_over(earlier.id, holder);
                match pending.iter_mut().find(|charge| charge.id == id) {
                    Some(charge) => charge.amount = charge.amount.saturating_add(earlier.amount),
                    None => pending.push(PendingCharge { id, ..earlier }),
                }
            }
        }
    }
    pending
}

/// Notes the end of charges, less what of them ends already.
fn end(charges: impl Iterator<Item = PendingCharge>, noted: &[Change]) {
    for mut charge in charges {
        for change in noted {
            if let Change::Ended(earlier) = change
                && earlier.id == charge.id
            {
                charge.amount = charge.amount.saturating_sub(earlier.amount);
            }
        }
        CHANGES.note(Change::Ended(charge));
    }
}

/// The same for a quota of a plan, and the accounts that have it of the plan. Those that have
/// something pending are known by keys that were charged.
pub fn begin_on_plan(call: &Call, plan: Text, meter: Name, span: Span) {
    let Some(quotas) = shmem::quota_sets() else { return };
    let database = database::own();
    wait_until_settled(quotas);
    let pending = quotas.pending_of_accounts(database, meter, span);
    let is_meant = store::quotas::have_it_of_plan(call, plan, meter, span, &pending);
    let noted = CHANGES.noted();
    CHANGES.note(Change::BegunOnPlan { database, meter, span });
    let ended = pending.into_iter().zip(is_meant).filter(|(_, is_meant)| *is_meant);
    end(ended.map(|(charge, _)| charge), &noted);
}

/// Waits until a flush has taken out of the memory what its transaction has committed: both have it
/// until then. No other flush writes, as no other transaction may add charges. The marks of a
/// flusher that has failed stay until the next flush.
fn wait_until_settled(quotas: QuotaSets) {
    let Some(ledger) = shmem::ledger() else { return };
    let is_flushing = || ledger.header.flusher.load(Relaxed) != 0;
    while is_flushing() && quotas.are_being_flushed(database::own()) {
        interrupts::pause();
    }
}

/// The hash of a holder; None if the library was not preloaded.
fn hash(holder: HolderName) -> Option<HolderHash> {
    Some(shmem::hash_key()?.holder(database::own(), holder))
}
