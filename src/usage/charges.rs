//! The charges of a database in one flush.

use pure::limits::pending_charge::PendingCharge;
use pure::limits::quota_sets::QuotaSets;

use crate::pg::background::shmem;
use crate::pg::call::Call;
use crate::pg::server::clock;
use crate::pg::sql::lock;
use crate::store::history::charges as history;
use crate::store::quotas;
use crate::store::quotas::charges::{self, Flushed};

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
    /// Whether the history has each.
    noted: Vec<bool>,
}

impl Charges {
    /// Those of a database.
    pub fn of(database: u32) -> Charges {
        let sets = shmem::quota_sets();
        Charges {
            database,
            sets,
            next: sets.map(|_| 0),
            batch: Vec::new(),
            flushed: None,
            noted: Vec::new(),
        }
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

    /// Writes them to the table and, if there is one, to the history. Removes idempotency keys
    /// whose time is over. Leaves all charges for the next flush while somebody adds those of
    /// another server: a row that is new in one transaction would have the other one wait.
    pub fn flush(&mut self, call: &Call, has_history: bool) {
        self.flushed = None;
        self.noted = vec![true; self.batch.len()];
        if !lock::try_lock_charges() {
            self.flushed = Some(vec![Flushed::Locked; self.batch.len()]);
            self.noted = vec![false; self.batch.len()];
            self.next = None;
        } else if !self.batch.is_empty() {
            self.flushed = charges::flush(call, &self.batch);
            if self.flushed.is_some() {
                quotas::remove_old_requests(call);
                if has_history {
                    self.noted = history::add(call, &self.batch);
                }
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
        let is_obsolete = |charge: &PendingCharge| now.saturating_sub(charge.base_at) > PATIENCE;
        // What the history does not have of a charge stays, whatever the other table has.
        let taken = |charge: &PendingCharge, noted: bool| PendingCharge {
            charged: if noted { charge.charged } else { 0 },
            ..*charge
        };
        let (mut added, mut left) = (Vec::new(), Vec::new());
        let (mut missing, mut obsolete) = (Vec::new(), Vec::new());
        for ((charge, flushed), noted) in batch.iter().zip(&flushed).zip(&self.noted) {
            match flushed {
                Flushed::Added(used) => added.push((taken(charge, *noted), *used)),
                Flushed::NoKey if is_obsolete(charge) => obsolete.push(*charge),
                Flushed::NoKey => {
                    missing.push(*charge);
                    left.push(taken(charge, *noted));
                }
                Flushed::Locked => left.push(taken(charge, *noted)),
            }
        }
        sets.settle(added.iter().map(|(charge, used)| (charge, *used)), now);
        sets.miss_keys(missing.iter());
        sets.release(left.iter());
        sets.forget(obsolete.iter());
    }
}
