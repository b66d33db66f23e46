//! A key's life: made, changed, replaced, ended. Every function checks what it is given, runs one
//! statement of the store, and tells what was wrong where it did nothing.
//!
//! Whatever takes a right away waits at its commit for the synchronous standbys: a revocation, a
//! rotation, a disabling, a deletion, another plan, and a change of what a key may do and until when.
//! What gives a right does not, and neither does a purge, whose keys were refused before.

pub mod accounts;
pub mod create;
pub mod grants;
pub mod list;
pub mod retire;
pub mod rotate;
pub mod update;

use crate::pg::call::Call;
use crate::pg::spi::Rows;
use crate::pg::text::ServerEncoding;
use crate::pg::types::{CidrArray, Json, SqlValue, Text, TextArray, Timestamp, Uuid};
use crate::pg::{clock, entropy, roles};
use crate::pure::limits;
use crate::pure::misuse::{Misuse, quoted};
use crate::pure::token::{Environment, Token};
use crate::store::usage;

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
    fn draw(
        call: &Call,
        environment: Environment,
        name: Text,
        account: Text,
        expires_at: Option<Timestamp>,
    ) -> (IssuedKey, Token) {
        let token = entropy::token(environment);
        let created_at = clock::now();
        let issued = IssuedKey {
            id: entropy::uuid_v7(call, created_at),
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

/// The number of keys that a statement has removed, the first column of its row; their ids are the
/// second. What is known of their uses goes too.
fn forget_uses(call: &Call, removed: &Rows) -> i64 {
    let Some(row) = removed.first() else { return 0 };
    if let Some(ids) = row.parameter(1) {
        usage::FORGET.write(call, &[Some(ids)]);
    }
    row.bigint(0).unwrap_or(0)
}

/// The value of an argument that must be there.
fn required<T>(what: &str, value: Option<T>) -> Result<T, Misuse> {
    value.ok_or_else(|| {
        Misuse::invalid(format!("{what} must not be null")).hint(format!(
            "Pass a value for {what}, or leave the argument out if it has a default."
        ))
    })
}

fn checked_name(call: &Call, name: Text) -> Result<Text, Misuse> {
    limits::name(name.bytes(call), &ServerEncoding).map(|name| Text::new(call, name))
}

fn checked_account(call: &Call, account: Text) -> Result<&[u8], Misuse> {
    let name = account.bytes(call);
    limits::account(name, &ServerEncoding).map(|()| name)
}

fn checked_scopes(call: &Call, scopes: TextArray) -> Result<TextArray, Misuse> {
    limits::scopes(scopes.elements(call)).map(|()| scopes)
}

/// The list, or None where it is empty, which is no limit.
fn checked_networks(call: &Call, networks: CidrArray) -> Result<Option<CidrArray>, Misuse> {
    let listed = networks.networks(call);
    limits::networks(listed).map(|()| (!listed.is_empty()).then_some(networks))
}

fn checked_metadata(metadata: Json) -> Result<Json, Misuse> {
    limits::metadata(&metadata.text()).map(|()| metadata)
}

/// An end that lies ahead; `infinity` is none. What else stands for none, the hint says.
fn checked_expiry(expires_at: Timestamp, none: &str) -> Result<Option<Timestamp>, Misuse> {
    if expires_at.micros() <= clock::now().micros() {
        return Err(Misuse::invalid("expires_at must be in the future").hint(format!(
            "{none} for a key that does not expire; use vpk_revoke to end a key now."
        )));
    }
    Ok((!expires_at.is_infinity()).then_some(expires_at))
}

/// The same in place of an end that a key may have.
fn checked_new_expiry(expires_at: Timestamp) -> Result<Option<Timestamp>, Misuse> {
    checked_expiry(expires_at, "Use 'infinity'")
}

/// A reason as it may be kept.
fn kept_reason(call: &Call, reason: Option<Text>) -> Option<Text> {
    limits::reason(reason?.bytes(call), &ServerEncoding).map(|reason| Text::new(call, &reason))
}

/// The calling roles, as parameters of a statement that records an event.
fn caller(call: &Call) -> [crate::pg::spi::Parameter; 2] {
    [Some(roles::outer(call).datum()), Some(roles::session(call).datum())]
}

fn unknown_key() -> Misuse {
    Misuse::invalid("there is no API key with this id")
        .hint("vpk_list() shows the ids of all keys.")
}

/// A hint on an account that was expected to be there.
const SEE_ACCOUNTS: &str = "Names are case-sensitive. vpk.accounts lists them.";

fn unknown_account(name: &[u8]) -> Misuse {
    Misuse::invalid(format!("account {} does not exist", quoted(name)))
}
