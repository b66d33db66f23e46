//! The databases of the cluster, for a worker that is connected to none.

use pgrx::bgworkers::BackgroundWorker;
use pgrx::pg_sys;

use crate::pg::background::worker::Unconnected;
use crate::pg::ffi::guard::guarded;

/// A database of the cluster.
pub struct Database {
    /// Its OID.
    pub oid: u32,
    /// Whether it allows connections.
    pub open: bool,
    /// Whether a DROP DATABASE was interrupted, so that only another one is possible.
    pub invalid: bool,
}

/// All databases.
pub fn all(_: &mut Unconnected) -> Vec<Database> {
    BackgroundWorker::transaction(|| {
        let mut found = Vec::new();
        // SAFETY: reads pg_database as src/backend/postmaster/autovacuum.c does
        // (get_database_list). A process without a database can scan a shared catalogue, but not
        // through an index. pgrx guards every call but `scan_end`, which is guarded here: the
        // closure holds plain data, and cannot panic.
        unsafe {
            let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
            let catalogue = pg_sys::table_open(pg_sys::DatabaseRelationId, lock);
            let scan = pg_sys::table_beginscan_catalog(catalogue, 0, core::ptr::null_mut());
            loop {
                let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
                if tuple.is_null() {
                    break;
                }
                let form: pg_sys::Form_pg_database = pg_sys::GETSTRUCT(tuple).cast();
                found.push(Database {
                    oid: (*form).oid.to_u32(),
                    open: (*form).datallowconn,
                    invalid: (*form).datconnlimit == DATCONNLIMIT_INVALID_DB,
                });
            }
            // table_endscan of src/include/access/tableam.h is inline.
            if let Some(end) = (*(*catalogue).rd_tableam).scan_end {
                guarded(|| end(scan));
            }
            pg_sys::table_close(catalogue, lock);
        }
        found
    })
}

/// The connection limit of a database whose removal was interrupted
/// (src/include/catalog/pg_database.h).
const DATCONNLIMIT_INVALID_DB: i32 = -2;
