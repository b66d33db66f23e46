//! Which transactions' changes a query sees.

use core::ptr;

use pgrx::pg_sys;

use crate::pg::ffi::guarded;
use crate::pg::read::snapshot;

/// What a query sees, by its snapshot. It is good until the end of the call.
#[derive(Clone, Copy)]
pub struct Seen(pg_sys::Snapshot);

/// What the calling query sees.
pub fn by_caller() -> Seen {
    // SAFETY: where a snapshot is active, it stays so until the end of the call
    // (src/backend/utils/time/snapmgr.c).
    unsafe {
        let active = guarded::ActiveSnapshotSet();
        Seen(if active { guarded::GetActiveSnapshot() } else { ptr::null_mut() })
    }
}

/// What is committed at this instant. It is good until the next snapshot is taken.
pub fn latest() -> Seen {
    Seen(snapshot::latest_guarded().as_ptr())
}

impl Seen {
    /// Whether the query sees what a transaction did, of this full number, that does not fail.
    pub fn shows(self, transaction: u64) -> bool {
        // SAFETY: the snapshot is an MVCC snapshot or null. Its transaction ids have 32 bits, which
        // come again. An id that is half of them old is of the past
        // (src/backend/utils/time/snapmgr.c, src/backend/access/transam/varsup.c).
        unsafe {
            self.0.is_null()
                || !guarded::XidInMVCCSnapshot((transaction as u32).into(), self.0)
                || guarded::ReadNextFullTransactionId().value.wrapping_sub(transaction)
                    > u64::from(u32::MAX / 2)
        }
    }
}

/// The full number of the own transaction; 0 where it has written nothing.
pub fn own_transaction() -> u64 {
    // SAFETY: reads a variable (src/backend/access/transam/xact.c).
    unsafe { guarded::GetTopFullTransactionIdIfAny().value }
}
