//! A level of settings: what is set in it ends with it, as in a function with a SET clause.

use core::ffi::{CStr, c_int};

use pgrx::pg_sys;

use crate::pg::ffi::guarded;

/// Runs `act`, and then restores the settings as they were before. A trigger of another role may
/// have set `search_path` for the session.
///
/// What the commit waits for stays raised: a trigger may have revoked a key.
pub fn in_own_level<R>(act: impl FnOnce() -> R) -> R {
    // SAFETY: as src/backend/commands/vacuum.c (vacuum_rel) does. After an error the abort of the
    // (sub)transaction leaves the level (src/backend/utils/misc/guc.c: AtEOXact_GUC). Reads a
    // variable.
    unsafe {
        let level = guarded::NewGUCNestLevel();
        let result = act();
        let wait = pg_sys::synchronous_commit;
        guarded::AtEOXact_GUC(false, level);
        raise_synchronous_commit(wait);
        result
    }
}

/// Raises `synchronous_commit` to a level until the transaction ends, as `SET LOCAL` does, unless
/// it is higher already.
pub(in crate::pg) fn raise_synchronous_commit(level: c_int) {
    // In the order of SyncCommitLevel (src/include/access/xact.h).
    const NAMES: [&CStr; 5] = [c"off", c"local", c"remote_write", c"on", c"remote_apply"];
    // SAFETY: reads a variable.
    if unsafe { pg_sys::synchronous_commit } < level
        && let Some(name) = usize::try_from(level).ok().and_then(|level| NAMES.get(level))
    {
        let (context, action) =
            (pg_sys::GucContext::PGC_USERSET, pg_sys::GucAction::GUC_ACTION_LOCAL);
        set_as(c"synchronous_commit", name, context, action, 0);
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
    set_as(name, value, context, pg_sys::GucAction::GUC_ACTION_SAVE, elevel)
}

fn set_as(
    name: &CStr,
    value: &CStr,
    context: pg_sys::GucContext::Type,
    action: pg_sys::GucAction::Type,
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
            action,
            true,
            elevel,
            false,
        ) > 0
    }
}
