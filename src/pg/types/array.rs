//! Arrays, taken apart and put together.

use core::ffi::{c_char, c_int};
use core::ptr;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::pg::call::Call;
use crate::pg::ffi::unguarded;

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

/// The elements of an array of variable-length values. Unguarded: see [`crate::pg::ffi::unguarded`].
pub(in crate::pg) fn elements(call: &Call, array: Datum, element: Element) -> &[Option<Datum>] {
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
