//! Issuing a key.

use pure::error::CallError;
use pure::key::environment::Environment;
use pure::key::token::Token;
use pure::validate;

use super::arguments::{self, caller, required};
use crate::pg::call::Call;
use crate::pg::server::{clock, random};
use crate::pg::types::{Bytes, CidrArray, Json, SqlValue, Text, TextArray, Timestamp, Uuid};
use crate::store::create as store;

/// A key that was just made: the only place where its token is.
pub struct IssuedKey {
    pub id: Uuid,
    pub token: Text,
    pub name: Text,
    pub account: Text,
    pub environment: Text,
    pub prefix: Text,
    pub hint: Text,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

impl IssuedKey {
    /// Draws a key of this name; it is not stored yet. The token itself comes beside it, to be hashed.
    pub(super) fn draw(
        call: &Call,
        environment: Environment,
        name: Text,
        account: Text,
        expires_at: Option<Timestamp>,
    ) -> (IssuedKey, Token) {
        let token = random::draw_token(environment);
        let created_at = clock::now();
        let issued = IssuedKey {
            id: random::uuid_v7(call, created_at),
            token: Text::new(call, token.as_str().as_bytes()),
            name,
            account,
            environment: Text::new(call, environment.name().as_bytes()),
            prefix: Text::new(call, token.prefix().as_bytes()),
            hint: Text::new(call, token.hint().as_bytes()),
            created_at,
            expires_at,
        };
        (issued, token)
    }
}

/// What a key is to be like, as the caller asked.
pub struct NewKey {
    pub name: Option<Text>,
    pub account: Option<Text>,
    pub environment: Option<Text>,
    pub expires_at: Option<Timestamp>,
    pub scopes: Option<TextArray>,
    pub allowed_ips: Option<CidrArray>,
    pub metadata: Option<Json>,
}

/// Makes a key, and an event that says so.
pub fn create(call: &Call, new_key: &NewKey) -> Result<IssuedKey, CallError> {
    let name = arguments::checked_name(call, required("name", new_key.name)?)?;
    let account = required("account", new_key.account)?;
    let account_name = arguments::checked_account(call, account)?;
    let environment = required("environment", new_key.environment)?;
    let environment = validate::environment(environment.bytes(call))?;
    let checked = |expires_at| arguments::checked_expiry(expires_at, "Leave it out");
    let expires_at = new_key.expires_at.map(checked).transpose()?.flatten();
    let scopes = arguments::checked_scopes(call, required("scopes", new_key.scopes)?)?;
    let allowed_ips = new_key
        .allowed_ips
        .map(|list| arguments::checked_networks(call, list))
        .transpose()?
        .flatten();
    let metadata = arguments::checked_metadata(required("metadata", new_key.metadata)?)?;

    let (issued, token) = IssuedKey::draw(call, environment, name, account, expires_at);
    let [role, session_role] = caller(call);
    let created = store::issue(
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
    Err(arguments::unknown_account(account_name)
        .hint("Use vpk_set_plan(account, plan) to create an account."))
}
