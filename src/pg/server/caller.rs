//! Who calls.

use core::ffi::CStr;

use pgrx::pg_sys::{self, Oid};

use crate::pg::call::Call;
use crate::pg::types::Text;

/// The role that is in force outside of every SECURITY DEFINER function: the one of `SET ROLE`, else
/// the session's.
pub fn outer_user(call: &Call) -> Text {
    // SAFETY: reads a variable of src/backend/utils/init/miscinit.c.
    name(call, unsafe { pg_sys::GetOuterUserId() })
}

/// The role of the session.
pub fn session_user(call: &Call) -> Text {
    // SAFETY: reads a variable of src/backend/utils/init/miscinit.c.
    name(call, unsafe { pg_sys::GetSessionUserId() })
}

fn name(call: &Call, role: Oid) -> Text {
    // SAFETY: with noerr, a role that is gone is null; a name is a palloc'd C string.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        let bytes = if name.is_null() { &b""[..] } else { CStr::from_ptr(name).to_bytes() };
        Text::new(call, bytes)
    }
}
