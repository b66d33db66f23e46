//! Changing the name, expiry, scopes, networks and metadata of a key.

use pure::error::CallError;

use super::arguments::{self, required};
use crate::pg::call::Call;
use crate::pg::error;
use crate::pg::sql::commit;
use crate::pg::types::{TextArray, Uuid};
use crate::store::events::Caller;
use crate::store::keys;
use crate::store::list::{self, ListedKey};

pub use crate::store::keys::KeyChange;

/// Changes a key, with an event that names the changed fields. Returns the key as it is listed
/// then.
pub fn update(call: &Call, id: Option<Uuid>, change: &KeyChange) -> Result<ListedKey, CallError> {
    let id = required("id", id)?;
    let name = change.name.map(|name| arguments::checked_name(call, name)).transpose()?;
    let change = KeyChange { name, ..*change };
    change.expires_at.map(arguments::checked_new_expiry).transpose()?;
    change.scopes.map(|scopes| arguments::checked_scopes(call, scopes)).transpose()?;
    change.allowed_ips.map(|list| arguments::checked_networks(call, list)).transpose()?;
    change.metadata.map(arguments::checked_metadata).transpose()?;

    let changed = [
        ("name", change.name.is_some()),
        ("expires_at", change.expires_at.is_some()),
        ("scopes", change.scopes.is_some()),
        ("allowed_ips", change.allowed_ips.is_some()),
        ("metadata", change.metadata.is_some()),
    ];
    let changes = changed.iter().any(|(_, changed)| *changed);
    if changes {
        let fields = changed.iter().filter_map(|(field, changed)| changed.then_some(*field));
        keys::update(call, id, &change, TextArray::new(fields), Caller::of(call));
    }
    // Whether the new values allow less than the old ones is not checked.
    if change.expires_at.is_some() || change.scopes.is_some() || change.allowed_ips.is_some() {
        commit::until_applied();
    }
    let key = list::list_after_change(call, id).ok_or_else(arguments::unknown_key)?;
    if !changes {
        // A driver's null does not say whether it meant "never" or "no limit".
        error::notice(
            "the key was not changed, since every value is null",
            "Null leaves a value as it is. To take one away, pass expires_at => 'infinity', \
             allowed_ips => '{}', scopes => '{}' or metadata => '{}'.",
        );
    }
    Ok(key)
}
