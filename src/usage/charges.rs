//! The charges of a database in one flush.

use pure::limits::pending_charge::{KeyMissed, PendingCharge};
use pure::limits::quota_sets::QuotaSets;

use crate::pg::background::shmem;
use crate::pg::call::Call;
use crate::pg::server::clock;
use crate::pg::sql::lock;
use crate::store::history::charges as history;
use crate::store::quotas::charges::{self, Flushed};

/// How long charges are kept after a flush did not find their key, in seconds: an open transaction
/// may have created and used it.
const KEPT_WITHOUT_KEY: u32 = 60;
const _: () = assert!(KEPT_WITHOUT_KEY < KeyMissed::CIRCLE);

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
}

/// What becomes of the charges of a batch once the transaction that writes them has committed. It
/// is known before that: the memory must not run out in between.
#[derive(Default)]
pub struct Written {
    /// Those that the table has, and how much it has.
    added: Vec<(PendingCharge, i64)>,
    /// Those that the next flush writes.
    left: Vec<PendingCharge>,
    /// Those of them whose key was not there.
    missing: Vec<PendingCharge>,
    /// Those that no row can have.
    obsolete: Vec<PendingCharge>,
}

impl Charges {
    /// Those of a database.
    pub fn of(database: u32) -> Charges {
        let sets = shmem::quota_sets();
        Charges { database, sets, next: sets.map(|_| 0), batch: Vec::new() }
    }

    /// Whether some are not collected yet.
    pub fn is_left(&self) -> bool {
        self.next.is_some()
    }

    /// Collects the next ones; false if there are none.
    pub fn collect(&mut self, limit: usize) -> bool {
        let Some((sets, from)) = self.sets.zip(self.next) else { return false };
        (self.batch, self.next) = sets.collect(self.database, from, limit);
        !self.batch.is_empty()
    }

    /// Writes them to the table and, if there is one, to the history. Leaves all charges for the
    /// next flush while somebody adds those of another server: a row that is new in one transaction
    /// would have the other one wait.
    pub fn flush(&mut self, call: &Call, has_history: bool) -> Written {
        if !lock::try_lock_charges() {
            self.next = None;
            let left = self.batch.iter().map(|charge| taken(charge, false)).collect();
            return Written { left, ..Written::default() };
        }
        let Some(flushed) = charges::flush(call, &self.batch) else {
            // A database without the table.
            return Written { obsolete: self.batch.clone(), ..Written::default() };
        };
        let noted = match has_history {
            true => history::add(call, &self.batch),
            false => vec![true; self.batch.len()],
        };
        let now = clock::monotonic_seconds();
        let mut written = Written::default();
        for ((charge, flushed), noted) in self.batch.iter().zip(flushed).zip(noted) {
            match flushed {
                Flushed::Added(used) => written.added.push((taken(charge, noted), used)),
                Flushed::NoKey if charge.key_missed.for_seconds(now) > KEPT_WITHOUT_KEY => {
                    written.obsolete.push(*charge);
                }
                Flushed::NoKey => {
                    written.missing.push(*charge);
                    written.left.push(taken(charge, noted));
                }
                Flushed::Locked => written.left.push(taken(charge, noted)),
            }
        }
        written
    }

    /// Takes what the transaction has committed out of the memory.
    pub fn settle(&self, written: &Written) {
        let Some(sets) = self.sets else { return };
        let now = clock::monotonic_seconds();
        sets.settle(written.added.iter().map(|(charge, used)| (charge, *used)), now);
        sets.miss_keys(written.missing.iter(), now);
        sets.release(written.left.iter());
        sets.forget(written.obsolete.iter());
    }
}

/// What is taken of a charge out of the memory. The part for the history stays if the history does
/// not have it.
fn taken(charge: &PendingCharge, is_noted: bool) -> PendingCharge {
    PendingCharge { charged: if is_noted { charge.charged } else { 0 }, ..*charge }
}
