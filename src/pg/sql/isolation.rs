//! The isolation level.

use pgrx::pg_sys;

/// Whether the transaction keeps the snapshot of its first statement (REPEATABLE READ and
/// SERIALIZABLE; src/include/access/xact.h: IsolationUsesXactSnapshot).
pub fn uses_transaction_snapshot() -> bool {
    // SAFETY: reads a variable (src/backend/access/transam/xact.c).
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}
