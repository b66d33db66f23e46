//! Revoking keys: permanently, unlike disabling.

use pure::error::CallError;
use pure::key::find;
use pure::request::authorization::MAX_LENGTH;

use super::arguments::{self, kept_reason, required};
use super::errors;
use crate::pg::call::Call;
use crate::pg::sql::commit;
use crate::pg::types::{Bytes, Text, Timestamp, Uuid};
use crate::store::events::Caller;
use crate::store::{accounts, keys};

/// Revokes a key. Returns when it was first revoked.
pub fn revoke(call: &Call, id: Option<Uuid>, reason: Option<Text>) -> Result<Timestamp, CallError> {
    let id = required("id", id)?;
    let caller = Caller::of(call);
    let revoked = keys::revoke(call, id, kept_reason(call, reason), caller);
    commit::until_applied();
    revoked
        .map(|revoked| revoked.revoked_at)
        .or_else(|| keys::state(call, id)?.revoked_at)
        .ok_or_else(errors::unknown_key)
}

/// Revokes the key whose token a text contains. Returns the key's id; None where there is no such
/// key. Text around the token and breaks in it, as in a paste, are ignored, since a revocation is
/// urgent.
pub fn revoke_token(
    call: &Call,
    token: Option<Text>,
    reason: Option<Text>,
) -> Result<Option<Uuid>, CallError> {
    let Some(text) = token else { return Ok(None) };
    let tokens = find::tokens(text.presented_unguarded(call, MAX_LENGTH).bytes);
    let token = match &tokens[..] {
        [] => return Ok(None),
        [token] => token,
        [..] => {
            return Err(CallError::invalid("there is more than one API key in token")
                .hint("Call the function for each of them."));
        }
    };
    let hash = Bytes::new(call, &token.hash());
    let caller = Caller::of(call);
    let revoked = keys::revoke_hash(call, hash, kept_reason(call, reason), caller);
    commit::until_applied();
    Ok(revoked.map(|revoked| revoked.id).or_else(|| keys::id_of_hash(call, hash)))
}

/// Revokes every key of an account. Returns how many were not revoked before.
pub fn revoke_account(
    call: &Call,
    account: Option<Text>,
    reason: Option<Text>,
) -> Result<i64, CallError> {
    let account = required("account", account)?;
    // Waits for transactions that are issuing keys of the account, and revokes these too.
    let account = arguments::stored_account(call, account, accounts::lock)
        .ok_or_else(|| errors::unknown_account(account.bytes(call)))?;
    let caller = Caller::of(call);
    let revoked = keys::revoke_account(call, account, kept_reason(call, reason), caller);
    commit::until_applied();
    Ok(revoked)
}
