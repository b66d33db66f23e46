//! What differs between the supported major versions of PostgreSQL (15 to 18).

use core::ffi::{CStr, c_char, c_int};

use pgrx::pg_sys::{
    AttrNumber, EState, FormData_pg_attribute, IndexScanDesc, ItemPointer, ItemPointerData, List,
    Relation, ResultRelInfo, Snapshot, SockAddr, TupleDesc, TupleTableSlot,
};

#[cfg(not(feature = "pg15"))]
pub(in crate::pg) use pgrx::pg_sys::RelFileLocator as FileLocator;
/// Identifies a relation's file (src/include/storage/relfilelocator.h, in 15 relfilenode.h).
#[cfg(feature = "pg15")]
pub(in crate::pg) use pgrx::pg_sys::RelFileNode as FileLocator;

unsafe extern "C-unwind" {
    /// Starts an index scan (src/backend/access/index/indexam.c).
    fn index_beginscan(
        heap: Relation,
        index: Relation,
        snapshot: Snapshot,
        #[cfg(feature = "pg18")] instrument: *mut pgrx::pg_sys::IndexScanInstrumentation,
        nkeys: c_int,
        norderbys: c_int,
    ) -> IndexScanDesc;

    /// Looks for rows that conflict with a new one (src/backend/executor/execIndexing.c).
    fn ExecCheckIndexConstraints(
        result: *mut ResultRelInfo,
        slot: *mut TupleTableSlot,
        state: *mut EState,
        conflict: ItemPointer,
        #[cfg(feature = "pg18")] own: ItemPointer,
        arbiters: *mut List,
    ) -> bool;

    /// Writes a message to the WAL (src/backend/replication/logical/message.c).
    fn LogLogicalMessage(
        prefix: *const c_char,
        message: *const c_char,
        size: usize,
        transactional: bool,
        #[cfg(any(feature = "pg17", feature = "pg18"))] flush: bool,
    ) -> pgrx::pg_sys::XLogRecPtr;
}

/// Starts an index scan. PostgreSQL 18 counts the searches of an index for EXPLAIN, if it is given
/// room for the count; here is no EXPLAIN.
///
/// # Safety
/// Both relations are open and locked, and the index is one of the table. The snapshot outlives the
/// scan. The rule of [`crate::pg::ffi::unguarded`] holds.
pub(in crate::pg) unsafe fn index_beginscan_unguarded(
    heap: Relation,
    index: Relation,
    snapshot: Snapshot,
    nkeys: c_int,
) -> IndexScanDesc {
    // SAFETY: the caller's. The instrument may be null (src/backend/access/index/genam.c).
    unsafe {
        index_beginscan(
            heap,
            index,
            snapshot,
            #[cfg(feature = "pg18")]
            core::ptr::null_mut(),
            nkeys,
            0,
        )
    }
}

/// Whether no row conflicts with a new one in the indexes of the list. Waits for transactions that
/// are inserting or deleting such a row.
///
/// # Safety
/// The table was opened for the executor's state, and its indexes as for a speculative insertion.
/// The slot has the new row. The rule of [`crate::pg::ffi::unguarded`] holds.
pub(in crate::pg) unsafe fn is_key_free_unguarded(
    result: *mut ResultRelInfo,
    slot: *mut TupleTableSlot,
    state: *mut EState,
    arbiters: *mut List,
) -> bool {
    // SAFETY: the caller's. The new row has no place in the table yet, for which all zeroes stand
    // (src/include/storage/itemptr.h: ItemPointerIsValid).
    unsafe {
        let mut conflict = ItemPointerData::default();
        #[cfg(feature = "pg18")]
        let mut own = ItemPointerData::default();
        ExecCheckIndexConstraints(
            result,
            slot,
            state,
            &mut conflict,
            #[cfg(feature = "pg18")]
            &mut own,
            arbiters,
        )
    }
}

/// The beginning of the structure of a client's connection (src/include/libpq/libpq-be.h).
#[repr(C)]
struct PortStart {
    sock: c_int,
    noblock: bool,
    proto: u32,
    laddr: SockAddr,
    raddr: SockAddr,
    remote_host: *mut c_char,
    remote_hostname: *mut c_char,
    remote_hostname_resolv: c_int,
    remote_hostname_errcode: c_int,
    remote_port: *mut c_char,
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    can_accept_connections: c_int,
    #[cfg(feature = "pg18")]
    local_host: [c_char; 64],
    database_name: *mut c_char,
    user_name: *mut c_char,
}

/// Where the server keeps the names of the user and the database that a client has asked for; null
/// in a process without a client.
pub(in crate::pg) fn session_names() -> [*mut *mut c_char; 2] {
    // SAFETY: the variable is null or points to the connection of this process.
    unsafe {
        let port: *mut PortStart = pgrx::pg_sys::MyProcPort.cast();
        if port.is_null() {
            return [core::ptr::null_mut(); 2];
        }
        [&raw mut (*port).user_name, &raw mut (*port).database_name]
    }
}

/// The file of a relation.
///
/// # Safety
/// The relation is open.
pub(in crate::pg) unsafe fn locator(relation: Relation) -> FileLocator {
    // SAFETY: the caller's: an open relation is in the relation cache
    // (src/backend/utils/cache/relcache.c).
    unsafe {
        #[cfg(feature = "pg15")]
        return (*relation).rd_node;
        #[cfg(not(feature = "pg15"))]
        return (*relation).rd_locator;
    }
}

/// A column of a tuple descriptor. From PostgreSQL 18 on, another array comes before that of the
/// columns (src/include/access/tupdesc.h: TupleDescAttr).
///
/// # Safety
/// The descriptor has the column, whose number is from 1 on.
pub(in crate::pg) unsafe fn attribute(
    descriptor: TupleDesc,
    number: AttrNumber,
) -> *const FormData_pg_attribute {
    // SAFETY: the caller's.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        let attributes: *const FormData_pg_attribute = (*descriptor).attrs.as_ptr();
        #[cfg(feature = "pg18")]
        let attributes: *const FormData_pg_attribute =
            (*descriptor).compact_attrs.as_ptr().add((*descriptor).natts as usize).cast();
        attributes.add(number as usize - 1)
    }
}

/// Sets the handler of a signal in this process. PostgreSQL 18 has one such function for the server
/// and another one for clients.
///
/// # Safety
/// The handler does only what a signal handler may do.
pub(in crate::pg) unsafe fn set_signal_handler(
    signal: c_int,
    handler: unsafe extern "C-unwind" fn(c_int),
) {
    // SAFETY: the caller's (src/port/pqsignal.c).
    unsafe {
        #[cfg(not(feature = "pg18"))]
        pgrx::pg_sys::pqsignal(signal, Some(handler));
        #[cfg(feature = "pg18")]
        pgrx::pg_sys::pqsignal_be(signal, Some(handler));
    }
}

/// Settings of later major versions that a worker overrides. PostgreSQL 17 can end a session whose
/// transaction takes too long.
pub(in crate::pg) const WORKER_SETTINGS: &[(&CStr, &CStr)] =
    if cfg!(any(feature = "pg17", feature = "pg18")) {
        &[(c"transaction_timeout", c"0")]
    } else {
        &[]
    };

/// Writes an empty message to the WAL, as part of the current transaction. From PostgreSQL 17 on,
/// the caller says whether the message is flushed at once; this one is not. The server raises an
/// error on a standby.
///
/// # Safety
/// The process is in a transaction. The rule of [`crate::pg::ffi::unguarded`] holds.
pub(in crate::pg) unsafe fn log_empty_message_unguarded(prefix: &CStr) {
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
