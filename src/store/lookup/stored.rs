//! Keys and plans as the tables have them: plain data in the call's memory.
//!
//! Everything here is unguarded: see [`crate::pg::ffi::unguarded`].

use pgrx::pg_sys::AttrNumber;
use pure::key::environment::Environment;
use pure::request::network::Network;

use crate::pg::call::Call;
use crate::pg::read::tuple::Tuple;
use crate::pg::types::{Json, Text, TextArray};
use crate::store::columns;

/// What a row says of limits, as text; None where nothing is set.
#[derive(Clone, Copy, Default)]
pub struct Texts<'call> {
    /// Its rate limits.
    pub rate_limits: Option<&'call [u8]>,
    /// Its quotas.
    pub quotas: Option<&'call [u8]>,
    /// What was granted beyond the quotas, to an account.
    pub quota_grants: Option<&'call [u8]>,
}

impl<'call> Texts<'call> {
    /// Reads the columns of vpk.keys. None where nothing is set, as in most rows.
    #[inline(always)]
    pub(super) fn of_key(call: &'call Call, tuple: &Tuple) -> Option<Texts<'call>> {
        use columns::keys::*;
        Texts::read(call, tuple, [RATE_LIMITS, QUOTAS])
    }

    /// Those of vpk.accounts.
    #[inline(always)]
    pub(super) fn of_account(call: &'call Call, tuple: &Tuple) -> Option<Texts<'call>> {
        use columns::accounts::*;
        Texts::read(call, tuple, [RATE_LIMITS, QUOTAS, QUOTA_GRANTS])
    }

    /// Those of vpk.plans.
    #[inline(always)]
    pub(super) fn of_plan(call: &'call Call, tuple: &Tuple) -> Option<Texts<'call>> {
        use columns::plans::*;
        Texts::read(call, tuple, [RATE_LIMITS, QUOTAS])
    }

    /// The columns of a row, in the order of the fields. None where none is set.
    #[inline(always)]
    fn read<const N: usize>(
        call: &'call Call,
        tuple: &Tuple,
        columns: [AttrNumber; N],
    ) -> Option<Texts<'call>> {
        tuple.may_have(columns[0]).then(|| Texts::kept(call, tuple, &columns))?
    }

    /// The same of a row of which one may be set, in the call's memory.
    #[inline(never)]
    fn kept(call: &'call Call, tuple: &Tuple, columns: &[AttrNumber]) -> Option<Texts<'call>> {
        let mut texts = [None; 3];
        // Not `map`: it would leave a clean-up above a call of the server.
        for (text, column) in texts.iter_mut().zip(columns) {
            *text = tuple.text(*column).map(|text| text.bytes());
        }
        if texts == [None; 3] {
            return None;
        }
        let copies = call.copy_parts_unguarded(texts.map(Option::unwrap_or_default));
        let copy = |at: usize| texts[at].map(|_| copies[at]);
        Some(Texts { rate_limits: copy(0), quotas: copy(1), quota_grants: copy(2) })
    }
}

/// What a plan, an account and a key say of limits.
#[derive(Clone, Copy, Default)]
pub struct Limits<'call> {
    /// The account's plan.
    pub plan: Texts<'call>,
    /// The account.
    pub account: Texts<'call>,
    /// The key.
    pub key: Texts<'call>,
}

/// The columns of a stored key that an answer depends on. The details, which only a full answer
/// contains, are read only for such an answer.
#[derive(Clone, Copy)]
pub struct StoredKey<'call> {
    /// The id of the key: the bytes of a UUID.
    pub id: [u8; 16],
    /// The account that owns the key.
    pub account: Text,
    /// The environment of the key; None is one that this library does not know.
    pub environment: Option<Environment>,
    /// Whether the key was revoked.
    pub revoked: bool,
    /// Whether the key is disabled.
    pub disabled: bool,
    /// When the key expires, in microseconds since 2000-01-01 UTC; None is never.
    pub expires_at: Option<i64>,
    /// The networks that the key may be used from; None is no limit.
    pub allowed_ips: Option<&'call [Network]>,
    /// The rest of the key, where it was asked for.
    pub details: Option<Details>,
}

impl<'call> StoredKey<'call> {
    /// Reads a row of vpk.keys. None where a column is null that must not be.
    pub(super) fn read(
        call: &'call Call,
        tuple: &Tuple,
        with_details: bool,
    ) -> Option<StoredKey<'call>> {
        use columns::keys::*;
        let details = match with_details {
            true => Some(Details::read(call, tuple)?),
            false => None,
        };
        Some(StoredKey {
            id: tuple.uuid(ID)?,
            account: tuple.text(ACCOUNT)?.kept(call),
            environment: tuple
                .text(ENVIRONMENT)
                .and_then(|name| Environment::from_name(name.bytes())),
            revoked: tuple.has(REVOKED_AT),
            disabled: tuple.has(DISABLED_AT),
            expires_at: tuple.timestamp(EXPIRES_AT).map(|expires_at| expires_at.micros()),
            // A null among the networks matches no address.
            allowed_ips: tuple.cidr_array(ALLOWED_IPS).map(|networks| {
                let networks = networks.networks(call);
                &*call.keep_unguarded(networks.iter().filter_map(|network| *network))
            }),
            details,
        })
    }

    /// Whether a row of vpk.keys has this hash.
    pub(super) fn has_hash(tuple: &Tuple, hash: &[u8]) -> bool {
        tuple.bytea(columns::keys::KEY_HASH).is_some_and(|stored| stored.bytes() == hash)
    }
}

/// The rest of a stored key.
#[derive(Clone, Copy)]
pub struct Details {
    /// What the key is called.
    pub name: Text,
    /// What the key may be used for.
    pub scopes: TextArray,
    /// What the application keeps with the key.
    pub metadata: Json,
}

impl Details {
    fn read(call: &Call, tuple: &Tuple) -> Option<Details> {
        use columns::keys::*;
        Some(Details {
            name: tuple.text(NAME)?.kept(call),
            scopes: tuple.text_array(SCOPES)?.kept(call),
            metadata: tuple.json(METADATA)?.kept(call),
        })
    }
}

/// A plan.
#[derive(Clone, Copy, Default)]
pub struct Plan<'call> {
    /// Its name, in the server's encoding.
    pub plan: &'call [u8],
    /// Whether keys of accounts on this plan are accepted.
    pub api_access: bool,
    /// How many tasks of an account may run at once; None is no limit.
    pub concurrent_tasks: Option<i32>,
    /// The order of the plans in messages, lowest first.
    pub rank: i32,
}

impl<'call> Plan<'call> {
    /// Reads a row of vpk.plans. None where its name is null.
    pub(super) fn read(call: &'call Call, tuple: &Tuple) -> Option<Plan<'call>> {
        use columns::plans::*;
        Some(Plan {
            plan: tuple.text(columns::NAME)?.kept(call).bytes_unguarded(call),
            api_access: tuple.is(API_ACCESS),
            concurrent_tasks: tuple.integer(CONCURRENT_TASKS),
            rank: tuple.integer(RANK).unwrap_or(i32::MAX),
        })
    }
}
