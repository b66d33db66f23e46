//! pgrx's guard around calls of server functions.

use pgrx::pg_sys;

/// Runs `call`, and turns an error that the server raises inside into a panic. The panic unwinds
/// the frames of the caller, and pgrx raises it as the same error again.
///
/// # Safety
/// `call` cannot panic, and holds no value with a destructor where it calls the server: an error
/// passes over its frames without unwinding them (pgrx-pg-sys src/submodules/ffi.rs:
/// pg_guard_ffi_boundary).
pub(in crate::pg) unsafe fn guarded<T>(call: impl FnOnce() -> T) -> T {
    // SAFETY: the caller's. The process has one thread.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(call) }
}
