//! The lines of the log.

use core::ffi::{CStr, c_char, c_int};
use core::ptr;

use pgrx::PgLogLevel;
use pgrx::pg_sys::{self, ErrorData};

use pure::key::redact;

use super::activity::redact_activity;
use super::{NEXT_LOG, hash, redact_string, serves_client, shows_key};
use crate::pg::ffi::{compat, unguarded};
use crate::pg::server::settings;

/// The messages of lines whose DETAIL is a tree of nodes (src/backend/tcop/postgres.c).
const TREES: [&CStr; 4] = [c"raw parse tree:", c"parse tree:", c"rewritten parse tree:", c"plan:"];

/// Redacts a line before it is written. The client is sent the same texts afterwards
/// (src/backend/utils/error/elog.c: EmitErrorReport).
///
/// # Safety
/// The server calls it with the report of the line, which is the topmost one.
pub(super) unsafe extern "C-unwind" fn on_log(report: *mut ErrorData) {
    // SAFETY: the caller's. A text is null, or a null-terminated string that errmsg or one of its
    // kin has allocated for this report (src/backend/utils/error/elog.c). A text that is a constant
    // has nothing to redact in it, and so is not written to.
    unsafe {
        if settings::redact_logs() {
            let report = &mut *report;
            redact_tree(report);
            for text in [
                report.message,
                report.detail,
                report.detail_log,
                report.hint,
                report.context,
                report.backtrace,
                report.internalquery,
                report.schema_name,
                report.table_name,
                report.column_name,
                report.datatype_name,
                report.constraint_name,
            ] {
                redact_string(text, redact::redact_keys);
                redact_string(text, hash::redact_noted);
            }
            redact_statement(report);
            // A replication command passes no other hook.
            redact_activity();
            if writes_with_redacted_names(report) {
                return;
            }
        }
        if let Some(next) = NEXT_LOG {
            next(report);
        }
    }
}

/// Redacts a tree of nodes.
///
/// # Safety
/// The server is about to write the line.
unsafe fn redact_tree(report: &mut ErrorData) {
    // SAFETY: the caller's: a text is null or a null-terminated string of this report.
    unsafe {
        if !report.message.is_null() && TREES.contains(&CStr::from_ptr(report.message)) {
            redact_string(report.detail, hash::redact_nodes);
        }
    }
}

/// Redacts the text of the statement that is written with the line.
///
/// With an error the statement is over. With a lesser message, as one of level DEBUG, the text may
/// still have to be parsed. Then it must not change, and is left out of the line.
///
/// # Safety
/// The server is about to write the line.
unsafe fn redact_statement(report: &mut ErrorData) {
    // SAFETY: the text is null or a null-terminated string (src/backend/tcop/postgres.c). It is
    // written to in the process of a client only, where it is a buffer of the server that holds the
    // text that the client has sent, and after the statement has failed. It may be that of a
    // prepared statement, which is parsed again for another call.
    unsafe {
        let statement = pg_sys::debug_query_string;
        if report.elevel >= PgLogLevel::ERROR as c_int && serves_client() {
            redact_string(statement.cast_mut(), redact::redact_source);
        } else if shows_key(statement) {
            report.hide_stmt = true;
        }
    }
}

/// The names that the server writes with each line: user and database. A third one is
/// `application_name`, which belongs to a setting: the server frees its value.
const NAMES: usize = 2;
/// How many bytes of a redacted name are written.
const NAME: usize = 256;
/// The redacted names. They stay in use if an error ends the writing of a line.
static mut REDACTED: [[c_char; NAME]; NAMES] = [[0; NAME]; NAMES];

/// Writes the line, if a name that belongs to it has to be redacted. Returns whether it did.
///
/// The session goes on with the names: it may be about to look up its role. So they are redacted
/// only while the line is written, by the function of the server that has called this hook. At that
/// depth, it writes the word for the line's level in English.
///
/// # Safety
/// The server is about to write the line, which is that of the topmost report.
unsafe fn writes_with_redacted_names(report: &mut ErrorData) -> bool {
    // SAFETY: the caller's. The process has one thread. Each place has null or a null-terminated
    // string, which is not changed, and which nothing frees (src/backend/utils/error/elog.c:
    // log_line_prefix; src/backend/postmaster/postmaster.c: ProcessStartupPacket). The inner call
    // finds redacted names, and so ends here.
    unsafe {
        let places: [*mut *mut c_char; NAMES] = compat::session_names();
        let mut originals = [ptr::null_mut(); NAMES];
        let redacted = (&raw mut REDACTED).cast::<[c_char; NAME]>();
        let mut found = false;
        for (index, (place, original)) in places.iter().zip(&mut originals).enumerate() {
            let room: *mut c_char = redacted.add(index).cast();
            if !place.is_null() && !ptr::eq(**place, room) && shows_key(**place) {
                *original = **place;
                **place = redacted_name(**place, room);
                found = true;
            }
        }
        if !found {
            return false;
        }
        let to_client = report.output_to_client;
        report.output_to_client = false;
        unguarded::EmitErrorReport();
        for (place, original) in places.iter().zip(originals) {
            if !original.is_null() {
                **place = original;
            }
        }
        report.output_to_client = to_client;
        report.output_to_server = false;
        true
    }
}

/// A redacted copy of a name, or of its beginning.
///
/// # Safety
/// The name is a null-terminated string, and there is room for [`NAME`] bytes.
unsafe fn redacted_name(name: *const c_char, room: *mut c_char) -> *mut c_char {
    // SAFETY: the caller's.
    unsafe {
        let length = CStr::from_ptr(name).count_bytes().min(NAME - 1);
        room.copy_from_nonoverlapping(name, length);
        room.add(length).write(0);
        redact_string(room, redact::redact_keys);
        room
    }
}
