//! A row, while it is read.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr;

use pgrx::pg_sys::{self, AttrNumber, Datum};

use pure::cache::tids::CachedTid;
use pure::request::network::Network;

use crate::pg::call::Call;
use crate::pg::ffi::unguarded;
use crate::pg::types::{
    Bytes, CidrArray, FromRaw, Json, Text, TextArray, Timestamp, Uuid, detoasted_copy_unguarded,
    packed_unguarded, varlena_unguarded,
};

/// A row that is visible. Its methods are unguarded (see [`crate::pg::read`]).
///
/// Columns have numbers from 1 on. A value is None where the column is null. The caller names each
/// column by its type, as its [`super::shape::Shape`] has it; debug builds check that.
pub struct Tuple<'row>(Source<'row>);

/// Where a row is.
enum Source<'row> {
    /// In a slot that a scan has filled.
    Slot {
        /// The slot.
        slot: *mut pg_sys::TupleTableSlot,
        /// The last column that may be read.
        last: AttrNumber,
    },
    /// On a page.
    Page(&'row Columns),
}

/// How many columns of a row on a page can be read.
pub const MAX_COLUMNS: usize = 19;

/// Columns of a row on a page. They are large, and so they are never moved.
pub(in crate::pg) struct Columns {
    /// The tuple descriptor by which they are read. It has those of them that may have a value.
    descriptor: pg_sys::TupleDesc,
    /// Their values.
    values: [MaybeUninit<Datum>; MAX_COLUMNS],
    /// Which of them are null.
    nulls: [bool; MAX_COLUMNS],
}

impl Columns {
    /// Those of a descriptor. None is read yet.
    #[inline(always)]
    pub(in crate::pg) const fn of(descriptor: pg_sys::TupleDesc) -> Columns {
        Columns {
            descriptor,
            values: [const { MaybeUninit::uninit() }; MAX_COLUMNS],
            nulls: [true; MAX_COLUMNS],
        }
    }

    /// Reads them. Those that the row does not have are null.
    ///
    /// # Safety
    /// The page of the row is pinned for as long as a value is used. The descriptor is that of its
    /// table, with at most [`MAX_COLUMNS`].
    #[inline(always)]
    pub(in crate::pg) unsafe fn read(&mut self, tuple: &pg_sys::HeapTupleData) {
        let (values, nulls) = (self.values.as_mut_ptr().cast(), self.nulls.as_mut_ptr());
        // SAFETY: the caller's. The function writes as many values and nulls as the descriptor has
        // columns, and keeps offsets in the descriptor. It does not change the row
        // (src/backend/access/common/heaptuple.c: heap_deform_tuple).
        unsafe {
            let tuple = ptr::from_ref(tuple).cast_mut();
            unguarded::heap_deform_tuple(tuple, self.descriptor, values, nulls);
        }
    }

    /// The value of a column.
    fn value(&self, column: AttrNumber) -> Option<Datum> {
        let at = column as usize - 1;
        // SAFETY: where a value is not null, the server has written it.
        (!self.nulls[at]).then(|| unsafe { self.values[at].assume_init() })
    }
}

/// A value in a row, which is good for as long as the row is read. Its methods are unguarded (see
/// [`crate::pg::read`]).
#[derive(Clone, Copy)]
pub struct InRow<'row, T> {
    /// The value.
    value: T,
    /// The row.
    row: PhantomData<&'row Columns>,
}

impl<'row> Tuple<'row> {
    /// The row in a slot, of which the columns up to the last one may be read.
    ///
    /// # Safety
    /// The slot holds a row of a table of the extension for as long as the result is used. The
    /// table was compared with its shape, which has these columns.
    pub(in crate::pg) unsafe fn in_slot(
        slot: *mut pg_sys::TupleTableSlot,
        last: AttrNumber,
    ) -> Tuple<'row> {
        Tuple(Source::Slot { slot, last })
    }

    /// The row on a page, of which these columns were read.
    ///
    /// # Safety
    /// The page is pinned for as long as the result is used. The tuple was visible while the page
    /// was locked, has the columns that every row has, and no value outside the page.
    #[inline(always)]
    pub(in crate::pg) unsafe fn on_page(columns: &'row Columns) -> Tuple<'row> {
        Tuple(Source::Page(columns))
    }

    /// Whether a column has a value.
    pub fn has(&self, column: AttrNumber) -> bool {
        self.value(column).is_some()
    }

    /// Whether a column that an update has appended may have a value. It has none where it may not
    /// be read, and in a row from before the update.
    #[inline(always)]
    pub fn may_have(&self, column: AttrNumber) -> bool {
        match self.0 {
            Source::Slot { last, .. } => column <= last,
            // SAFETY: a descriptor says how many columns it has.
            Source::Page(columns) => unsafe { i32::from(column) <= (*columns.descriptor).natts },
        }
    }

    /// A column of type `uuid`.
    pub fn uuid(&self, column: AttrNumber) -> Option<[u8; 16]> {
        self.column::<Uuid>(column).map(|uuid| uuid.value.to_bytes())
    }

    /// A column of type `text`.
    pub fn text(&self, column: AttrNumber) -> Option<InRow<'_, Text>> {
        self.column(column)
    }

    /// A column of type `bytea`.
    pub fn bytea(&self, column: AttrNumber) -> Option<InRow<'_, Bytes>> {
        self.column(column)
    }

    /// A column of type `text[]`.
    pub fn text_array(&self, column: AttrNumber) -> Option<InRow<'_, TextArray>> {
        self.column(column)
    }

    /// A column of type `cidr[]`.
    pub fn cidr_array(&self, column: AttrNumber) -> Option<InRow<'_, CidrArray>> {
        self.column(column)
    }

    /// A column of type `jsonb`.
    pub fn json(&self, column: AttrNumber) -> Option<InRow<'_, Json>> {
        self.column(column)
    }

    /// A column of type `timestamptz`.
    pub fn timestamp(&self, column: AttrNumber) -> Option<Timestamp> {
        self.column(column).map(|timestamp| timestamp.value)
    }

    /// A column of type `bigint`.
    pub fn bigint(&self, column: AttrNumber) -> Option<i64> {
        self.assert_type(column, pg_sys::INT8OID);
        self.value(column).map(|datum| datum.value() as i64)
    }

    /// A column of type `integer`.
    pub fn integer(&self, column: AttrNumber) -> Option<i32> {
        self.assert_type(column, pg_sys::INT4OID);
        self.value(column).map(|datum| datum.value() as i32)
    }

    /// A column of type `boolean`; null is false.
    pub fn is(&self, column: AttrNumber) -> bool {
        self.assert_type(column, pg_sys::BOOLOID);
        self.value(column).is_some_and(|datum| datum.value() as u8 != 0)
    }

    /// A column of a type.
    fn column<T: FromRaw>(&self, column: AttrNumber) -> Option<InRow<'_, T>> {
        self.assert_type(column, T::OID);
        self.value(column).map(|datum| {
            // SAFETY: a row is read only of a table that was compared with the shape that the
            // caller knows it by (`Opened::open`), so that the column has this type. Debug builds
            // check that the caller asks for the type of the shape. The value stays for as long as
            // the row is read.
            let value = unsafe { T::from_raw(datum) };
            InRow { value, row: PhantomData }
        })
    }

    /// Panics in debug builds where a column is of another type.
    #[inline]
    fn assert_type(&self, column: AttrNumber, kind: pg_sys::Oid) {
        #[cfg(debug_assertions)]
        // SAFETY: a slot has a tuple descriptor, and so has a tuple on a page. SPI_gettypeid reads
        // it (src/backend/executor/spi.c).
        unsafe {
            let descriptor = match &self.0 {
                Source::Slot { slot, .. } => (**slot).tts_tupleDescriptor,
                Source::Page(columns) => columns.descriptor,
            };
            let found = crate::pg::ffi::guarded::SPI_gettypeid(descriptor, column.into());
            assert_eq!(found, kind, "the type of column {column}");
        }
        #[cfg(not(debug_assertions))]
        let _ = (column, kind);
    }

    /// The value of a column.
    fn value(&self, column: AttrNumber) -> Option<Datum> {
        assert!(column > 0, "columns have numbers from 1 on");
        match &self.0 {
            // SAFETY: the slot holds a tuple. A column beyond the row's last is filled as null
            // (src/backend/executor/execTuples.c: slot_getsomeattrs_int); one beyond the table's
            // last is an error there.
            Source::Slot { slot, .. } => unsafe {
                if (**slot).tts_nvalid < column {
                    unguarded::slot_getsomeattrs_int(*slot, column.into());
                }
                let at = column as usize - 1;
                (!*(**slot).tts_isnull.add(at)).then(|| *(**slot).tts_values.add(at))
            },
            Source::Page(columns) => columns.value(column),
        }
    }

    /// Where the row is, if that is a page in a shared buffer.
    pub(in crate::pg) fn tid(&self) -> Option<CachedTid> {
        let Source::Slot { slot, .. } = self.0 else { return None };
        // SAFETY: a slot with these operations is a BufferHeapTupleTableSlot, and its tuple is on
        // the page of its buffer (src/include/executor/tuptable.h). A buffer below 1 is one of this
        // process, or none.
        unsafe {
            if !ptr::eq((*slot).tts_ops, &raw const pg_sys::TTSOpsBufferHeapTuple) {
                return None;
            }
            let buffer = (*slot.cast::<pg_sys::BufferHeapTupleTableSlot>()).buffer;
            let pg_sys::ItemPointerData { ip_blkid, ip_posid: offset } = (*slot).tts_tid;
            let block = u32::from(ip_blkid.bi_hi) << 16 | u32::from(ip_blkid.bi_lo);
            (buffer > 0).then_some(CachedTid { block, buffer, offset })
        }
    }
}

impl<'row> InRow<'row, Text> {
    /// The text's bytes.
    pub fn bytes(self) -> &'row [u8] {
        // SAFETY: a text is a varlena, which stays for as long as the row is read; so does the
        // current memory context, which is the call's.
        unsafe { packed_unguarded(self.value.raw()) }
    }

    /// The same text in the call's memory.
    pub fn kept(self, call: &Call) -> Text {
        // SAFETY: the result is a text in memory that stays for the call.
        unsafe { Text::from_raw(varlena_unguarded(call, self.bytes())) }
    }
}

impl<'row> InRow<'row, Bytes> {
    /// The bytes.
    pub fn bytes(self) -> &'row [u8] {
        // SAFETY: a bytea is a varlena, which stays for as long as the row is read; so does the
        // current memory context, which is the call's.
        unsafe { packed_unguarded(self.value.raw()) }
    }
}

impl InRow<'_, TextArray> {
    /// The same array in the call's memory.
    pub fn kept(self, call: &Call) -> TextArray {
        // SAFETY: an array is a varlena; the result is the same array, in memory that stays for the
        // call.
        unsafe { TextArray::from_raw(detoasted_copy_unguarded(call, self.value.raw())) }
    }
}

impl InRow<'_, CidrArray> {
    /// The networks, in order and in the call's memory; None is null.
    pub fn networks(self, call: &Call) -> &[Option<Network>] {
        self.value.networks_unguarded(call)
    }
}

impl InRow<'_, Json> {
    /// The same value in the call's memory.
    pub fn kept(self, call: &Call) -> Json {
        // SAFETY: a jsonb is a varlena; the result is the same value, in memory that stays for the
        // call.
        unsafe { Json::from_raw(detoasted_copy_unguarded(call, self.value.raw())) }
    }
}
