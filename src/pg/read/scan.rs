//! Reading rows straight from a table through an index: no SPI, no executor, no transaction id.
//!
//! The scan runs under SnapshotAny, and each tuple is judged by the latest MVCC snapshot. A scan
//! under the MVCC snapshot itself would take predicate locks in a SERIALIZABLE transaction, and could
//! raise a serialization failure there (src/backend/storage/lmgr/predicate.c:
//! SerializationNeededForRead passes over non-MVCC snapshots). SnapshotSelf and SnapshotDirty are no
//! alternative: during a concurrent update they can see neither version of a row.
//!
//! Under SnapshotAny an index scan returns every member of a HOT chain in turn
//! (src/backend/access/heap/heapam_handler.c: heapam_index_fetch_tuple), so that the one that is
//! visible is among them.

use core::mem::MaybeUninit;
use core::ops::ControlFlow;
use core::ptr;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::pg::error;
use crate::pg::ffi::{compat, unguarded};
use crate::pg::read::catalog::{self, Table};
use crate::pg::read::tuple::Tuple;
use crate::pg::types::SqlValue;

/// A value to look for in an index's first column.
#[derive(Clone, Copy)]
pub struct Wanted {
    value: Datum,
    equality: Oid,
    collation: Oid,
}

impl Wanted {
    /// A `bytea`.
    pub fn bytes(value: crate::pg::types::Bytes) -> Wanted {
        Wanted {
            value: value.datum(),
            equality: pg_sys::Oid::from(pg_sys::F_BYTEAEQ),
            collation: Oid::INVALID,
        }
    }

    /// A `text` in a column of collation "C".
    pub fn text(value: crate::pg::types::Text) -> Wanted {
        Wanted {
            value: value.datum(),
            equality: pg_sys::Oid::from(pg_sys::F_TEXTEQ),
            collation: pg_sys::C_COLLATION_OID,
        }
    }
}

/// A table and its index, open and locked as for a read.
#[derive(Clone, Copy)]
pub struct Opened {
    heap: pg_sys::Relation,
    index: pg_sys::Relation,
}

/// How tables and indexes are locked to be read.
pub(in crate::pg) const LOCK: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;

impl Opened {
    /// Opens a table of the extension. A snapshot by which it is read is taken after this: a rewrite of
    /// the table that the lock waited for is invisible to an older one.
    ///
    /// Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn open(table: Table) -> Opened {
        loop {
            let Some(wanted) = catalog::indexed(table) else { error::not_installed() };
            // SAFETY: opening by OID, which may be out of date by now: then there is no such table, or
            // the lock has brought the news, and the names are looked up again. With the table locked,
            // its index stays (src/backend/commands/indexcmds.c: ReindexRelationConcurrently waits for
            // every lock on the table before it drops the index it replaced).
            unsafe {
                let heap = unguarded::try_table_open(wanted.table, LOCK);
                if heap.is_null() {
                    catalog::invalidate();
                    continue;
                }
                if catalog::indexed(table) == Some(wanted) {
                    return Opened { heap, index: unguarded::index_open(wanted.index, LOCK) };
                }
                unguarded::table_close(heap, LOCK);
            }
        }
    }

    /// Closes both, and gives the locks back. Unguarded: see [`crate::pg::ffi::unguarded`].
    pub fn close(self) {
        // SAFETY: both are open, and nothing of theirs is in use any more.
        unsafe {
            unguarded::index_close(self.index, LOCK);
            unguarded::table_close(self.heap, LOCK);
        }
    }

    /// The table.
    pub(in crate::pg) fn heap(&self) -> pg_sys::Relation {
        self.heap
    }

    /// Whether its rows are stored by the access method of heaps, on pages of shared buffers.
    pub(in crate::pg) fn is_heap(&self) -> bool {
        // SAFETY: the table is open.
        unsafe { ptr::eq((*self.heap).rd_tableam, unguarded::GetHeapamTableAmRoutine()) }
    }

    /// The number of the operator `=` in the operator classes of the index's access method
    /// (src/include/access/stratnum.h).
    fn equality_strategy(&self) -> pg_sys::StrategyNumber {
        // SAFETY: the index is open.
        let method = unsafe { (*(*self.index).rd_rel).relam };
        let number = if method == pg_sys::HASH_AM_OID {
            pg_sys::HTEqualStrategyNumber
        } else {
            pg_sys::BTEqualStrategyNumber
        };
        number as pg_sys::StrategyNumber
    }

    /// Calls `visit` for every row that is visible to the snapshot and has the wanted value (None: for
    /// every row) in the index's first column, in index order, until it breaks. A hash index also
    /// brings rows of other values, whose hash code is the same: who visits compares.
    ///
    /// Unguarded: see [`crate::pg::ffi::unguarded`]. `visit` must not hold anything with a destructor either.
    pub fn each_visible(
        self,
        wanted: Option<Wanted>,
        snapshot: pg_sys::Snapshot,
        mut visit: impl FnMut(&Tuple) -> ControlFlow<()>,
    ) {
        // SAFETY: the calls follow the protocol of src/backend/access/index/genam.c
        // (systable_beginscan and its end). Scan, slot and the pin on its buffer are the resource
        // owner's, as the relations are, which releases them where an error leaves this function.
        unsafe {
            let slot = unguarded::table_slot_create(self.heap, ptr::null_mut());
            let any = (&raw const pg_sys::SnapshotAnyData).cast_mut();
            let mut key = MaybeUninit::<pg_sys::ScanKeyData>::uninit();
            let nkeys = i32::from(wanted.is_some());
            if let Some(wanted) = wanted {
                unguarded::ScanKeyEntryInitialize(
                    key.as_mut_ptr(),
                    0,
                    1,
                    self.equality_strategy(),
                    Oid::INVALID,
                    wanted.collation,
                    wanted.equality,
                    wanted.value,
                );
            }
            let scan = compat::index_beginscan(self.heap, self.index, any, nkeys);
            unguarded::index_rescan(scan, key.as_mut_ptr(), nkeys, ptr::null_mut(), 0);
            let visible = (*(*self.heap).rd_tableam)
                .tuple_satisfies_snapshot
                .expect("every table access method has it (src/backend/access/table/tableamapi.c)");
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            while unguarded::index_getnext_slot(scan, forward, slot) {
                if visible(self.heap, slot, snapshot) && visit(&Tuple::in_slot(slot)).is_break() {
                    break;
                }
            }
            unguarded::index_endscan(scan);
            unguarded::ExecDropSingleTupleTableSlot(slot);
        }
    }
}
