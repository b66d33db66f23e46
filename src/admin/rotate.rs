//! Replacing a key by a successor: what may be rotated, and the errors.

use pure::error::CallError;
use pure::validate;

use super::arguments::{self, required};
use super::create::IssuedKey;
use super::errors;
use super::request;
use crate::pg::call::Call;
use crate::pg::server::clock;
use crate::pg::sql::commit;
use crate::pg::types::{Bytes, Interval, Text, Timestamp, Uuid};
use crate::store::events::Caller;
use crate::store::keys;
use crate::store::rotate::{self as store, Successor};

/// Issues a successor of a key. The key itself expires when the grace ends, or is revoked at once
/// if there is no grace. A key in its grace can be rotated again if all its successors were
/// revoked.
pub fn rotate(
    call: &Call,
    id: Option<Uuid>,
    grace: Option<Interval>,
    expires_at: Option<Timestamp>,
    idempotency_key: Option<Text>,
) -> Result<IssuedKey, CallError> {
    let id = required("id", id)?;
    let grace = required("grace", grace)?;
    let idempotency_key = request::checked(call, idempotency_key)?;
    let given_expiry = expires_at.map(arguments::checked_new_expiry).transpose()?;

    // The account first, in the order of a deletion of the account.
    if !keys::lock_account(call, id) {
        return Err(errors::unknown_key());
    }
    let old = store::lock_for_rotation(call, id, grace).ok_or_else(errors::unknown_key)?;
    request::check_not_answered(call, old.account, idempotency_key)?;
    if old.grace_out_of_range {
        return Err(CallError::invalid("grace must be between 0 and 100 years")
            .hint("Name for how long the old key stays valid, for example interval '1 day'."));
    }
    let successors = old.rotated.then(|| store::successors(call, id));
    if successors.as_ref().is_some_and(|successors| successors.live) {
        return Err(CallError::invalid("the API key has already been rotated")
            .hint("Rotate its successor: the key whose rotated_from is this id."));
    }
    if old.revoked || old.expired {
        let end = if old.revoked { "been revoked" } else { "expired" };
        return Err(CallError::invalid(format!("the API key has {end}"))
            .hint("Use vpk_create to issue a new key."));
    }

    let environment = validate::environment(old.environment.bytes(call))?;
    let now = clock::now().micros();
    let inherited = successors
        .and_then(|successors| successors.expires_at)
        .filter(|end| end.is_none_or(|end| end.micros() > now));
    let expires_at =
        given_expiry.or(inherited).unwrap_or(old.expires_at).map(arguments::inherited_expiry);
    let (issued, token) = IssuedKey::draw(call, environment, old.name, old.account, expires_at);
    let successor = Successor {
        id: issued.id,
        key_hash: Bytes::new(call, &token.hash()),
        prefix: issued.prefix,
        hint: issued.hint,
        created_at: issued.created_at,
        expires_at: issued.expires_at,
    };
    store::rotate(call, id, grace, &successor, idempotency_key, Caller::of(call));
    commit::until_applied();
    Ok(issued)
}
