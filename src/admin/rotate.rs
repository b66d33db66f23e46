//! Replacing a key by a successor.

use pure::error::CallError;
use pure::validate;

use super::arguments::{self, caller, required};
use super::create::IssuedKey;
use crate::pg::call::Call;
use crate::pg::sql::commit;
use crate::pg::types::{Bytes, Interval, SqlValue, Timestamp, Uuid};
use crate::store::keys;

/// Makes a successor of the key, and lets the key itself end after the grace, or at once.
pub fn rotate(
    call: &Call,
    id: Option<Uuid>,
    grace: Option<Interval>,
    expires_at: Option<Timestamp>,
) -> Result<IssuedKey, CallError> {
    let id = required("id", id)?;
    let grace = required("grace", grace)?;
    let given_expiry = expires_at.map(arguments::checked_new_expiry).transpose()?;

    // The account first, as its deletion does.
    keys::LOCK_ACCOUNT
        .write(call, &[Some(id.datum())])
        .first()
        .ok_or_else(arguments::unknown_key)?;
    let old = keys::LOCK_FOR_ROTATION.write(call, &[Some(id.datum()), Some(grace.datum())]);
    let old = old.first().ok_or_else(arguments::unknown_key)?;
    let [revoked, expired, rotated, bad_grace] = [0, 1, 2, 3].map(|column| old.is(column));
    if bad_grace {
        return Err(CallError::invalid("grace must be between 0 and 100 years")
            .hint("Name for how long the old key stays valid, for example interval '1 day'."));
    }
    if rotated {
        return Err(CallError::invalid("the API key has already been rotated")
            .hint("Rotate its successor: the key whose rotated_from is this id."));
    }
    if revoked || expired {
        let end = if revoked { "been revoked" } else { "expired" };
        return Err(CallError::invalid(format!("the API key has {end}"))
            .hint("Use vpk_create to issue a new key."));
    }
    let (Some(environment), Some(name), Some(account)) = (old.text(4), old.text(5), old.text(6))
    else {
        return Err(arguments::unknown_key());
    };

    let environment = validate::environment(environment.bytes(call))?;
    let expires_at = given_expiry.unwrap_or(old.timestamp(7));
    let (issued, token) = IssuedKey::draw(call, environment, name, account, expires_at);
    let [role, session_role] = caller(call);
    keys::ROTATE.write(
        call,
        &[
            Some(id.datum()),
            Some(grace.datum()),
            Some(issued.id.datum()),
            Some(Bytes::new(call, &token.hash()).datum()),
            Some(issued.prefix.datum()),
            Some(issued.hint.datum()),
            Some(issued.created_at.datum()),
            issued.expires_at.map(Timestamp::datum),
            role,
            session_role,
        ],
    );
    commit::until_applied();
    Ok(issued)
}
