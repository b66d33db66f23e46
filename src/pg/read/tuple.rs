//! A row, while it is looked at.

use pgrx::pg_sys::{self, AttrNumber, Datum};

use pure::cache::tids::CachedTid;

use crate::pg::ffi::unguarded;

/// A row that is visible. Its values are good while it is looked at, and no longer.
pub struct Tuple(Source);

enum Source {
    /// What a scan has put into a slot.
    Slot(*mut pg_sys::TupleTableSlot),
    /// A tuple on a page, with a row type of as many columns or fewer.
    Page(pg_sys::HeapTupleData, pg_sys::TupleDesc),
}

impl Tuple {
    /// The row in a slot.
    ///
    /// # Safety
    /// The slot holds a row as long as the value is used.
    pub(in crate::pg) unsafe fn in_slot(slot: *mut pg_sys::TupleTableSlot) -> Tuple {
        Tuple(Source::Slot(slot))
    }

    /// The row on a page.
    ///
    /// # Safety
    /// The page is pinned as long as the value is used, and the tuple, which has all columns of the row
    /// type and no value outside the page, was visible when the page was locked.
    pub(in crate::pg) unsafe fn on_page(
        tuple: pg_sys::HeapTupleData,
        descriptor: pg_sys::TupleDesc,
    ) -> Tuple {
        Tuple(Source::Page(tuple, descriptor))
    }

    /// The value of a column (the first is 1), None where it is null. Unguarded: see
    /// [`crate::pg::ffi::unguarded`].
    pub fn get(&self, column: AttrNumber) -> Option<Datum> {
        match &self.0 {
            // SAFETY: the slot holds a tuple. A column beyond the row's last is filled as null
            // (src/backend/executor/execTuples.c: slot_getsomeattrs_int), one beyond the table's last
            // is an error there.
            Source::Slot(slot) => unsafe {
                if (**slot).tts_nvalid < column {
                    unguarded::slot_getsomeattrs_int(*slot, column.into());
                }
                let at = column as usize - 1;
                (!*(**slot).tts_isnull.add(at)).then(|| *(**slot).tts_values.add(at))
            },
            // SAFETY: the tuple has the column, and nocachegetattr is not asked for one that is null
            // (src/backend/access/common/heaptuple.c). It reads the tuple and fills in offsets that
            // the row type keeps.
            Source::Page(tuple, descriptor) => unsafe {
                (!is_null(tuple, column)).then(|| {
                    let tuple = (&raw const *tuple).cast_mut();
                    unguarded::nocachegetattr(tuple, column.into(), *descriptor)
                })
            },
        }
    }

    /// Where the row is, if that is a page of a shared buffer.
    pub(in crate::pg) fn place(&self) -> Option<CachedTid> {
        let Source::Slot(slot) = self.0 else { return None };
        // SAFETY: a slot with these operations is a BufferHeapTupleTableSlot, and its tuple is on the
        // page of its buffer (src/include/executor/tuptable.h). A buffer below 1 is this process's own
        // or none.
        unsafe {
            if !core::ptr::eq((*slot).tts_ops, &raw const pg_sys::TTSOpsBufferHeapTuple) {
                return None;
            }
            let buffer = (*slot.cast::<pg_sys::BufferHeapTupleTableSlot>()).buffer;
            let pg_sys::ItemPointerData { ip_blkid, ip_posid: offset } = (*slot).tts_tid;
            let block = u32::from(ip_blkid.bi_hi) << 16 | u32::from(ip_blkid.bi_lo);
            (buffer > 0).then_some(CachedTid { block, buffer, offset })
        }
    }
}

/// Whether a column is null.
///
/// # Safety
/// The tuple is on a pinned page and has the column.
unsafe fn is_null(tuple: &pg_sys::HeapTupleData, column: AttrNumber) -> bool {
    let at = column as usize - 1;
    // SAFETY: the caller's. The bitmap follows the header where there are nulls, a bit for each column,
    // set where there is a value (src/include/access/htup_details.h, tupmacs.h: att_isnull).
    unsafe {
        let header = tuple.t_data;
        let has_nulls = u32::from((*header).t_infomask) & pg_sys::HEAP_HASNULL != 0;
        let bits = (&raw const (*header).t_bits).cast::<u8>();
        has_nulls && *bits.add(at / 8) & 1 << (at % 8) == 0
    }
}
