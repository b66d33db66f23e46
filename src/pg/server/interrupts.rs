//! Waiting for other processes of the server.

use std::thread;
use std::time::Duration;

use pgrx::pg_sys;

/// Waits for a millisecond. Raises an error where the statement or the session has to end.
pub fn pause() {
    pg_sys::check_for_interrupts!();
    thread::sleep(Duration::from_millis(1));
}
