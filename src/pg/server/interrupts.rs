//! Waiting for other processes of the server.

use pgrx::pg_sys;

/// Lets other processes run. Raises an error where the statement or the session has to end.
pub fn yield_now() {
    pg_sys::check_for_interrupts!();
    std::thread::yield_now();
}
