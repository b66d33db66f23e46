//! The latest snapshot.

use core::mem::MaybeUninit;

use pgrx::pg_sys;

use crate::pg::ffi::unguarded;

/// Room for one snapshot, kept for the backend's life: GetSnapshotData allocates its arrays once and
/// fills them again as long as anything has changed.
struct Room(core::cell::UnsafeCell<pg_sys::SnapshotData>);

// SAFETY: a backend has one thread (pgrx checks it at each guarded call).
unsafe impl Sync for Room {}

// SAFETY: all zeroes is a valid SnapshotData: SNAPSHOT_MVCC is 0, and null arrays are what
// GetSnapshotData takes for a first call (src/backend/storage/ipc/procarray.c).
static LATEST: Room =
    Room(core::cell::UnsafeCell::new(unsafe { MaybeUninit::zeroed().assume_init() }));

/// What is committed at this instant, and what the own transaction has done before the current
/// command, whatever the isolation level.
///
/// GetLatestSnapshot would do the same but refuses in parallel mode. The snapshot is not registered:
/// it is good until the next call of this function, inside a statement, whose own snapshot holds back
/// the horizon behind which rows are removed. Unguarded: see [`crate::pg::ffi::unguarded`].
pub fn latest() -> pg_sys::Snapshot {
    // SAFETY: the room lives for ever, and nothing else holds a reference into it.
    unsafe { unguarded::GetSnapshotData(LATEST.0.get()) }
}

/// The number of a snapshot that [`latest`] has returned: one of the same number shows the same versions
/// of rows. None in a transaction that has written, which sees what it did itself.
///
/// It is the number of transactions that have completed, by which the server itself tells that a
/// snapshot is still the latest (src/backend/storage/ipc/procarray.c: GetSnapshotDataReuse): it is
/// counted up together with the end of each transaction that has an id, in recovery too, before anybody
/// sees what that has done. Whoever changes a row has an id.
pub fn number(snapshot: pg_sys::Snapshot) -> Option<u64> {
    // SAFETY: the snapshot is there; the other reads a variable (src/backend/access/transam/xact.c).
    unsafe {
        let written = unguarded::GetTopTransactionIdIfAny() != pg_sys::TransactionId::INVALID;
        (!written).then(|| (*snapshot).snapXactCompletionCount)
    }
}

/// As [`latest`], for callers that hold values with destructors.
pub(in crate::pg) fn latest_guarded() -> pg_sys::Snapshot {
    // SAFETY: as above.
    unsafe { pg_sys::GetSnapshotData(LATEST.0.get()) }
}
