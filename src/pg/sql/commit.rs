//! What the commit of the current transaction waits for.
//!
//! The setting `synchronous_commit` is raised as `SET LOCAL` does, and never lowered. The end of
//! the transaction restores it, and so does the rollback to an earlier savepoint. The raised value
//! lasts beyond the function that raises it, whose SET clause sets another setting. It does not
//! last beyond a caller's function with a SET clause for this setting
//! (src/backend/utils/misc/guc.c: AtEOXact_GUC).

use core::ffi::c_int;

use pgrx::pg_sys::{self, SyncCommitLevel};

use crate::pg::ffi::guard::guarded;
use crate::pg::ffi::{compat, unguarded};
use crate::pg::server::setting_level::raise_synchronous_commit;

/// Has the commit wait until the synchronous standbys have applied what was committed up to then,
/// so that no answer of theirs is older. If there is no such standby, it waits for this server's
/// disk: a crash then takes nothing back.
///
/// A transaction that has changed nothing waits too: the change that it found already made may have
/// been committed by a transaction whose wait was cancelled.
pub fn until_applied() {
    // SAFETY: reads variables (src/include/replication/syncrep.h: SyncStandbysDefined). Only a
    // transaction that has an id and has written to the WAL before its commit record waits for
    // standbys (src/backend/access/transam/xact.c: RecordTransactionCommit). The guarded closure
    // holds plain data, and cannot panic.
    unsafe {
        let names = pg_sys::SyncRepStandbyNames;
        let has_standbys = !names.is_null() && *names != 0;
        if !has_standbys && pg_sys::synchronous_commit >= LOCAL {
            return;
        }
        let numbered = pg_sys::GetTopTransactionIdIfAny() != pg_sys::TransactionId::INVALID;
        if !numbered || pg_sys::XactLastRecEnd == 0 {
            guarded(|| compat::log_empty_message_unguarded(c"vibepeak_keys"));
        }
        match has_standbys {
            true => raise_synchronous_commit(APPLIED),
            false => until_on_disk(),
        }
    }
}

/// Waits now until the synchronous standbys have applied what is committed. For a call that raises
/// an error, after which no commit waits: the change that it found already made may have been
/// committed by a transaction whose wait was cancelled.
pub fn wait_until_applied() {
    until_applied();
    // SAFETY: as src/backend/access/transam/xact.c (RecordTransactionCommit) does, with interrupts
    // held off. What is committed was flushed, and a cancel ends the wait with a warning
    // (src/backend/replication/syncrep.c). The guarded closure holds plain data, and cannot panic.
    unsafe {
        guarded(|| {
            pg_sys::InterruptHoldoffCount += 1;
            unguarded::SyncRepWaitForLSN(unguarded::GetFlushRecPtr(core::ptr::null_mut()), true);
            pg_sys::InterruptHoldoffCount -= 1;
        });
    }
}

/// Has the commit wait until it is on disk, for a caller that discards something after the commit.
pub fn until_on_disk() {
    raise_synchronous_commit(LOCAL);
}

const APPLIED: c_int = SyncCommitLevel::SYNCHRONOUS_COMMIT_REMOTE_APPLY as c_int;
const LOCAL: c_int = SyncCommitLevel::SYNCHRONOUS_COMMIT_LOCAL_FLUSH as c_int;
