//! Arrays, taken apart and put together.

use core::ffi::{c_char, c_int};
use core::ptr;

use pgrx::datum::IntoDatum;
use pgrx::pg_sys::{self, Datum, Oid};

use super::call::Call;
use super::types::Timestamp;
use super::unguarded;

/// How the server stores an element (src/include/catalog/pg_type.dat).
#[derive(Clone, Copy)]
pub struct Element {
    oid: Oid,
    alignment: u8,
}

impl Element {
    /// `text`.
    pub const TEXT: Element = Element { oid: pg_sys::TEXTOID, alignment: b'i' };
    /// `cidr`.
    pub const CIDR: Element = Element { oid: pg_sys::CIDROID, alignment: b'i' };
}

/// The elements of an array of variable-length values. Unguarded: see [`super::unguarded`].
pub(super) fn elements(call: &Call, array: Datum, element: Element) -> &[Option<Datum>] {
    let mut values: *mut Datum = ptr::null_mut();
    let mut nulls: *mut bool = ptr::null_mut();
    let mut count: c_int = 0;
    // SAFETY: the datum is an array of the element's type, whose length is -1 and which is passed by
    // reference; deconstruct_array fills both arrays with `count` entries
    // (src/backend/utils/adt/arrayfuncs.c).
    unsafe {
        let array = unguarded::pg_detoast_datum(array.cast_mut_ptr());
        unguarded::deconstruct_array(
            array.cast(),
            element.oid,
            -1,
            false,
            element.alignment as c_char,
            &mut values,
            &mut nulls,
            &mut count,
        );
        let count = usize::try_from(count).unwrap_or(0);
        call.keep((0..count).map(|at| (!*nulls.add(at)).then(|| *values.add(at))))
    }
}

/// A `uuid[]`.
pub fn of_uuids(values: impl Iterator<Item = [u8; 16]>) -> Option<Datum> {
    values.map(pgrx::Uuid::from_bytes).collect::<Vec<_>>().into_datum()
}

/// A `bigint[]`.
pub fn of_bigints(values: impl Iterator<Item = i64>) -> Option<Datum> {
    values.collect::<Vec<_>>().into_datum()
}

/// A `timestamptz[]` of instants in microseconds since 2000.
pub fn of_timestamps(values: impl Iterator<Item = i64>) -> Option<Datum> {
    values.map(Timestamp::from_micros).collect::<Vec<_>>().into_datum()
}
