//! Replacing a key by a successor.

use super::{IssuedKey, caller, required};
use crate::pg::call::Call;
use crate::pg::types::{Bytes, Interval, SqlValue, Text, Timestamp, Uuid};
use crate::pg::{clock, entropy};
use crate::pure::limits;
use crate::pure::misuse::Misuse;
use crate::store::keys;

/// Makes a successor of the key, and lets the key itself end after the grace, or at once.
pub fn rotate(
    call: &Call,
    id: Option<Uuid>,
    grace: Option<Interval>,
    expires_at: Option<Timestamp>,
) -> Result<IssuedKey, Misuse> {
    let id = required("id", id)?;
    let grace = required("grace", grace)?;
    let given_expiry = expires_at.map(super::checked_expiry).transpose()?;

    // The account first, as its deletion does.
    keys::LOCK_ACCOUNT.write(call, &[Some(id.datum())]).first().ok_or_else(super::unknown_key)?;
    let old = keys::LOCK_FOR_ROTATION.write(call, &[Some(id.datum()), Some(grace.datum())]);
    let old = old.first().ok_or_else(super::unknown_key)?;
    let [revoked, expired, rotated, bad_grace] = [0, 1, 2, 3].map(|column| old.is(column));
    let refusal = if bad_grace {
        let hint = "Name for how long the old key stays valid, for example interval '1 day'.";
        Some(Misuse::invalid("grace must be between 0 and 100 years").hint(hint))
    } else if rotated {
        let hint = "Rotate its successor: the key whose rotated_from is this id.";
        Some(Misuse::invalid("the API key has already been rotated").hint(hint))
    } else if revoked {
        let hint = "Use vpk_create to issue a new key.";
        Some(Misuse::invalid("the API key has been revoked").hint(hint))
    } else if expired {
        let hint = "Use vpk_create to issue a new key.";
        Some(Misuse::invalid("the API key has expired").hint(hint))
    } else {
        None
    };
    if let Some(misuse) = refusal {
        return Err(misuse);
    }
    let (Some(environment), Some(name), Some(account)) = (old.text(4), old.text(5), old.text(6))
    else {
        return Err(super::unknown_key());
    };

    let token = entropy::token(limits::environment(environment.bytes(call))?);
    let created_at = clock::now();
    let issued = IssuedKey {
        id: entropy::uuid_v7(call, created_at),
        token: Text::new(call, token.as_str().as_bytes()),
        name,
        account,
        environment,
        prefix: Text::new(call, token.prefix().as_bytes()),
        hint: Text::new(call, token.hint().as_bytes()),
        created_at,
        expires_at: given_expiry.unwrap_or(old.timestamp(7)),
    };
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
    Ok(issued)
}
