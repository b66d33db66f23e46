//! Stacks in errors, which this library's errors never have.

use std::backtrace::Backtrace;
use std::env;

/// What the standard library reads before it takes a stack.
const VARIABLE: &str = "RUST_LIB_BACKTRACE";

/// Keeps stacks out of errors. The environment of the server cannot change that. Called when the
/// library is loaded.
///
/// pgrx puts a stack into the DETAIL of each error of the server that passes it, if there is one
/// (pgrx-pg-sys src/submodules/panic.rs). The standard library reads the environment before the
/// first stack, and not again. So the variable is set for the first one, and then as it was.
pub(in crate::pg) fn switch_off() {
    let before = env::var_os(VARIABLE);
    // SAFETY: the process has one thread.
    unsafe {
        env::set_var(VARIABLE, "0");
        drop(Backtrace::capture());
        match before {
            Some(value) => env::set_var(VARIABLE, value),
            None => env::remove_var(VARIABLE),
        }
    }
}
