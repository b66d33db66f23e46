//! Disabling and enabling keys.

use pure::error::CallError;

use super::arguments::required;
use super::errors;
use crate::pg::call::Call;
use crate::pg::sql::commit;
use crate::pg::types::{Timestamp, Uuid};
use crate::store::events::Caller;
use crate::store::keys::{self, KeyState};

/// Disables a key. Returns since when it is disabled.
pub fn disable(call: &Call, id: Option<Uuid>) -> Result<Timestamp, CallError> {
    // Another session may enable it between the change that finds it disabled and the look.
    for _ in 0..3 {
        if let Some(disabled_at) = set_disabled(call, id, true)?.disabled_at {
            commit::until_applied();
            return Ok(disabled_at);
        }
    }
    Err(CallError::out_of_place("the API key could not be disabled")
        .hint("A trigger on vpk.keys or row security may prevent it: see vpk_doctor()."))
}

/// Enables a key, whether it is disabled or not.
pub fn enable(call: &Call, id: Option<Uuid>) -> Result<(), CallError> {
    set_disabled(call, id, false).map(|_| ())
}

fn set_disabled(call: &Call, id: Option<Uuid>, disabled: bool) -> Result<KeyState, CallError> {
    let id = required("id", id)?;
    keys::set_disabled(call, id, disabled, Caller::of(call))
        .or_else(|| keys::state(call, id))
        .ok_or_else(errors::unknown_key)
}
