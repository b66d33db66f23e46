//! The charges of a database in one flush.

use pure::limits::quota_set::PendingCharge;
use pure::limits::quota_slots::QuotaSets;

use crate::pg::background::shmem;
use crate::pg::call::Call;
use crate::pg::server::clock;
use crate::store::quotas::{self, Flushed};

/// How long charges of a key that does not exist are kept, in seconds: an open transaction may have
/// created and used it.
const PATIENCE: u32 = 60;

/// The charges that a flush writes, some at a time.
pub struct Charges {
    /// The database, by OID.
    database: u32,
    /// Where they are; None if the library was not preloaded.
    sets: Option<QuotaSets<'static>>,
    /// The set to go on from; None if that was all.
    next: Option<usize>,
    /// Those that are being written.
    batch: Vec<PendingCharge>,
    /// What became of each; None in a database without the table.
    flushed: Option<Vec<Flushed>>,
}

impl Charges {
    /// Those of a database.
    pub fn of(database: u32) -> Charges {
        let sets = shmem::quota_sets();
        Charges { database, sets, next: sets.map(|_| 0), batch: Vec::new(), flushed: None }
    }

    /// Whether some are not collected yet.
    pub fn is_left(&self) -> bool {
        self.next.is_some()
    }

    /// Collects the next ones.
    pub fn collect(&mut self, limit: usize) {
        let Some((sets, from)) = self.sets.zip(self.next) else { return };
        (self.batch, self.next) = sets.collect(self.database, from, limit);
    }

    /// Whether none are collected.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Writes them to the table, and removes idempotency keys whose time is over.
    pub fn flush(&mut self, call: &Call) {
        self.flushed = None;
        if !self.batch.is_empty() {
            self.flushed = quotas::flush(call, &self.batch);
            if self.flushed.is_some() {
                quotas::remove_old_requests(call);
            }
        }
    }

    /// Takes what the transaction has committed out of the memory.
    pub fn settle(&mut self) {
        let (Some(sets), batch) = (self.sets, core::mem::take(&mut self.batch)) else { return };
        let Some(flushed) = self.flushed.take() else {
            sets.forget(batch.iter());
            return;
        };
        let now = clock::monotonic_seconds();
        let added = batch.iter().zip(&flushed).filter_map(|(charge, flushed)| match flushed {
            Flushed::Added(used) => Some((charge, *used)),
            _ => None,
        });
        sets.settle(added, now);
        let is_obsolete = |charge: &PendingCharge, flushed: &Flushed| {
            *flushed == Flushed::NoKey && now.saturating_sub(charge.base_at) > PATIENCE
        };
        let left = || batch.iter().zip(&flushed).filter(|(_, it)| !matches!(it, Flushed::Added(_)));
        sets.release(left().filter(|(it, done)| !is_obsolete(it, done)).map(|(it, _)| it));
        sets.forget(left().filter(|(it, done)| is_obsolete(it, done)).map(|(it, _)| it));
    }
}
