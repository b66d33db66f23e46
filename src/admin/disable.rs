//! Switching keys off for now, and on again.

use pure::error::CallError;

use super::arguments::{self, caller, required};
use super::revoke::first_timestamp;
use crate::pg::call::Call;
use crate::pg::sql::commit;
use crate::pg::types::{SqlValue, Timestamp, Uuid};
use crate::store::keys;

/// Disables a key; since when it is.
pub fn disable(call: &Call, id: Option<Uuid>) -> Result<Timestamp, CallError> {
    let disabled = set_disabled(call, id, true)?;
    commit::until_applied();
    disabled.ok_or_else(arguments::unknown_key)
}

/// Enables a key that may have been disabled.
pub fn enable(call: &Call, id: Option<Uuid>) -> Result<(), CallError> {
    set_disabled(call, id, false).map(|_| ())
}

fn set_disabled(
    call: &Call,
    id: Option<Uuid>,
    disabled: bool,
) -> Result<Option<Timestamp>, CallError> {
    let id = Some(required("id", id)?.datum());
    let [role, session_role] = caller(call);
    let changed = keys::SET_DISABLED.write(call, &[id, Some(disabled.into()), role, session_role]);
    match changed.first() {
        Some(row) => Ok(row.timestamp(0)),
        None => first_timestamp(call, &keys::DISABLED_AT, id).ok_or_else(arguments::unknown_key),
    }
}
