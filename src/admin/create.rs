//! Issuing a key.

use pure::error::CallError;
use pure::key::environment::Environment;
use pure::key::token::Token;
use pure::validate;

use super::arguments::{self, required};
use super::errors;
use super::request;
use crate::pg::call::Call;
use crate::pg::server::{clock, random};
use crate::pg::types::{Bytes, CidrArray, Json, Text, TextArray, Timestamp, Uuid};
use crate::store::accounts;
use crate::store::create::{self as store, NewRow};
use crate::store::events::Caller;

/// A key that was just issued. Nothing else contains its token.
pub struct IssuedKey {
    /// Identifies the key.
    pub id: Uuid,
    /// The full text of the key.
    pub token: Text,
    /// What the key is called.
    pub name: Text,
    /// The account that owns the key.
    pub account: Text,
    /// The name of its environment.
    pub environment: Text,
    /// The first 8 characters of the token.
    pub prefix: Text,
    /// The first 13 characters of the token.
    pub hint: Text,
    /// When the key was issued.
    pub created_at: Timestamp,
    /// When the key expires; None is never.
    pub expires_at: Option<Timestamp>,
}

impl IssuedKey {
    /// Draws the token and the id of a new key, which is not stored yet. Also returns the token,
    /// for its hash.
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

/// The arguments that describe a key to issue, unchecked; None is null.
pub struct NewKey {
    /// What to call the key.
    pub name: Option<Text>,
    /// The account that will own it.
    pub account: Option<Text>,
    /// The name of its environment.
    pub environment: Option<Text>,
    /// When it expires; null and `infinity` are never.
    pub expires_at: Option<Timestamp>,
    /// What it may be used for.
    pub scopes: Option<TextArray>,
    /// The networks that it may be used from; null and an empty list are no limit.
    pub allowed_ips: Option<CidrArray>,
    /// What the application keeps with it.
    pub metadata: Option<Json>,
    /// The name of the request, which issues one key within a day; null is no name.
    pub idempotency_key: Option<Text>,
}

/// Issues a key, with an event.
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

    let idempotency_key = request::checked(call, new_key.idempotency_key)?;
    request::check_not_answered(call, account, idempotency_key)?;

    let (mut issued, token) = IssuedKey::draw(call, environment, name, account, expires_at);
    let mut row = NewRow {
        id: issued.id,
        key_hash: Bytes::new(call, &token.hash()),
        account: issued.account,
        environment: issued.environment,
        name: issued.name,
        prefix: issued.prefix,
        hint: issued.hint,
        created_at: issued.created_at,
        expires_at: issued.expires_at,
        scopes,
        allowed_ips,
        metadata,
        idempotency_key,
    };
    if store::insert(call, &row, Caller::of(call)) {
        return Ok(issued);
    }
    if let Some(stored) = arguments::stored_account(call, account, accounts::exists) {
        row.account = stored;
        issued.account = stored;
        if store::insert(call, &row, Caller::of(call)) {
            return Ok(issued);
        }
    }
    Err(errors::unknown_account(account_name)
        .hint("Use vpk_set_plan(account, plan) to create an account."))
}
