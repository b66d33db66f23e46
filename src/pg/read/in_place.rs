//! Rows read where they were last found, without opening a table.
//!
//! For each row that was read through an index, this process remembers the TID and the buffer that
//! it was found in ([`pure::cache::tids`]). The next time, the buffer is pinned, if it still has
//! the page, and the row is read there.
//!
//! A wrong answer is impossible, and no cached TID needs to be invalidated, for these reasons:
//!
//! - A cached TID says where to look and nothing else. Each time, the page says whether there is a
//!   row, whether the snapshot shows it, and what its values are, as in any scan. Visibility is
//!   checked while the page is locked. Values are read while it is pinned, when neither VACUUM nor
//!   pruning can move or remove them (src/backend/storage/buffer/README). The reader compares the
//!   values that it looks the row up by, which are unique among visible rows. So it finds the right
//!   row or none.
//! - The page is the one of that block of the table's file. A buffer is pinned only if it has that
//!   block (src/backend/storage/buffer/bufmgr.c: ReadRecentBuffer compares the tag under the
//!   buffer's lock), whatever happened to the block or the buffer in the meantime. Nothing is read
//!   from disk, so no block beyond the end of a file is asked for. A line pointer counts only where
//!   the page has it.
//! - The file is the table's. It became known when the table was last open. It is forgotten,
//!   together with everything else about the table, when the relation cache gets an invalidation
//!   message ([`crate::pg::read::catalog`]). Any rewrite or drop of a table sends that message; on
//!   a standby, replay sends it. It is sent before the COMMIT returns and before the lock on the
//!   table is released (src/backend/access/transam/xact.c: CommitTransaction, xact_redo_commit),
//!   thus before anybody can write into the new file. A reader first processes the messages
//!   ([`accept_invalidations`]) and then takes its snapshot. So a row whose writer committed before
//!   the messages were processed is in the file that is read; any other was not committed when the
//!   look-up began. (Between the end of such a transaction and its message, a look-up reads this
//!   table as it was before, and another table, which got no new file, as the transaction left it.)
//! - The columns have the numbers and types that the reader takes them for. The file of a table is
//!   known only where the table was compared with its shape since the last such message
//!   ([`crate::pg::read::scan::Opened::open`], [`catalog::set_file`]). A change of a column or an
//!   index sends the message as a rewrite does, so the argument above holds for it too.
//!
//! This needs no lock on the table. The lock would prevent the removal of the file, and the removal
//! waits for the pin (bufmgr.c: InvalidateBuffer), which is held while the page is locked and its
//! row is copied. Nothing is changed in a file that may be about to be removed, not even hint bits.
//!
//! Every other row is read through the index: one whose page is no longer in that buffer, one whose
//! hint bits are not set yet, one with a value outside its page, one from before a column was added
//! that must not be null, and one of a table access method other than heap. So is one look-up out
//! of [`THROUGH_INDEX_EVERY`], to keep the pages in the cache.

use core::ptr;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use pgrx::pg_sys::{
    self, AttrNumber, ForkNumber, HeapTupleData, ItemIdData, PageHeaderData, TupleDesc,
};

use pure::cache::tids::{CachedTid, CachedTids};

use crate::pg::ffi::per_backend::PerBackend;
use crate::pg::ffi::{compat, unguarded};
use crate::pg::read::catalog::{self, Appended, Descriptors, File, Table};
use crate::pg::read::scan::{LOCK, Opened};
use crate::pg::read::shape::Shape;
use crate::pg::read::snapshot::Snapshot;
use crate::pg::read::tuple::{Columns, MAX_COLUMNS, Tuple};
use crate::pg::server::{database, settings};

/// One look-up in a table out of so many goes through the index.
const THROUGH_INDEX_EVERY: u32 = 128;

/// The number of look-ups so far, by [`Table`]. The first numbers differ, so that the look-ups of
/// one verification go through their indexes at different times.
static LOOK_UPS: [AtomicU32; Table::COUNT] = [
    AtomicU32::new(0),
    AtomicU32::new(32),
    AtomicU32::new(64),
    AtomicU32::new(96),
    AtomicU32::new(16),
];

/// What this backend remembers of rows.
struct Memory {
    /// Where rows are.
    tids: CachedTids,
    /// The latest tuple descriptors of each table, by [`Table`]. A copy is made when the definition
    /// of the table has changed, and is never freed, since a row that is being read may need it.
    descriptors: [Descriptors; Table::COUNT],
}

/// The memory of this backend.
static MEMORY: PerBackend<Memory> = PerBackend::new(Memory {
    tids: CachedTids::new(),
    descriptors: [Descriptors { first: ptr::null_mut(), all: ptr::null_mut(), appended: None };
        Table::COUNT],
});

/// Processes the invalidation messages of transactions that have committed. What is read by a
/// snapshot that is taken after this is never older than this instant.
pub fn accept_invalidations() {
    // SAFETY: a lock on a table does the same at any time (src/backend/storage/lmgr/lmgr.c:
    // LockRelationOid).
    unsafe { unguarded::AcceptInvalidationMessages() }
}

/// Whether rows of a table may be found here. Only those of a heap ever are.
pub fn knows(table: Table) -> bool {
    settings::backend_cache() > 0 && catalog::file(table).is_some()
}

/// The result of `read` for a row that was remembered with this tag, if it is visible and still
/// there.
///
/// `read` returns None for a row that is not the wanted one. It reads no column beyond those that
/// [`remember`] was told of, does not wait, and holds nothing with a destructor.
pub fn row<R: Copy>(
    table: Table,
    tag: u32,
    snapshot: Snapshot,
    read: impl FnOnce(&Tuple) -> Option<R>,
) -> Option<R> {
    if goes_through_index(table) && is_unlocked(table) {
        return None;
    }
    let (relation, File { locator, descriptors }) = catalog::file(table)?;
    let limit = settings::backend_cache();
    // SAFETY: the closure uses the value alone, which calls no server function.
    let tid = unsafe { MEMORY.with(|memory| memory.tids.find(tag, limit)) }?;
    // SAFETY: the function takes any numbers, and pins the buffer where it has the block of the
    // file (src/backend/storage/buffer/bufmgr.c).
    let pinned = unsafe {
        let fork = ForkNumber::MAIN_FORKNUM;
        unguarded::ReadRecentBuffer(locator, fork, tid.block, tid.buffer)
    };
    if !pinned {
        return None;
    }
    // SAFETY: the buffer is pinned until it is released below; after an error, the resource owner
    // releases the pin (src/backend/utils/resowner/resowner.c). The descriptors are those of the
    // table's file, and are never freed.
    unsafe {
        let tuple = visible(tid, relation, (*descriptors.first).natts, snapshot);
        let found = tuple.as_ref().and_then(|tuple| {
            let mut columns = Columns::of(descriptor(tuple, descriptors));
            columns.read(tuple);
            read(&Tuple::on_page(&columns))
        });
        unguarded::ReleaseBuffer(tid.buffer);
        found
    }
}

/// Whether this look-up should go through the index. A pin by ReadRecentBuffer does not count as a
/// use of the page, as a pin by a scan does. Without this, pages in constant use would be the first
/// to be evicted where memory is short.
fn goes_through_index(table: Table) -> bool {
    let look_ups = &LOOK_UPS[table as usize];
    // Nobody else writes here, so that an atomic addition would cost more and add nothing.
    let number = look_ups.load(Relaxed).wrapping_add(1);
    look_ups.store(number, Relaxed);
    number.is_multiple_of(THROUGH_INDEX_EVERY)
}

/// Whether a table and its index could be locked for reading right now.
fn is_unlocked(table: Table) -> bool {
    let Ok(indexed) = catalog::indexed(table) else { return false };
    // SAFETY: a lock is taken on any OID, whether or not there is such a relation, and released at
    // once (src/backend/storage/lmgr/lmgr.c: ConditionalLockRelationOid).
    [indexed.table, indexed.index].iter().all(|&relation| unsafe {
        let locked = unguarded::ConditionalLockRelationOid(relation, LOCK);
        if locked {
            unguarded::UnlockRelationOid(relation, LOCK);
        }
        locked
    })
}

/// The tuple with a TID, if there is one that is visible and complete.
///
/// # Safety
/// The TID's buffer is pinned and has the TID's block of the file of the relation.
unsafe fn visible(
    tid: CachedTid,
    relation: pg_sys::Oid,
    columns: i32,
    snapshot: Snapshot,
) -> Option<HeapTupleData> {
    // SAFETY: the caller's: the buffer is pinned. An error between lock and release releases both
    // (src/backend/storage/lmgr/lwlock.c: LWLockReleaseAll).
    unsafe {
        unguarded::LockBuffer(tid.buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
        let mut found = tuple_at(tid, relation).filter(|tuple| is_complete(tuple, columns));
        let shown = found.as_mut().is_some_and(|tuple| {
            unguarded::HeapTupleSatisfiesVisibility(tuple, snapshot.as_ptr(), tid.buffer)
        });
        unguarded::LockBuffer(tid.buffer, pg_sys::BUFFER_LOCK_UNLOCK as i32);
        found.filter(|_| shown)
    }
}

/// The tuple to which the line pointer of a TID points, if the page has such a line pointer and it
/// is in normal use.
///
/// # Safety
/// The TID's buffer is pinned, locked, and has a page of a heap.
unsafe fn tuple_at(tid: CachedTid, relation: pg_sys::Oid) -> Option<HeapTupleData> {
    // SAFETY: the caller's. Shared buffers are an array of pages, and their numbers begin at 1
    // (src/include/storage/bufmgr.h: BufferGetBlock). Line pointers follow the header of a page, up
    // to pd_lower; one in normal use points to a tuple on the page (src/include/storage/bufpage.h).
    unsafe {
        let page = pg_sys::BufferBlocks.add((tid.buffer as usize - 1) * pg_sys::BLCKSZ as usize);
        let end = usize::from((*page.cast::<PageHeaderData>()).pd_lower);
        let line =
            size_of::<PageHeaderData>() + (usize::from(tid.offset) - 1) * size_of::<ItemIdData>();
        if line >= end {
            return None;
        }
        let pointer = &*page.add(line).cast::<ItemIdData>();
        (pointer.lp_flags() == pg_sys::LP_NORMAL).then(|| HeapTupleData {
            t_len: pointer.lp_len(),
            t_self: item_pointer(tid),
            t_tableOid: relation,
            t_data: page.add(pointer.lp_off() as usize).cast(),
        })
    }
}

/// Whether a tuple has all columns that every row has, has no value outside its page, and is
/// settled.
///
/// # Safety
/// The tuple is on a page that is pinned and locked.
unsafe fn is_complete(tuple: &HeapTupleData, columns: i32) -> bool {
    // SAFETY: the caller's: a tuple begins with this header (src/include/access/htup_details.h).
    let (columns_and_flags, status) =
        unsafe { ((*tuple.t_data).t_infomask2, (*tuple.t_data).t_infomask) };
    let present = u32::from(columns_and_flags) & pg_sys::HEAP_NATTS_MASK;
    let status = u32::from(status);
    status & pg_sys::HEAP_HASEXTERNAL == 0 && present >= columns as u32 && is_settled(status)
}

/// The descriptor of those columns of a row that may have a value. Few rows have one in the columns
/// that an update has appended. The others cost the same as before the update, but for a look at a
/// byte of the row's list of nulls.
///
/// # Safety
/// The row's page is pinned. The descriptors are those of its table.
#[inline(always)]
unsafe fn descriptor(tuple: &HeapTupleData, descriptors: Descriptors) -> TupleDesc {
    let Descriptors { first, all, appended } = descriptors;
    let Some(appended) = appended else { return first };
    // SAFETY: the caller's. The list has a bit for each column of the row, which is set where there
    // is a value, in whole bytes, whose other bits are not set
    // (src/backend/access/common/heaptuple.c: heap_fill_tuple). It follows the header
    // (src/include/access/htup_details.h).
    unsafe {
        let header = tuple.t_data;
        let present = (*header).t_infomask2 & pg_sys::HEAP_NATTS_MASK as u16;
        if present < appended.first as u16 {
            return first;
        }
        let has_nulls = (*header).t_infomask & pg_sys::HEAP_HASNULL as u16 != 0;
        let list: *const u8 = (&raw const (*header).t_bits).cast();
        match has_nulls && *list.add(byte(appended.first)) & appended.mask == 0 {
            true => first,
            false => all,
        }
    }
}

/// Whether the page itself says how the transactions ended that wrote a tuple. Then checking the
/// tuple neither looks that up nor sets a hint bit (src/backend/access/heap/heapam_visibility.c:
/// SetHintBits). Where page checksums are on, a hint bit is a WAL record, and one that follows the
/// commit that drops the file makes the file anew wherever it is replayed. In recovery no hint bit
/// is logged, and hint bits wait for the WAL to be on disk.
fn is_settled(status: u32) -> bool {
    let deleter_known = match status & pg_sys::HEAP_XMAX_IS_MULTI {
        0 => pg_sys::HEAP_XMAX_INVALID | pg_sys::HEAP_XMAX_LOCK_ONLY | pg_sys::HEAP_XMAX_COMMITTED,
        _ => pg_sys::HEAP_XMAX_INVALID | pg_sys::HEAP_XMAX_LOCK_ONLY,
    };
    (status & pg_sys::HEAP_XMIN_COMMITTED != 0 && status & deleter_known != 0)
        || database::in_recovery()
}

/// The byte of a row's list of nulls that has a column's bit.
const fn byte(column: AttrNumber) -> usize {
    (column as usize - 1) / 8
}

/// The bit of a column in its byte.
const fn bit(column: AttrNumber) -> u8 {
    1 << ((column - 1) % 8)
}

/// Remembers where a row is that was read in an open table of a shape, and the table's file.
pub fn remember(table: Table, shape: &Shape, opened: &Opened, tag: u32, tuple: &Tuple) {
    let limit = settings::backend_cache();
    let Some(tid) = tuple.tid().filter(|_| limit > 0 && opened.is_heap()) else { return };
    // SAFETY: the closure uses the value alone. It allocates by Rust's allocator, which calls no
    // server function but to end the session.
    unsafe { MEMORY.with(|memory| memory.tids.remember(tag, tid, limit)) };
    if catalog::file(table).is_some() {
        return;
    }
    let (columns, all) = (shape.last(), opened.last());
    assert!(usize::try_from(all).is_ok_and(|all| all <= MAX_COLUMNS));
    let appended = shape.first_appended().filter(|first| *first <= all).map(|first| {
        assert_eq!(byte(first), byte(all), "the columns share a byte of the list of nulls");
        Appended { first, mask: (first..=all).fold(0, |mask, column| mask | bit(column)) }
    });
    // SAFETY: the closure reads the value alone.
    let kept = unsafe { MEMORY.with(|memory| memory.descriptors[table as usize]) };
    // SAFETY: the table is open, and was checked: it has the columns that may be read. What is kept
    // is null, or a copy that was made here.
    unsafe {
        let descriptors = Descriptors {
            first: kept_descriptor(kept.first, opened, columns),
            all: kept_descriptor(kept.all, opened, all),
            appended,
        };
        MEMORY.with(|memory| memory.descriptors[table as usize] = descriptors);
        catalog::set_file(table, File { locator: compat::locator(opened.heap()), descriptors });
    }
}

/// The tuple descriptor of the first columns of an open table: the kept one, if it is the same, or
/// else a copy.
///
/// # Safety
/// The kept one is null, or a copy that was made here. The table has so many columns.
unsafe fn kept_descriptor(kept: TupleDesc, opened: &Opened, columns: AttrNumber) -> TupleDesc {
    // SAFETY: the caller's: the table is open. Copies are made in memory that stays as long as the
    // backend, and only one that nothing uses yet is freed (src/backend/access/common/tupdesc.c).
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = pg_sys::TopMemoryContext;
        let copy = unguarded::CreateTemplateTupleDesc(columns.into());
        for column in 1..=columns {
            unguarded::TupleDescCopyEntry(copy, column, (*opened.heap()).rd_att, column);
        }
        pg_sys::CurrentMemoryContext = context;
        if !kept.is_null() && unguarded::equalTupleDescs(kept, copy) {
            unguarded::FreeTupleDesc(copy);
            return kept;
        }
        copy
    }
}

/// A TID as the server has it.
fn item_pointer(tid: CachedTid) -> pg_sys::ItemPointerData {
    let CachedTid { block, offset, .. } = tid;
    let ip_blkid =
        pg_sys::BlockIdData { bi_hi: (block >> 16) as u16, bi_lo: (block & 0xffff) as u16 };
    pg_sys::ItemPointerData { ip_blkid, ip_posid: offset }
}
