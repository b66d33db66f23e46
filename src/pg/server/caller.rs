//! The roles of the caller, and acting as another one.

use core::ffi::{CStr, c_int};

use pgrx::pg_sys::{self, Datum, Oid};

use crate::pg::call::Call;
use crate::pg::ffi::guarded;
use crate::pg::server::setting_level;
use crate::pg::types::encoding::shown_here;
use crate::pg::types::{FromRaw, Role, Text};

/// Runs `act` with the privileges of the owner of the function that was called, as if the function
/// were SECURITY DEFINER. `act` gets the role that was in force before: in a SECURITY DEFINER
/// function of somebody's it is that function's owner.
pub fn as_function_owner<R>(call: &Call, act: impl FnOnce(Role) -> R) -> R {
    let (mut role, mut context) = (Oid::INVALID, 0);
    // SAFETY: as src/backend/utils/fmgr/fmgr.c (fmgr_security_definer) does. After an error, the
    // abort of the (sub)transaction restores both (src/backend/access/transam/xact.c:
    // AbortTransaction). The datum is that of a role.
    unsafe {
        guarded::GetUserIdAndSecContext(&mut role, &mut context);
        let owner = function_owner(call).unwrap_or(role);
        let changed = context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as c_int;
        guarded::SetUserIdAndSecContext(owner, changed);
        let result = act(Role::from_raw(role.into()));
        guarded::SetUserIdAndSecContext(role, context);
        result
    }
}

/// The owner of the function that was called.
fn function_owner(call: &Call) -> Option<Oid> {
    // SAFETY: a function that is called has its lookup data (src/include/fmgr.h). The tuple is null
    // or a row of pg_proc, which stays until it is released (src/backend/utils/cache/syscache.c).
    unsafe {
        let function = Datum::from((*call.info()?.flinfo).fn_oid);
        let tuple = guarded::SearchSysCache1(pg_sys::SysCacheIdentifier::PROCOID as i32, function);
        if tuple.is_null() {
            return None;
        }
        let form: pg_sys::Form_pg_proc = pg_sys::GETSTRUCT(tuple).cast();
        let owner = (*form).proowner;
        guarded::ReleaseSysCache(tuple);
        Some(owner)
    }
}

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

/// Runs `act` as a role, the owner of a table that `act` reads or writes. Code that the owner has
/// put on the table has the privileges of the owner alone, and can do nothing that would outlast
/// `act`: neither in temporary objects and deferred triggers, nor in settings.
pub fn acting_as<R>(role: Oid, act: impl FnOnce() -> R) -> R {
    let (mut own, mut context) = (Oid::INVALID, 0);
    // SAFETY: as src/backend/commands/vacuum.c (vacuum_rel) does, and for row security
    // src/backend/utils/adt/ri_triggers.c (ri_PerformCheck). After an error, the abort of the
    // (sub)transaction restores both (src/backend/access/transam/xact.c: AbortTransaction).
    unsafe {
        guarded::GetUserIdAndSecContext(&mut own, &mut context);
        let restricted = pg_sys::SECURITY_LOCAL_USERID_CHANGE
            | pg_sys::SECURITY_RESTRICTED_OPERATION
            | pg_sys::SECURITY_NOFORCE_RLS;
        guarded::SetUserIdAndSecContext(role, context | restricted as c_int);
        let result = setting_level::in_own_level(act);
        guarded::SetUserIdAndSecContext(own, context);
        result
    }
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
