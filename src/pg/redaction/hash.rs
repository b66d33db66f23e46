//! The hashes of keys, in the log and in errors.

use core::ffi::{CStr, c_int};
use core::slice;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{BYTEAOID, ErrorData};

use pure::key::{hash, nodes};

use crate::pg::call::Call;
use crate::pg::ffi::guard;
use crate::pg::types::{Bytes, FromRaw, Parameter};

/// The hash that a statement of the extension was last given; all zeroes before.
static mut NOTED: [u8; hash::LENGTH] = [0; hash::LENGTH];

/// Notes the hash among the values that are given to a statement, if there is one. It is redacted
/// in every later line of this process, such as those of pgaudit and auto_explain, which write what
/// statements are given.
pub(in crate::pg) fn note(call: &Call, values: &[Parameter]) {
    for value in values.iter().flatten().filter_map(|value| value.of_type(BYTEAOID)) {
        // SAFETY: the value is a bytea, and good for the call.
        let bytes = unsafe { Bytes::from_raw(value) }.bytes(call);
        if let Ok(hash) = bytes.try_into() {
            // SAFETY: the process has one thread.
            unsafe { NOTED = hash };
        }
    }
}

/// The hash that was noted last.
fn noted() -> Option<[u8; hash::LENGTH]> {
    // SAFETY: the process has one thread.
    let noted = unsafe { NOTED };
    (noted != [0; hash::LENGTH]).then_some(noted)
}

/// Redacts the hash that was noted last. Returns whether it was there.
pub(super) fn redact_noted(text: &mut [u8]) -> bool {
    noted().is_some_and(|noted| hash::redact_hash(text, &noted))
}

/// Redacts keys and the hash that was noted last in a tree of nodes. Returns whether there was one.
pub(super) fn redact_nodes(text: &mut [u8]) -> bool {
    nodes::redact_nodes(text, noted().as_ref())
}

/// Runs a statement on the extension's tables. If it fails, there is no hash in its error.
///
/// The functions run as the owner of the tables. So the server shows them the whole of a row that
/// violates a constraint, which their caller may not read. The error is changed here, since an
/// error that is not logged passes no hook.
pub(in crate::pg) fn without_hashes_in_errors<T>(run: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|unwound| {
        // An out of memory has no value in it, and there may be no memory for a copy.
        let no_memory = PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY as c_int;
        if guard::server_error_code(&unwound) == Some(no_memory) {
            resume_unwind(unwound);
        }
        guard::go_on_with(unwound, redact)
    })
}

/// Redacts the values of type `bytea` in an error. Returns whether there was one.
fn redact(error: &mut ErrorData) -> bool {
    let texts = [
        error.message,
        error.detail,
        error.detail_log,
        error.hint,
        error.context,
        error.internalquery,
    ];
    // SAFETY: each is null, or a null-terminated string of the copy. A redacted text has the length
    // that it had (src/include/utils/elog.h: ErrorData).
    let redacted = texts.map(|text| unsafe {
        !text.is_null()
            && hash::redact_bytea(slice::from_raw_parts_mut(
                text.cast(),
                CStr::from_ptr(text).count_bytes(),
            ))
    });
    redacted.contains(&true)
}
