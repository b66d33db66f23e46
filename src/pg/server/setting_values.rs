//! What the server understands by the value of any setting: `fal` is off, `250ms` is 250.

use core::ffi::CStr;

use pgrx::pg_sys;

use crate::pg::ffi::guarded;
use crate::pg::server::setting_level;

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
    setting_level::in_own_level(|| {
        let context = pg_sys::GucContext::PGC_SUSET;
        if !setting_level::set(name, value, context, pg_sys::DEBUG5 as i32) {
            return None;
        }
        // SAFETY: the name is a null-terminated string. The text that is returned is null or a
        // null-terminated string, and is copied at once (src/backend/utils/misc/guc.c:
        // GetConfigOption).
        unsafe {
            let text = guarded::GetConfigOption(name.as_ptr(), true, false);
            (!text.is_null()).then(|| CStr::from_ptr(text).to_bytes().to_vec())
        }
    })
}
