//! Reading rows of a table through an index, without SPI, the executor or a transaction id.
//!
//! For readers the scan runs under SnapshotAny, and each tuple is checked against the latest MVCC
//! snapshot. A scan under the MVCC snapshot itself would take predicate locks in a SERIALIZABLE
//! transaction, and could raise a serialization failure there
//! (src/backend/storage/lmgr/predicate.c: SerializationNeededForRead ignores scans under non-MVCC
//! snapshots). SnapshotSelf and SnapshotDirty are no alternative: during a concurrent update they
//! can see neither version of a row.
//!
//! Under SnapshotAny an index scan returns every member of a HOT chain in turn
//! (src/backend/access/heap/heapam_handler.c: heapam_index_fetch_tuple), so that the visible one is
//! among them.

use core::mem::MaybeUninit;
use core::ops::ControlFlow;
use core::ptr;

use pgrx::pg_sys::{self, AttrNumber, Datum, Oid};

use crate::pg::call::Call;
use crate::pg::ffi::guard::guarded;
use crate::pg::ffi::{compat, unguarded};
use crate::pg::read::catalog::{self, Table};
use crate::pg::read::shape::{self, Difference, Shape};
use crate::pg::read::snapshot::Snapshot;
use crate::pg::read::tuple::Tuple;
use crate::pg::types::{Bytes, FromRaw, Text, Timestamp};

/// A value to look for in an index's first column.
#[derive(Clone, Copy)]
pub struct Wanted {
    /// The value.
    value: Datum,
    /// The OID of the function that compares it.
    equality: Oid,
    /// The collation of the column.
    collation: Oid,
}

impl Wanted {
    /// A `bytea`.
    pub fn bytes(value: Bytes) -> Wanted {
        Wanted {
            value: value.raw(),
            equality: Oid::from(pg_sys::F_BYTEAEQ),
            collation: Oid::INVALID,
        }
    }

    /// The `text` that has these bytes, in a column of collation "C": both are stored in the same
    /// way (src/include/c.h: bytea, text).
    pub fn text_of(bytes: Bytes) -> Wanted {
        Wanted {
            value: bytes.raw(),
            equality: Oid::from(pg_sys::F_TEXTEQ),
            collation: pg_sys::C_COLLATION_OID,
        }
    }

    /// A `text` in a column of collation "C".
    pub fn text(value: Text) -> Wanted {
        Wanted {
            value: value.raw(),
            equality: Oid::from(pg_sys::F_TEXTEQ),
            collation: pg_sys::C_COLLATION_OID,
        }
    }
}

/// The operator family of the default operator class of `timestamptz`
/// (src/include/catalog/pg_opfamily.dat).
const DATETIME_FAMILY: u32 = 434;

/// A table and its index, open and locked for reading. Its methods are unguarded (see
/// [`crate::pg::read`]).
pub struct Opened {
    /// The table.
    heap: pg_sys::Relation,
    /// The index.
    index: pg_sys::Relation,
    /// The last column that may be read.
    last: AttrNumber,
}

/// The lock that a reader takes on tables and indexes.
pub(in crate::pg) const LOCK: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;

impl Opened {
    /// Opens a table of the extension. Raises 55000 where it does not have the shape that the
    /// caller relies on, and 42704 in a database without the extension.
    ///
    /// The relations are compared with the shape once after each change. A change sends an
    /// invalidation message for the table or the index, on which [`catalog`] forgets that they were
    /// compared. While they are locked, nobody changes a column or drops the index.
    ///
    /// Callers take the snapshot by which they read after this: a rewrite of the table that the
    /// lock waited for is invisible to an older one.
    pub fn open(table: Table, shape: &'static Shape) -> Opened {
        let opened = Opened::by_name(table).unwrap_or_else(|missing| missing.raise());
        let last = catalog::checked(table).unwrap_or_else(|| {
            // SAFETY: both are open and locked. After an error, the resource owner closes them.
            unsafe {
                let last = shape::last_column(table, shape, opened.heap, opened.index)
                    .unwrap_or_else(|difference| difference.raise());
                catalog::set_checked(table, last);
                last
            }
        });
        Opened { last, ..opened }
    }

    /// Opens what has the names of a table and its index.
    fn by_name(table: Table) -> Result<Opened, Difference> {
        loop {
            let wanted = catalog::indexed(table)?;
            // SAFETY: relations are opened by OIDs that may be out of date. Then there is no such
            // relation, or the lock has processed the invalidation message, and the names are
            // looked up again (src/backend/access/common/relation.c: try_relation_open). While the
            // table is locked, its index stays (src/backend/commands/indexcmds.c:
            // ReindexRelationConcurrently waits for every lock on the table before it drops the
            // index that it has replaced). But another one can replace it before it is locked.
            unsafe {
                let heap = unguarded::try_relation_open(wanted.table, LOCK);
                if heap.is_null() {
                    catalog::invalidate();
                    continue;
                }
                if catalog::indexed(table) == Ok(wanted) {
                    // Of an index that was checked it is known that it is one of this table.
                    let index = match catalog::checked(table) {
                        Some(_) => unguarded::relation_open(wanted.index, LOCK),
                        None => unguarded::try_relation_open(wanted.index, LOCK),
                    };
                    if index.is_null() {
                        catalog::invalidate();
                    } else if catalog::indexed(table) == Ok(wanted) {
                        return Ok(Opened { heap, index, last: 0 });
                    } else {
                        unguarded::relation_close(index, LOCK);
                    }
                }
                unguarded::relation_close(heap, LOCK);
            }
        }
    }

    /// How a table differs from its shape, for callers that hold values with destructors.
    pub fn difference_guarded(_: &Call, table: Table, shape: &'static Shape) -> Option<Difference> {
        let find = || {
            let opened = match Opened::by_name(table) {
                Ok(opened) => opened,
                Err(missing) => return Some(missing),
            };
            // SAFETY: both are open and locked.
            let last = unsafe { shape::last_column(table, shape, opened.heap, opened.index) };
            opened.close();
            last.err()
        };
        // SAFETY: the closure holds plain data, and cannot panic.
        unsafe { guarded(find) }
    }

    /// Closes both and releases the locks.
    pub fn close(self) {
        // SAFETY: both are open, and nothing refers to them any more: nobody else has this value
        // (src/backend/access/common/relation.c).
        unsafe {
            unguarded::relation_close(self.index, LOCK);
            unguarded::relation_close(self.heap, LOCK);
        }
    }

    /// The table.
    pub(in crate::pg) fn heap(&self) -> pg_sys::Relation {
        self.heap
    }

    /// The last column that may be read.
    pub(in crate::pg) fn last(&self) -> AttrNumber {
        self.last
    }

    /// Whether the access method of the table is the heap, which keeps rows on pages in shared
    /// buffers.
    pub(in crate::pg) fn is_heap(&self) -> bool {
        // SAFETY: the table is open; the function returns the address of a constant
        // (src/backend/access/heap/heapam_handler.c).
        unsafe { ptr::eq((*self.heap).rd_tableam, unguarded::GetHeapamTableAmRoutine()) }
    }

    /// The number of the operator `=` in the operator classes of the index's access method
    /// (src/include/access/stratnum.h).
    fn equality_strategy(&self) -> pg_sys::StrategyNumber {
        // SAFETY: the index is open, and has its row of pg_class (src/include/utils/rel.h).
        let method = unsafe { (*(*self.index).rd_rel).relam };
        let number = if method == pg_sys::HASH_AM_OID {
            pg_sys::HTEqualStrategyNumber
        } else {
            pg_sys::BTEqualStrategyNumber
        };
        number as pg_sys::StrategyNumber
    }

    /// Calls `visit` for each row that is visible to the snapshot and has the wanted value in the
    /// index's first column, in index order, until `visit` breaks. None wants every row. A hash
    /// index also returns rows of other values with the same hash code: `visit` compares the
    /// values.
    ///
    /// `visit` must not hold anything with a destructor either.
    pub fn each_visible(
        &self,
        wanted: Option<Wanted>,
        snapshot: Snapshot,
        visit: impl FnMut(&Tuple) -> ControlFlow<()>,
    ) {
        let any = (&raw const pg_sys::SnapshotAnyData).cast_mut();
        self.scan(any, wanted, None, snapshot, visit);
    }

    /// As [`Opened::each_visible`], for callers that write the table. The scan runs under the
    /// snapshot itself. So it marks index entries of rows that nobody can see any more, and the
    /// next scan passes over them (src/backend/access/index/indexam.c: index_fetch_heap). It
    /// takes predicate locks, as the scans of statements do.
    ///
    /// With `after`, it passes over rows whose second column in the index is not later, if that is
    /// the column of this number, a `timestamptz`.
    pub fn each_visible_for_write(
        &self,
        wanted: Option<Wanted>,
        after: Option<(AttrNumber, Timestamp)>,
        snapshot: Snapshot,
        visit: impl FnMut(&Tuple) -> ControlFlow<()>,
    ) {
        let after = after.filter(|(column, _)| self.is_second(*column)).map(|(_, after)| after);
        self.scan(snapshot.as_ptr(), wanted, after, snapshot, visit);
    }

    /// Whether this column of the table, a `timestamptz`, is the second one of the index, a B-tree.
    fn is_second(&self, column: AttrNumber) -> bool {
        // SAFETY: the index is open. It has its row of pg_index, and an entry for each column in
        // the arrays (src/include/utils/rel.h).
        unsafe {
            let index = &*self.index;
            let form = &*index.rd_index;
            index.rd_rel.as_ref().is_some_and(|it| it.relam == pg_sys::BTREE_AM_OID)
                && form.indnkeyatts > 1
                && *form.indkey.values.as_ptr().add(1) == column
                && *index.rd_opfamily.add(1) == Oid::from_u32(DATETIME_FAMILY)
                && *index.rd_opcintype.add(1) == pg_sys::TIMESTAMPTZOID
                && *index.rd_indoption.add(1) == 0
        }
    }

    /// Scans under one snapshot, and visits what is visible to the other. `after` is a condition on
    /// the second column.
    #[inline(always)]
    fn scan(
        &self,
        under: pg_sys::Snapshot,
        wanted: Option<Wanted>,
        after: Option<Timestamp>,
        snapshot: Snapshot,
        mut visit: impl FnMut(&Tuple) -> ControlFlow<()>,
    ) {
        // SAFETY: the calls follow the protocol of src/backend/access/index/genam.c
        // (systable_beginscan, systable_getnext, systable_endscan). After an error the resource
        // owner releases the pin on the slot's buffer and the references to the relations, and the
        // current memory context frees the scan and the slot. A slot that index_getnext_slot has
        // filled holds a row of the table.
        unsafe {
            let slot = unguarded::table_slot_create(self.heap, ptr::null_mut());
            let mut keys = [const { MaybeUninit::<pg_sys::ScanKeyData>::uninit() }; 2];
            let keys = keys.as_mut_ptr().cast::<pg_sys::ScanKeyData>();
            let nkeys = i32::from(wanted.is_some()) + i32::from(wanted.and(after).is_some());
            if let Some(wanted) = wanted {
                unguarded::ScanKeyEntryInitialize(
                    keys,
                    0,
                    1,
                    self.equality_strategy(),
                    Oid::INVALID,
                    wanted.collation,
                    wanted.equality,
                    wanted.value,
                );
            }
            if let Some(after) = wanted.and(after) {
                unguarded::ScanKeyEntryInitialize(
                    keys.add(1),
                    0,
                    2,
                    pg_sys::BTGreaterStrategyNumber as pg_sys::StrategyNumber,
                    Oid::INVALID,
                    Oid::INVALID,
                    Oid::from(pg_sys::F_TIMESTAMPTZ_GT),
                    Datum::from(after.micros()),
                );
            }
            let scan = compat::index_beginscan_unguarded(self.heap, self.index, under, nkeys);
            unguarded::index_rescan(scan, keys, nkeys, ptr::null_mut(), 0);
            let visible = (*(*self.heap).rd_tableam)
                .tuple_satisfies_snapshot
                .expect("every table access method has it (src/backend/access/table/tableamapi.c)");
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            while unguarded::index_getnext_slot(scan, forward, slot) {
                if visible(self.heap, slot, snapshot.as_ptr())
                    && visit(&Tuple::in_slot(slot, self.last)).is_break()
                {
                    break;
                }
            }
            unguarded::index_endscan(scan);
            unguarded::ExecDropSingleTupleTableSlot(slot);
        }
    }
}
