//! The database of this process, and whether it can be written to.

use pgrx::pg_sys;

use crate::pg::ffi::unguarded;

/// The OID of the database that this process is connected to.
pub fn own() -> u32 {
    // SAFETY: reads a variable (src/backend/utils/init/globals.c).
    unsafe { pg_sys::MyDatabaseId.to_u32() }
}

/// Whether the server is a standby or is still starting. Raises no error.
pub fn in_recovery() -> bool {
    // SAFETY: reads shared memory (src/backend/access/transam/xlog.c).
    unsafe { unguarded::RecoveryInProgress() }
}
