//! What the commit of the current transaction waits for.
//!
//! The setting `synchronous_commit` is raised as `SET LOCAL` does, and never lowered: the end of the
//! transaction gives it back, and so does the end of a savepoint that is rolled back. It outlasts the
//! function that raises it, whose SET clause is about another setting, and not a caller's function
//! with a SET clause about this one (src/backend/utils/misc/guc.c: AtEOXact_GUC).

use core::ffi::{CStr, c_int};

use pgrx::pg_sys::{self, SyncCommitLevel};

use crate::pg::ffi::compat;
use crate::pg::ffi::guard::guarded;

/// Until the synchronous standbys have applied what was committed up to then, so that nobody is told
/// anything older by them. Where there is none, it changes nothing.
///
/// A transaction that has changed nothing waits too: what it found done may have been committed by
/// another whose wait was cancelled.
pub fn until_applied() {
    // SAFETY: reads variables (src/include/replication/syncrep.h: SyncStandbysDefined). Only a
    // transaction that has a number and has written to the WAL before its commit record waits for
    // that (src/backend/access/transam/xact.c: RecordTransactionCommit). The calling function has run
    // a statement that writes, so that the transaction may.
    unsafe {
        let names = pg_sys::SyncRepStandbyNames;
        if names.is_null() || *names == 0 {
            return;
        }
        let numbered = pg_sys::GetTopTransactionIdIfAny() != pg_sys::TransactionId::INVALID;
        if !numbered || pg_sys::XactLastRecEnd == 0 {
            guarded(|| compat::log_empty_message(c"vibepeak_keys"));
        }
    }
    raise_to(SyncCommitLevel::SYNCHRONOUS_COMMIT_REMOTE_APPLY as c_int, c"remote_apply");
}

/// Until it is on disk, for who gives something up once it is committed.
pub fn until_on_disk() {
    raise_to(SyncCommitLevel::SYNCHRONOUS_COMMIT_LOCAL_FLUSH as c_int, c"local");
}

fn raise_to(level: c_int, name: &CStr) {
    // SAFETY: reads a variable, and sets it by its name (src/backend/utils/misc/guc.c).
    unsafe {
        if pg_sys::synchronous_commit < level {
            pg_sys::set_config_option(
                c"synchronous_commit".as_ptr(),
                name.as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_LOCAL,
                true,
                0,
                false,
            );
        }
    }
}
