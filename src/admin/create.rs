//! Issuing a key.

use super::{IssuedKey, caller, required};
use crate::pg::call::Call;
use crate::pg::types::{Bytes, CidrArray, Json, SqlValue, Text, TextArray, Timestamp};
use crate::pure::limits;
use crate::pure::misuse::Misuse;
use crate::store::issue;

/// What a key is to be like, as the caller asked.
pub struct Wish {
    pub name: Option<Text>,
    pub account: Option<Text>,
    pub environment: Option<Text>,
    pub expires_at: Option<Timestamp>,
    pub scopes: Option<TextArray>,
    pub allowed_ips: Option<CidrArray>,
    pub metadata: Option<Json>,
}

/// Makes a key, and an event that says so.
pub fn create(call: &Call, wish: &Wish) -> Result<IssuedKey, Misuse> {
    let name = super::checked_name(call, required("name", wish.name)?)?;
    let account = required("account", wish.account)?;
    let account_name = super::checked_account(call, account)?;
    let environment = required("environment", wish.environment)?;
    let environment = limits::environment(environment.bytes(call))?;
    let checked = |expires_at| super::checked_expiry(expires_at, "Leave it out");
    let expires_at = wish.expires_at.map(checked).transpose()?.flatten();
    let scopes = super::checked_scopes(call, required("scopes", wish.scopes)?)?;
    let allowed_ips =
        wish.allowed_ips.map(|list| super::checked_networks(call, list)).transpose()?.flatten();
    let metadata = super::checked_metadata(required("metadata", wish.metadata)?)?;

    let (issued, token) = IssuedKey::draw(call, environment, name, account, expires_at);
    let [role, session_role] = caller(call);
    let created = issue::issue(
        call,
        &[
            Some(issued.id.datum()),
            Some(Bytes::new(call, &token.hash()).datum()),
            Some(issued.account.datum()),
            Some(issued.environment.datum()),
            Some(issued.name.datum()),
            Some(issued.prefix.datum()),
            Some(issued.hint.datum()),
            Some(issued.created_at.datum()),
            issued.expires_at.map(Timestamp::datum),
            Some(scopes.datum()),
            allowed_ips.map(CidrArray::datum),
            Some(metadata.datum()),
            role,
            session_role,
        ],
        account_name,
    );
    if created {
        return Ok(issued);
    }
    Err(super::unknown_account(account_name)
        .hint("Use vpk_set_plan(account, plan) to create an account."))
}
