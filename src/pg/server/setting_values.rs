//! What the server understands by the value of any setting: `fal` is off, `250ms` is 250.

use core::ffi::CStr;

use pgrx::pg_sys;

use crate::pg::ffi::guarded;

/// Whether the server or a library that this session has loaded defines a setting. Where nobody
/// does, the server keeps the text of its value, and does not know what it means.
pub fn is_defined(name: &CStr) -> bool {
    // SAFETY: the name is a null-terminated string. The flags are 0 where there is no such setting
    // (src/backend/utils/misc/guc.c: GetConfigOption, GetConfigOptionFlags).
    unsafe {
        let flags = guarded::GetConfigOptionFlags(name.as_ptr(), true);
        flags & pg_sys::GUC_CUSTOM_PLACEHOLDER as i32 == 0
            && !guarded::GetConfigOption(name.as_ptr(), true, false).is_null()
    }
}

/// The value in the server's own spelling, and without its unit: `on`, not `yes`. None where the
/// server refuses the value, and so ignores it where it was set for a role or database. The setting
/// has to be defined.
///
/// The server's parsers are not open to libraries, except by setting the value. So this session has
/// it, until this returns.
pub fn understood(name: &CStr, value: &CStr) -> Option<Vec<u8>> {
    // SAFETY: both are null-terminated strings. With a level of its own for errors,
    // set_config_option raises none for a value that it refuses, and returns 0. The text that
    // GetConfigOption returns is copied at once. Leaving the level restores the setting, as the end
    // of a function with a SET clause does. After an error the abort of the (sub)transaction does
    // (src/backend/utils/misc/guc.c; src/backend/utils/fmgr/fmgr.c: fmgr_security_definer).
    unsafe {
        let level = guarded::NewGUCNestLevel();
        let accepted = guarded::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            pg_sys::DEBUG5 as i32,
            false,
        ) > 0;
        let text = match accepted {
            true => guarded::GetConfigOption(name.as_ptr(), true, false),
            false => core::ptr::null(),
        };
        let text = (!text.is_null()).then(|| CStr::from_ptr(text).to_bytes().to_vec());
        guarded::AtEOXact_GUC(true, level);
        text
    }
}
