//! The hashes of keys, in the log and in errors.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use pgrx::pg_sys::BYTEAOID;
use pgrx::pg_sys::panic::{CaughtError, ErrorReport, ErrorReportWithLevel};
use pgrx::prelude::PgLogLevel;

use pure::key::{hash, nodes};

use crate::pg::call::Call;
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
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        if let Some(CaughtError::PostgresError(error)) = panic.downcast_ref() {
            raise_if_redacted(error);
        }
        resume_unwind(panic)
    })
}

/// Raises a redacted error in the place of one with a value of type `bytea`.
fn raise_if_redacted(error: &ErrorReportWithLevel) {
    // Nothing is allocated for an error without a value, such as an out of memory.
    let detail = error.detail().unwrap_or_default();
    let hint = error.hint().unwrap_or_default();
    if [error.message(), detail, hint].iter().all(|text| !text.contains('\\')) {
        return;
    }
    let [(message, in_message), (detail, in_detail), (hint, in_hint)] =
        [error.message(), detail, hint].map(redacted);
    if in_message || in_detail || in_hint {
        let mut report = ErrorReport::new(error.sql_error_code(), message, "vibepeak_keys");
        if !detail.is_empty() {
            report = report.set_detail(detail);
        }
        if !hint.is_empty() {
            report = report.set_hint(hint);
        }
        report.report(PgLogLevel::ERROR);
    }
}

/// The redacted text, and whether there was a value.
fn redacted(text: &str) -> (String, bool) {
    let mut bytes = text.as_bytes().to_vec();
    let redacted = hash::redact_bytea(&mut bytes);
    (String::from_utf8_lossy(&bytes).into_owned(), redacted)
}
