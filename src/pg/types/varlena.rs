//! Values of variable length: their bytes behind a header, which may be short, and which may be
//! compressed or stored elsewhere.

use core::{ptr, slice};

use pgrx::pg_sys::{self, Datum};
use pgrx::varlena::{varatt_is_1b, varatt_is_1b_e, varatt_is_4b_u, vardata_any, varsize_any_exhdr};

use crate::pg::call::Call;
use crate::pg::ffi::unguarded;
use crate::pg::types::Presented;

/// The first bytes of a varlena. Its length is checked before anything is detoasted. Unguarded: see
/// [`crate::pg::ffi::unguarded`].
///
/// # Safety
/// The datum is a varlena that stays for `'call`, and so does the current memory context.
pub(super) unsafe fn presented_unguarded<'call>(datum: Datum, limit: usize) -> Presented<'call> {
    // SAFETY: the caller's. toast_raw_datum_size counts the four-byte header. A slice is a fresh
    // copy in the current context; a packed varlena is the datum's own or such a copy
    // (src/backend/access/common/detoast.c).
    unsafe {
        let length = unguarded::toast_raw_datum_size(datum) - pg_sys::VARHDRSZ;
        let cut = length > limit;
        let bytes = if cut {
            let limit = i32::try_from(limit).unwrap_or(i32::MAX);
            unguarded::pg_detoast_datum_slice(datum.cast_mut_ptr(), 0, limit)
        } else {
            unguarded::pg_detoast_datum_packed(datum.cast_mut_ptr())
        };
        Presented { bytes: contents(bytes), cut }
    }
}

/// The contents of a varlena, detoasted where need be. Unguarded: see
/// [`crate::pg::ffi::unguarded`].
///
/// # Safety
/// The datum is a varlena that stays for `'kept`, and so does the current memory context.
#[inline]
pub(in crate::pg) unsafe fn packed_unguarded<'kept>(datum: Datum) -> &'kept [u8] {
    let value = datum.cast_mut_ptr();
    // SAFETY: the caller's. The header says whether the value is neither compressed nor external,
    // as most are; then the function would return the value itself. A detoasted copy is allocated
    // in the current context (src/backend/utils/fmgr/fmgr.c: pg_detoast_datum_packed).
    unsafe {
        let is_short = varatt_is_1b(value) && !varatt_is_1b_e(value);
        contents(match is_short || varatt_is_4b_u(value) {
            true => value,
            false => unguarded::pg_detoast_datum_packed(value),
        })
    }
}

/// A varlena of these bytes, in the call's memory. Unguarded: see [`crate::pg::ffi::unguarded`].
pub(in crate::pg) fn varlena_unguarded(call: &Call, bytes: &[u8]) -> Datum {
    varlena_of_parts_unguarded(call, [bytes, &[]])
}

/// The same of bytes in two parts.
pub(in crate::pg) fn varlena_of_parts_unguarded(call: &Call, [first, rest]: [&[u8]; 2]) -> Datum {
    let size = pg_sys::VARHDRSZ + first.len() + rest.len();
    // SAFETY: the allocation has room for the header and the bytes. It succeeds below 1 GB alone
    // (src/include/utils/memutils.h: MaxAllocSize), which a header of four bytes can say
    // (src/include/varatt.h, in 15 postgres.h: SET_VARSIZE_4B). The target is new memory.
    unsafe {
        let target = unguarded::MemoryContextAlloc(call.memory(), size);
        pgrx::varlena::set_varsize_4b(target.cast(), size as i32);
        let contents = target.cast::<u8>().add(pg_sys::VARHDRSZ);
        ptr::copy_nonoverlapping(first.as_ptr(), contents, first.len());
        ptr::copy_nonoverlapping(rest.as_ptr(), contents.add(first.len()), rest.len());
        Datum::from(target)
    }
}

/// A copy of a varlena in the call's memory, neither compressed nor external nor short. Unguarded:
/// see [`crate::pg::ffi::unguarded`].
///
/// # Safety
/// The datum is a varlena.
pub(in crate::pg) unsafe fn detoasted_copy_unguarded(call: &Call, datum: Datum) -> Datum {
    // SAFETY: the caller's (src/backend/utils/fmgr/fmgr.c: pg_detoast_datum_copy). The call's
    // context stays for the call. After an error, the server sets the current context anew
    // (src/backend/tcop/postgres.c: PostgresMain).
    unsafe {
        let before = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = call.memory();
        let copy = unguarded::pg_detoast_datum_copy(datum.cast_mut_ptr());
        pg_sys::CurrentMemoryContext = before;
        Datum::from(copy)
    }
}

/// The bytes behind a varlena's header.
///
/// # Safety
/// The varlena is neither compressed nor external, and stays for `'kept`.
unsafe fn contents<'kept>(value: *mut pg_sys::varlena) -> &'kept [u8] {
    // SAFETY: the caller's: such a varlena is a header with its own length, and the bytes
    // (src/include/varatt.h, in 15 postgres.h: VARDATA_ANY, VARSIZE_ANY_EXHDR).
    unsafe { slice::from_raw_parts(vardata_any(value).cast(), varsize_any_exhdr(value)) }
}
