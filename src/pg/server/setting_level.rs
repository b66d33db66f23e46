//! A level of settings: what is set in it ends with it, as in a function with a SET clause.

use core::ffi::CStr;

use pgrx::pg_sys;

use crate::pg::ffi::guarded;

/// Runs `act`, and then undoes what it, or code of others that the server runs meanwhile, has
/// changed in settings. A trigger may set `search_path` for the session, as whoever it runs as.
pub fn in_own_level<R>(act: impl FnOnce() -> R) -> R {
    // SAFETY: as src/backend/commands/vacuum.c (vacuum_rel) does. After an error the abort of the
    // (sub)transaction leaves the level (src/backend/utils/misc/guc.c: AtEOXact_GUC).
    unsafe {
        let level = guarded::NewGUCNestLevel();
        let result = act();
        guarded::AtEOXact_GUC(false, level);
        result
    }
}

/// Sets a setting until the level ends. `elevel` is what a value is reported with that the server
/// refuses; 0 raises an error. Returns whether the setting has the value.
pub(in crate::pg) fn set(
    name: &CStr,
    value: &CStr,
    context: pg_sys::GucContext::Type,
    elevel: i32,
) -> bool {
    // SAFETY: sets a variable by its name; both strings are null-terminated
    // (src/backend/utils/misc/guc.c: set_config_option).
    unsafe {
        guarded::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            context,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            elevel,
            false,
        ) > 0
    }
}
