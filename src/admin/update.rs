//! Changing what a key is called and may do.

use pure::error::CallError;

use super::arguments::{self, caller, required};
use super::list::{self, Listed};
use crate::pg::call::Call;
use crate::pg::sql::commit;
use crate::pg::types::{CidrArray, Json, SqlValue, Text, TextArray, Timestamp, Uuid};
use crate::store::keys;

/// What is to change; None leaves a field as it is.
pub struct Change {
    pub name: Option<Text>,
    /// `infinity` takes the expiry away.
    pub expires_at: Option<Timestamp>,
    pub scopes: Option<TextArray>,
    /// An empty list takes the limit away.
    pub allowed_ips: Option<CidrArray>,
    pub metadata: Option<Json>,
}

/// Changes a key, with an event that names the changed fields, and returns it as it is then listed.
pub fn update(call: &Call, id: Option<Uuid>, change: &Change) -> Result<Listed, CallError> {
    let id = required("id", id)?;
    let name = change.name.map(|name| arguments::checked_name(call, name)).transpose()?;
    change.expires_at.map(arguments::checked_new_expiry).transpose()?;
    change.scopes.map(|scopes| arguments::checked_scopes(call, scopes)).transpose()?;
    change.allowed_ips.map(|list| arguments::checked_networks(call, list)).transpose()?;
    change.metadata.map(arguments::checked_metadata).transpose()?;

    let changed = [
        ("name", name.is_some()),
        ("expires_at", change.expires_at.is_some()),
        ("scopes", change.scopes.is_some()),
        ("allowed_ips", change.allowed_ips.is_some()),
        ("metadata", change.metadata.is_some()),
    ];
    if changed.iter().any(|(_, changed)| *changed) {
        let changed = changed.iter().filter_map(|(field, changed)| changed.then_some(*field));
        let [role, session_role] = caller(call);
        keys::UPDATE.write(
            call,
            &[
                Some(id.datum()),
                name.map(Text::datum),
                change.expires_at.map(Timestamp::datum),
                change.scopes.map(TextArray::datum),
                change.allowed_ips.map(CidrArray::datum),
                change.metadata.map(Json::datum),
                Some(TextArray::new(changed).datum()),
                role,
                session_role,
            ],
        );
    }
    // Whether they allow less than before is not looked at.
    if change.expires_at.is_some() || change.scopes.is_some() || change.allowed_ips.is_some() {
        commit::until_applied();
    }
    list::one_after_change(call, id).ok_or_else(arguments::unknown_key)
}
