//! Requests to issue a key that may be asked again, since their answer can get lost. Those of
//! charges and grants are in [`super::quotas`].

use pure::error::{CallError, quoted};

use super::arguments;
use crate::pg::call::Call;
use crate::pg::sql::lock;
use crate::pg::types::Text;
use crate::store::events;

/// Checks that no key of the account was issued for this request within a day, and has further such
/// requests wait until the transaction ends. The token of such a key cannot be shown again, so the
/// error says which key it is, and how to replace it.
pub(super) fn check_not_answered(
    call: &Call,
    account: Text,
    idempotency_key: Option<Text>,
) -> Result<(), CallError> {
    let Some(key) = idempotency_key else { return Ok(()) };
    let account = arguments::spelled_as_stored(call, account);
    lock::lock_request(call, account.bytes(call), key.bytes(call));
    let Some(issued) = events::issued_for(call, account, key) else { return Ok(()) };
    let (id, at) = (issued.id.bytes(call), issued.at.bytes(call));
    let (id, at) = (String::from_utf8_lossy(id), String::from_utf8_lossy(at));
    Err(CallError::duplicate(format!(
        "an API key was issued for idempotency_key {} already",
        quoted(key.bytes(call))
    ))
    .detail(format!("It is key {id}, issued at {at}."))
    .hint(format!(
        "Its token cannot be shown again. Use vpk_rotate('{id}') to replace it, or vpk_revoke('{id}')."
    )))
}

/// The argument, where it is given and allowed.
pub(super) fn checked(call: &Call, key: Option<Text>) -> Result<Option<Text>, CallError> {
    key.map(|key| arguments::checked_idempotency_key(call, key)).transpose()
}
