//! Changing the name, expiry, scopes, networks and metadata of a key.

use pure::error::CallError;

use super::arguments::{self, required};
use super::errors;
use super::list::with_current_uses;
use crate::pg::call::Call;
use crate::pg::error;
use crate::pg::sql::{commit, visibility};
use crate::pg::types::Uuid;
use crate::store::events::Caller;
use crate::store::keys;
use crate::store::list::{self, ListedKey};

pub use crate::store::keys::KeyChange;

/// Changes a key, with an event that names the fields whose values change. Writes nothing where
/// none does. Returns the key as it is listed then.
pub fn update(call: &Call, id: Option<Uuid>, change: &KeyChange) -> Result<ListedKey, CallError> {
    let id = required("id", id)?;
    let name = change.name.map(|name| arguments::checked_name(call, name)).transpose()?;
    let change = KeyChange { name, ..*change };
    change.expires_at.map(arguments::checked_new_expiry).transpose()?;
    change.scopes.map(|scopes| arguments::checked_scopes(call, scopes)).transpose()?;
    change.allowed_ips.map(|list| arguments::checked_networks(call, list)).transpose()?;
    change.metadata.map(arguments::checked_metadata).transpose()?;

    keys::update(call, id, &change, Caller::of(call));
    // Whether the new values allow less than the old ones is not checked.
    if change.expires_at.is_some() || change.scopes.is_some() || change.allowed_ips.is_some() {
        commit::until_applied();
    }
    let mut key = list::list_after_change(call, id).ok_or_else(errors::unknown_key)?;
    // A flush that has committed since then counts as seen: so none of its uses counts twice.
    with_current_uses(&mut key, visibility::latest());
    let KeyChange { name, expires_at, scopes, allowed_ips, metadata } = change;
    let given = [
        name.is_some(),
        expires_at.is_some(),
        scopes.is_some(),
        allowed_ips.is_some(),
        metadata.is_some(),
    ];
    if !given.contains(&true) {
        // A driver's null does not say whether it meant "never" or "no limit".
        error::notice(
            "the key was not changed, since every value is null",
            "Null leaves a value as it is. To take one away, pass expires_at => 'infinity', \
             allowed_ips => '{}', scopes => '{}' or metadata => '{}'.",
        );
    }
    Ok(key)
}
