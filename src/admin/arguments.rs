//! Checks of arguments that several functions for admins have.

use pure::characters::other_spellings;
use pure::error::CallError;
pub(super) use pure::error::required;
use pure::validate::{self, LATEST_EXPIRY};

use crate::pg::call::Call;
use crate::pg::server::clock;
use crate::pg::types::encoding::ServerEncoding;
use crate::pg::types::{CidrArray, Json, Text, TextArray, Timestamp};
use crate::store::accounts;

/// A name of a key, without white space around it, where it is allowed.
pub(super) fn checked_name(call: &Call, name: Text) -> Result<Text, CallError> {
    validate::name(name.bytes(call), &ServerEncoding).map(|name| Text::new(call, name))
}

/// The bytes of an account's name, where it is allowed.
pub(super) fn checked_account(call: &Call, account: Text) -> Result<&[u8], CallError> {
    let name = account.bytes(call);
    validate::account(name, &ServerEncoding).map(|()| name)
}

/// The name by which an account is stored: as it was passed, or else the same text in another
/// spelling. None where no such name is stored.
pub(super) fn stored_account(
    call: &Call,
    account: Text,
    is_stored: impl Fn(&Call, Text) -> bool,
) -> Option<Text> {
    is_stored(call, account).then_some(account).or_else(|| {
        other_spellings(account.bytes(call), &ServerEncoding)
            .iter()
            .map(|spelling| Text::new(call, spelling.as_bytes()))
            .find(|spelling| is_stored(call, *spelling))
    })
}

/// The name by which an account is stored if there is such an account; else as it was passed.
pub(super) fn spelled_as_stored(call: &Call, account: Text) -> Text {
    if other_spellings(account.bytes(call), &ServerEncoding).is_empty() {
        return account;
    }
    stored_account(call, account, accounts::exists).unwrap_or(account)
}

/// The name of a plan, where it is allowed.
pub(super) fn checked_plan(call: &Call, plan: Text) -> Result<Text, CallError> {
    validate::plan(plan.bytes(call)).map(|()| plan)
}

/// Scopes of a key, where they are allowed.
pub(super) fn checked_scopes(call: &Call, scopes: TextArray) -> Result<TextArray, CallError> {
    validate::scopes(scopes.elements(call)).map(|()| scopes)
}

/// The networks of a key; None where the list is empty, which is no limit.
pub(super) fn checked_networks(
    call: &Call,
    networks: CidrArray,
) -> Result<Option<CidrArray>, CallError> {
    let listed = networks.networks(call);
    validate::networks(listed).map(|()| (!listed.is_empty()).then_some(networks))
}

/// Metadata of a key, where it is allowed.
pub(super) fn checked_metadata(metadata: Json) -> Result<Json, CallError> {
    validate::metadata(&metadata.text()).map(|()| metadata)
}

/// Checks that an expiry is in the future and not too far. Returns None for `infinity`, which is no
/// expiry. `none` is the part of the hint that says how else to ask for no expiry.
pub(super) fn checked_expiry(
    expires_at: Timestamp,
    none: &str,
) -> Result<Option<Timestamp>, CallError> {
    if expires_at.micros() <= clock::now().micros() {
        return Err(CallError::invalid("expires_at must be in the future").hint(format!(
            "{none} for a key that does not expire; use vpk_revoke to end a key now."
        )));
    }
    if expires_at.is_infinity() {
        return Ok(None);
    }
    if expires_at.micros() > LATEST_EXPIRY {
        return Err(CallError::invalid("expires_at must not be later than 9999-12-31 00:00:00+00")
            .hint(format!("{none} for a key that does not expire.")));
    }
    Ok(Some(expires_at))
}

/// The expiry that a successor takes over: a table may have a later one than is allowed now.
pub(super) fn inherited_expiry(expires_at: Timestamp) -> Timestamp {
    Timestamp::from_micros(expires_at.micros().min(LATEST_EXPIRY))
}

/// Like [`checked_expiry`], for functions in which null keeps the old expiry.
pub(super) fn checked_new_expiry(expires_at: Timestamp) -> Result<Option<Timestamp>, CallError> {
    checked_expiry(expires_at, "Use 'infinity'")
}

/// The name of a request, where it is allowed.
pub(super) fn checked_idempotency_key(call: &Call, key: Text) -> Result<Text, CallError> {
    validate::idempotency_key(key.bytes(call), &ServerEncoding).map(|()| key)
}

/// A reason or an actor as it is stored: cut to its maximum length, and with keys in it redacted.
/// None where it is blank.
pub(super) fn kept_reason(call: &Call, reason: Option<Text>) -> Option<Text> {
    validate::reason(reason?.bytes(call), &ServerEncoding).map(|reason| Text::new(call, &reason))
}
