//! Ending keys: for good (revoke, purge), or for now (disable).

use pure::error::CallError;
use pure::key::token::Token;
use pure::request::authorization::MAX_LENGTH;

use super::arguments::{self, caller, kept_reason, required};
use crate::pg::call::Call;
use crate::pg::sql::commit;
use crate::pg::sql::statement::{Row, Statement};
use crate::pg::types::{Bytes, SqlValue, Text, Timestamp, Uuid};
use crate::store::{accounts, keys};

/// Revokes a key; the instant of its first revocation.
pub fn revoke(call: &Call, id: Option<Uuid>, reason: Option<Text>) -> Result<Timestamp, CallError> {
    let id = Some(required("id", id)?.datum());
    let [role, session_role] = caller(call);
    let reason = kept_reason(call, reason).map(Text::datum);
    let revoked = keys::REVOKE.write(call, &[id, reason, role, session_role]);
    commit::until_applied();
    let revoked = match revoked.first() {
        Some(row) => row.timestamp(1),
        None => first_timestamp(call, &keys::REVOKED_AT, id).flatten(),
    };
    revoked.ok_or_else(arguments::unknown_key)
}

/// Revokes the key that a text has; its id, or None where there is no such key. What stands around the
/// key, as in a paste, does not matter: a revocation is urgent.
pub fn revoke_token(
    call: &Call,
    token: Option<Text>,
    reason: Option<Text>,
) -> Result<Option<Uuid>, CallError> {
    let Some(text) = token else { return Ok(None) };
    let tokens = Token::all_in(text.presented_unguarded(call, MAX_LENGTH).bytes);
    let token = match &tokens[..] {
        [] => return Ok(None),
        [token] => token,
        [..] => {
            return Err(CallError::invalid("there is more than one API key in token")
                .hint("Call the function for each of them."));
        }
    };
    let hash = Some(Bytes::new(call, &token.hash()).datum());
    let [role, session_role] = caller(call);
    let reason = kept_reason(call, reason).map(Text::datum);
    let revoked = keys::REVOKE_HASH.write(call, &[hash, reason, role, session_role]);
    commit::until_applied();
    Ok(match revoked.first() {
        Some(row) => row.uuid(0),
        None => keys::ID_OF_HASH.write(call, &[hash]).first().and_then(|row| row.uuid(0)),
    })
}

/// Revokes every key of an account; how many were not revoked before.
pub fn revoke_account(
    call: &Call,
    account: Option<Text>,
    reason: Option<Text>,
) -> Result<i64, CallError> {
    let account = required("account", account)?;
    let name = Some(account.datum());
    // A key that is just being issued is waited for, and revoked too.
    if accounts::LOCK.write(call, &[name]).is_empty() {
        return Err(arguments::unknown_account(account.bytes(call)).hint(arguments::SEE_ACCOUNTS));
    }
    let [role, session_role] = caller(call);
    let reason = kept_reason(call, reason).map(Text::datum);
    let revoked = keys::REVOKE_ACCOUNT.write(call, &[name, reason, role, session_role]);
    commit::until_applied();
    Ok(revoked.processed())
}

/// The first column of the row that a statement returns: None for no row, Some(None) for null.
pub(super) fn first_timestamp(
    call: &Call,
    statement: &Statement,
    id: crate::pg::types::Parameter,
) -> Option<Option<Timestamp>> {
    statement.write(call, &[id]).first().map(|row: Row| row.timestamp(0))
}
