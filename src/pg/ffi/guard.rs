//! pgrx's guard around calls of server functions.

use pgrx::pg_sys;

/// Turns an error of the server inside into a panic, which unwinds and becomes that error again.
pub(in crate::pg) fn guarded<T>(unguarded: impl FnOnce() -> T) -> T {
    // SAFETY: this is the backend's only thread; what runs inside holds plain data only
    // (pgrx src/submodules/ffi.rs).
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(unguarded) }
}
