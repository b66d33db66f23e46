//! What differs between the supported majors of PostgreSQL (15 to 18), and nothing else.

use core::ffi::{CStr, c_char, c_int};

use pgrx::pg_sys::{BlockNumber, Buffer, ForkNumber, IndexScanDesc, Relation, Snapshot};

#[cfg(not(feature = "pg18"))]
mod beginscan {
    use super::*;
    unsafe extern "C-unwind" {
        fn index_beginscan(
            heap: Relation,
            index: Relation,
            snapshot: Snapshot,
            nkeys: c_int,
            norderbys: c_int,
        ) -> IndexScanDesc;
    }

    pub unsafe fn begin(
        heap: Relation,
        index: Relation,
        snapshot: Snapshot,
        nkeys: c_int,
    ) -> IndexScanDesc {
        // SAFETY: the caller's.
        unsafe { index_beginscan(heap, index, snapshot, nkeys, 0) }
    }
}

/// PostgreSQL 18 counts the searches of an index for EXPLAIN; there is no EXPLAIN here.
#[cfg(feature = "pg18")]
mod beginscan {
    use super::*;
    unsafe extern "C-unwind" {
        fn index_beginscan(
            heap: Relation,
            index: Relation,
            snapshot: Snapshot,
            instrument: *mut pgrx::pg_sys::IndexScanInstrumentation,
            nkeys: c_int,
            norderbys: c_int,
        ) -> IndexScanDesc;
    }

    pub unsafe fn begin(
        heap: Relation,
        index: Relation,
        snapshot: Snapshot,
        nkeys: c_int,
    ) -> IndexScanDesc {
        // SAFETY: the caller's; a null instrument is allowed (src/backend/access/index/genam.c).
        unsafe { index_beginscan(heap, index, snapshot, core::ptr::null_mut(), nkeys, 0) }
    }
}

/// Starts an index scan (src/backend/access/index/indexam.c), unguarded.
///
/// # Safety
/// Both relations are open and locked, and belong together; the snapshot outlives the scan; and
/// the rule of [`crate::pg::ffi::unguarded`] holds.
pub unsafe fn index_beginscan(
    heap: Relation,
    index: Relation,
    snapshot: Snapshot,
    nkeys: c_int,
) -> IndexScanDesc {
    // SAFETY: as above.
    unsafe { beginscan::begin(heap, index, snapshot, nkeys) }
}

#[cfg(not(feature = "pg15"))]
pub use pgrx::pg_sys::RelFileLocator as FileLocator;
/// What names a relation's file (src/include/storage/relfilelocator.h, in 15 relfilenode.h).
#[cfg(feature = "pg15")]
pub use pgrx::pg_sys::RelFileNode as FileLocator;

/// The file of an open relation.
///
/// # Safety
/// The relation is open.
pub unsafe fn locator(relation: Relation) -> FileLocator {
    // SAFETY: the caller's.
    unsafe {
        #[cfg(feature = "pg15")]
        return (*relation).rd_node;
        #[cfg(not(feature = "pg15"))]
        return (*relation).rd_locator;
    }
}

unsafe extern "C-unwind" {
    /// Pins a buffer if it still has a block (src/backend/storage/buffer/bufmgr.c), unguarded.
    pub fn ReadRecentBuffer(
        file: FileLocator,
        fork: ForkNumber::Type,
        block: BlockNumber,
        buffer: Buffer,
    ) -> bool;
}

/// The handler of a signal in this process.
///
/// # Safety
/// The handler does what a signal handler may.
pub unsafe fn set_signal_handler(signal: c_int, handler: unsafe extern "C-unwind" fn(c_int)) {
    // SAFETY: the caller's. PostgreSQL 18 tells the function of the server from the one of clients.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        pgrx::pg_sys::pqsignal(signal, Some(handler));
        #[cfg(feature = "pg18")]
        pgrx::pg_sys::pqsignal_be(signal, Some(handler));
    }
}

/// Settings of later majors that a worker overrides: PostgreSQL 17 can end a session whose transaction
/// takes too long.
pub const WORKER_SETTINGS: &[(&CStr, &CStr)] = if cfg!(any(feature = "pg17", feature = "pg18")) {
    &[(c"transaction_timeout", c"0")]
} else {
    &[]
};

unsafe extern "C-unwind" {
    /// Writes a record that belongs to the transaction and is of no consequence
    /// (src/backend/replication/logical/message.c), unguarded. PostgreSQL 17 can flush it at once.
    fn LogLogicalMessage(
        prefix: *const c_char,
        message: *const c_char,
        size: usize,
        transactional: bool,
        #[cfg(any(feature = "pg17", feature = "pg18"))] flush: bool,
    ) -> pgrx::pg_sys::XLogRecPtr;
}

/// Writes an empty message of the current transaction to the WAL, unguarded.
///
/// # Safety
/// The transaction may write.
pub unsafe fn log_empty_message(prefix: &CStr) {
    // SAFETY: the caller's; both are null-terminated strings.
    unsafe {
        LogLogicalMessage(
            prefix.as_ptr(),
            c"".as_ptr(),
            0,
            true,
            #[cfg(any(feature = "pg17", feature = "pg18"))]
            false,
        );
    }
}
