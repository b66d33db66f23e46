//! The roles of the caller.

use core::ffi::CStr;

use pgrx::pg_sys::{self, Oid};

use crate::pg::call::Call;
use crate::pg::ffi::guarded;
use crate::pg::types::Text;
use crate::pg::types::encoding::shown_here;

/// The current role outside of every SECURITY DEFINER function: that of `SET ROLE`, or else that of
/// the session.
pub fn outer_user(call: &Call) -> Text {
    // SAFETY: reads a variable (src/backend/utils/init/miscinit.c).
    name(call, unsafe { pg_sys::GetOuterUserId() })
}

/// The role of the session.
pub fn session_user(call: &Call) -> Text {
    // SAFETY: reads a variable (src/backend/utils/init/miscinit.c).
    name(call, unsafe { pg_sys::GetSessionUserId() })
}

/// The name of a role, as this database can show it; empty where there is no such role.
fn name(call: &Call, role: Oid) -> Text {
    // SAFETY: with noerr, the name is null where there is no such role, and else a null-terminated
    // copy (src/backend/utils/init/miscinit.c: GetUserNameFromId).
    unsafe {
        let name = guarded::GetUserNameFromId(role, true);
        let bytes = if name.is_null() { &b""[..] } else { CStr::from_ptr(name).to_bytes() };
        Text::new(call, &shown_here(bytes.to_vec()))
    }
}
