//! Arrays, taken apart.

use core::ffi::{c_char, c_int};
use core::ptr;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::pg::call::Call;
use crate::pg::ffi::unguarded;

/// A type of elements, and how the server stores it (src/include/catalog/pg_type.dat).
#[derive(Clone, Copy)]
pub(in crate::pg) struct Element {
    /// The OID of the type.
    oid: Oid,
    /// The alignment, as pg_type has it.
    alignment: u8,
}

impl Element {
    /// `text`.
    pub(in crate::pg) const TEXT: Element = Element { oid: pg_sys::TEXTOID, alignment: b'i' };
    /// `cidr`.
    pub(in crate::pg) const CIDR: Element = Element { oid: pg_sys::CIDROID, alignment: b'i' };
}

/// The elements of an array of variable-length values; None is null. Unguarded: see
/// [`crate::pg::ffi::unguarded`].
///
/// # Safety
/// The datum is an array of the element's type.
pub(in crate::pg) unsafe fn elements_unguarded(
    call: &Call,
    array: Datum,
    element: Element,
) -> &[Option<Datum>] {
    let mut values: *mut Datum = ptr::null_mut();
    let mut nulls: *mut bool = ptr::null_mut();
    let mut count: c_int = 0;
    // SAFETY: the caller's. A variable-length type has length -1 and is passed by reference.
    // deconstruct_array fills both arrays with `count` entries
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
        call.keep_unguarded((0..count).map(|at| (!*nulls.add(at)).then(|| *values.add(at))))
    }
}
