//! The latest snapshot.

use core::mem::MaybeUninit;

use pgrx::pg_sys::{self, SnapshotData};

use crate::pg::ffi::per_backend::PerBackend;
use crate::pg::ffi::{guarded, unguarded};

/// The room of a snapshot, which stays for as long as the backend does. GetSnapshotData allocates
/// its arrays once, and fills them again where anything has changed.
static LATEST: PerBackend<SnapshotData> = PerBackend::new(
    // SAFETY: all zeroes is a valid SnapshotData: SNAPSHOT_MVCC is 0, and GetSnapshotData takes
    // null arrays for a first call (src/backend/storage/ipc/procarray.c).
    unsafe { MaybeUninit::zeroed().assume_init() },
);

/// A snapshot that [`latest`] has taken. It is good until the next call of [`latest`], which fills
/// the same room again.
#[derive(Clone, Copy)]
pub struct Snapshot(pg_sys::Snapshot);

impl Snapshot {
    /// The server's structure.
    pub(in crate::pg) fn as_ptr(self) -> pg_sys::Snapshot {
        self.0
    }
}

/// Takes a snapshot that shows what is committed at this instant, and what the own transaction did
/// before the current command, at any isolation level.
///
/// GetLatestSnapshot would do the same, but refuses to in parallel mode. The snapshot is not
/// registered: it is taken within a statement, whose own snapshot holds back the horizon behind
/// which rows are removed.
pub fn latest() -> Snapshot {
    // SAFETY: the room stays. This thread alone fills it, here and below, and holds no reference
    // into it (src/backend/storage/ipc/procarray.c: GetSnapshotData).
    Snapshot(unsafe { unguarded::GetSnapshotData(LATEST.as_ptr()) })
}

/// As [`latest`], without what the own transaction did: for numbers that other sessions get too.
/// The rows that it has inserted are invisible, and those that it has deleted are there
/// (src/backend/access/heap/heapam_visibility.c: HeapTupleSatisfiesMVCC).
pub fn committed() -> Snapshot {
    of_others(latest())
}

/// As [`committed`], for callers that hold values with destructors.
pub(in crate::pg) fn committed_guarded() -> Snapshot {
    of_others(latest_guarded())
}

fn of_others(snapshot: Snapshot) -> Snapshot {
    // SAFETY: the room of the snapshot, which nothing else refers to.
    unsafe { (*snapshot.0).curcid = pg_sys::FirstCommandId };
    snapshot
}

/// As [`latest`], for callers that hold values with destructors.
pub(in crate::pg) fn latest_guarded() -> Snapshot {
    // SAFETY: the room stays. This thread alone fills it, here and above, and holds no reference
    // into it (src/backend/storage/ipc/procarray.c: GetSnapshotData).
    Snapshot(unsafe { guarded::GetSnapshotData(LATEST.as_ptr()) })
}
