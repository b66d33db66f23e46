//! Rows read where they were last seen, without opening a table.
//!
//! For each row that was read through an index, this process remembers the place and the buffer it was
//! found in ([`pure::cache::tids`]). The next time the page is pinned there, if the buffer still has
//! it, and what is at the place decides.
//!
//! A wrong answer is impossible, and nothing needs to be told to forget, for these reasons:
//!
//! - A place says where to look and nothing else. Whether there is a row, whether the snapshot shows
//!   it, and what it says is read from the page, each time, as any scan does it: visibility while the
//!   page is locked, values while it is pinned, when neither VACUUM nor pruning can move or remove them
//!   (src/backend/storage/buffer/README). Whether it is the row that is wanted, its reader decides by
//!   comparing what it is looked up by, in which rows are unique: so there is no other that is visible.
//! - The page is the one of that block of the table's file. A buffer is pinned only if it has it
//!   (src/backend/storage/buffer/bufmgr.c: ReadRecentBuffer compares the tag under the buffer's lock),
//!   whatever became of the block or the buffer in the meantime; nothing is read from disk, so that
//!   no block beyond the end of a file is asked for. A line pointer counts only where the page has it.
//! - The file is the table's. It is known by the latest opening of the table, and forgotten together
//!   with everything that is known of the table when the relation cache is told of any change
//!   ([`crate::pg::read::catalog`]). Whoever gives a table another file or drops it sends that message, in a
//!   standby its replay does, before its COMMIT returns and before its lock on the table is given back
//!   (src/backend/access/transam/xact.c: CommitTransaction, xact_redo_commit), thus before anybody can
//!   write into the new file. The messages are accepted first ([`accept_invalidations`]) and the snapshot is
//!   taken after. What is committed before that, is in the file that is read or was not committed when
//!   the look-up began. (In the instant between the end of such a transaction and its message, this table
//!   is read as it was before, another, without a new file, as the transaction left it.)
//!
//! No lock on the table is needed for this: what it would prevent, the removal of the file, waits for
//! the pin (bufmgr.c: InvalidateBuffer), which is held while the page is locked and its row is copied,
//! and nothing is changed in a file that may be on its way out, hint bits neither.
//!
//! Everything else goes the long way, through the index: a page that is no longer in that buffer, a row
//! whose hint bits are not set yet, a value outside its page, a row from before a column was added,
//! another table access method than heap; and one look-up out of some, for the pages' sake.

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use pgrx::pg_sys::{self, ForkNumber, HeapTupleData, ItemIdData, PageHeaderData, TupleDesc};

use pure::cache::tids::{CachedTid, CachedTids};

use crate::pg::ffi::{compat, unguarded};
use crate::pg::read::catalog::{self, File, Table};
use crate::pg::read::scan::{LOCK, Opened};
use crate::pg::read::tuple::Tuple;
use crate::pg::server::{database, settings};

/// One look-up out of so many goes the long way. It has no factor in common with the number of look-ups
/// of a verification, so that each kind of row has its turn.
const LONG_WAY_EVERY: u32 = 128;

static LOOK_UPS: AtomicU32 = AtomicU32::new(0);

struct Memory {
    places: CachedTids,
    /// The row types of the tables' files: copies that live until they are replaced.
    row_types: [TupleDesc; Table::COUNT],
}

struct Kept(UnsafeCell<Memory>);

// SAFETY: a backend has one thread.
unsafe impl Sync for Kept {}

static KEPT: Kept = Kept(UnsafeCell::new(Memory {
    places: CachedTids::new(),
    row_types: [ptr::null_mut(); Table::COUNT],
}));

/// Learns what other sessions have committed about the tables. What is read under a snapshot that is
/// taken after this is never older than this instant. Unguarded: see [`crate::pg::ffi::unguarded`].
pub fn accept_invalidations() {
    // SAFETY: as each lock on a table does it (src/backend/storage/lmgr/lmgr.c: LockRelationOid).
    unsafe { unguarded::AcceptInvalidationMessages() }
}

/// Whether rows of a table may be found here; only a heap's ever are.
pub fn knows(table: Table) -> bool {
    settings::cache_share() > 0 && catalog::file(table).is_some()
}

/// What `read` makes of a row that was remembered with this tag, if it is visible and still there.
/// `read` reads no column beyond the first `columns`, gives None for a row that is not the wanted one,
/// and neither waits nor holds anything with a destructor. Unguarded: see [`crate::pg::ffi::unguarded`].
pub fn row<R: Copy>(
    table: Table,
    tag: u32,
    columns: pg_sys::AttrNumber,
    snapshot: pg_sys::Snapshot,
    read: impl FnOnce(&Tuple) -> Option<R>,
) -> Option<R> {
    if is_for_the_long_way() && is_unlocked(table) {
        return None;
    }
    let (relation, File { locator, descriptor }) = catalog::file(table)?;
    // SAFETY: the reference ends before anything else is called.
    let place = unsafe { (*KEPT.0.get()).places.find(tag, settings::cache_share()) }?;
    // SAFETY: the pin is the resource owner's, which releases it where an error leaves this function.
    unsafe {
        let fork = ForkNumber::MAIN_FORKNUM;
        if !compat::ReadRecentBuffer(locator, fork, place.block, place.buffer) {
            return None;
        }
        let found = visible(place, relation, columns, snapshot)
            .and_then(|tuple| read(&Tuple::on_page(tuple, descriptor)));
        unguarded::ReleaseBuffer(place.buffer);
        found
    }
}

/// Counts a look-up that is answered from memory and touches no page; or says that it must not be, for
/// the pages' sake: the next one through [`row`] goes the long way.
pub fn may_leave_the_page() -> bool {
    let number = LOOK_UPS.load(Relaxed).wrapping_add(1);
    let may = !number.is_multiple_of(LONG_WAY_EVERY);
    if may {
        // Nobody else writes here: not the price of an atomic addition.
        LOOK_UPS.store(number, Relaxed);
    }
    may
}

/// Whether this look-up should go the long way for the pages' sake. A pin by ReadRecentBuffer does not
/// count as a use of the page, as a pin on any other way does: without this, pages in constant use would
/// be the first to be evicted where memory is short.
fn is_for_the_long_way() -> bool {
    let is = !may_leave_the_page();
    if is {
        LOOK_UPS.store(LOOK_UPS.load(Relaxed).wrapping_add(1), Relaxed);
    }
    is
}

/// Whether a table and its index could be locked for reading right now.
fn is_unlocked(table: Table) -> bool {
    let Some(indexed) = catalog::indexed(table) else { return false };
    // SAFETY: a lock on an OID, of whatever may be there, given back at once
    // (src/backend/storage/lmgr/lmgr.c).
    [indexed.table, indexed.index].iter().all(|&relation| unsafe {
        let locked = unguarded::ConditionalLockRelationOid(relation, LOCK);
        if locked {
            unguarded::UnlockRelationOid(relation, LOCK);
        }
        locked
    })
}

/// The tuple at a place, if there is one that is visible and complete.
///
/// # Safety
/// The place's buffer is pinned and has its block, of the table's file.
unsafe fn visible(
    place: CachedTid,
    relation: pg_sys::Oid,
    columns: pg_sys::AttrNumber,
    snapshot: pg_sys::Snapshot,
) -> Option<HeapTupleData> {
    // SAFETY: the page of a pinned buffer stays; its header and line pointers are read while it is
    // locked (src/include/storage/bufpage.h). A line pointer that is normal points to a tuple.
    unsafe {
        let at = (place.buffer as usize - 1) * pg_sys::BLCKSZ as usize;
        let page = pg_sys::BufferBlocks.add(at);
        unguarded::LockBuffer(place.buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
        let end = usize::from((*page.cast::<PageHeaderData>()).pd_lower);
        let line =
            size_of::<PageHeaderData>() + (usize::from(place.offset) - 1) * size_of::<ItemIdData>();
        let mut found = None;
        if line < end {
            let pointer = &*page.add(line).cast::<ItemIdData>();
            if pointer.lp_flags() == pg_sys::LP_NORMAL {
                let mut tuple = HeapTupleData {
                    t_len: pointer.lp_len(),
                    t_self: tid(place),
                    t_tableOid: relation,
                    t_data: page.add(pointer.lp_off() as usize).cast(),
                };
                let header = tuple.t_data;
                let there = u32::from((*header).t_infomask2) & pg_sys::HEAP_NATTS_MASK;
                let status = u32::from((*header).t_infomask);
                if status & pg_sys::HEAP_HASEXTERNAL == 0
                    && there >= columns as u32
                    && is_settled(status)
                    && unguarded::HeapTupleSatisfiesVisibility(&mut tuple, snapshot, place.buffer)
                {
                    found = Some(tuple);
                }
            }
        }
        unguarded::LockBuffer(place.buffer, pg_sys::BUFFER_LOCK_UNLOCK as i32);
        found
    }
}

/// Whether the page itself says what became of the transactions that wrote a tuple, so that judging it
/// neither looks that up nor notes it on the page (src/backend/access/heap/heapam_visibility.c:
/// SetHintBits). Where page checksums are on, that note is a WAL record, and one that follows the commit
/// by which the file is dropped makes the file anew wherever it is replayed. In recovery nothing is
/// logged, and notes wait long for the log to be on disk.
fn is_settled(status: u32) -> bool {
    let deleter_known = match status & pg_sys::HEAP_XMAX_IS_MULTI {
        0 => pg_sys::HEAP_XMAX_INVALID | pg_sys::HEAP_XMAX_LOCK_ONLY | pg_sys::HEAP_XMAX_COMMITTED,
        _ => pg_sys::HEAP_XMAX_INVALID | pg_sys::HEAP_XMAX_LOCK_ONLY,
    };
    (status & pg_sys::HEAP_XMIN_COMMITTED != 0 && status & deleter_known != 0)
        || database::in_recovery()
}

/// Remembers where a row is that was read in an open table, and the table's file. Unguarded: see
/// [`crate::pg::ffi::unguarded`].
pub fn remember(table: Table, opened: &Opened, tag: u32, tuple: &Tuple) {
    let limit = settings::cache_share();
    let Some(place) = tuple.place().filter(|_| limit > 0 && opened.is_heap()) else { return };
    // SAFETY: the references end before anything else is called. A row type that is replaced is in use
    // nowhere: it is used while a row is looked at, and this is not called then for another row. The
    // copy is made in memory that stays.
    unsafe {
        (*KEPT.0.get()).places.remember(tag, place, limit);
        if catalog::file(table).is_some() {
            return;
        }
        let context = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = pg_sys::TopMemoryContext;
        let descriptor = unguarded::CreateTupleDescCopy((*opened.heap()).rd_att);
        pg_sys::CurrentMemoryContext = context;
        let kept = &mut (*KEPT.0.get()).row_types[table as usize];
        let replaced = core::mem::replace(kept, descriptor);
        catalog::set_file(table, File { locator: compat::locator(opened.heap()), descriptor });
        if !replaced.is_null() {
            unguarded::FreeTupleDesc(replaced);
        }
    }
}

fn tid(place: CachedTid) -> pg_sys::ItemPointerData {
    let CachedTid { block, offset, .. } = place;
    let ip_blkid =
        pg_sys::BlockIdData { bi_hi: (block >> 16) as u16, bi_lo: (block & 0xffff) as u16 };
    pg_sys::ItemPointerData { ip_blkid, ip_posid: offset }
}
