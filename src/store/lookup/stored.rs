//! Keys and plans as the tables have them: plain data in the call's memory.
//!
//! Everything here is unguarded: see [`crate::pg::ffi::unguarded`].

use pgrx::pg_sys::AttrNumber;

use pure::key::environment::Environment;
use pure::request::network::Network;

use super::columns;
use crate::pg::call::Call;
use crate::pg::read::tuple::Tuple;
use crate::pg::types::{Bytes, CidrArray, Json, SqlValue, Text, TextArray, Timestamp, Uuid};

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
    pub details: Option<Details<'call>>,
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
            id: Uuid::from_raw(tuple.get(ID)?).to_bytes(),
            account: Text::from_raw(tuple.get(ACCOUNT)?).kept(call),
            environment: tuple.get(ENVIRONMENT).and_then(|datum| {
                Environment::from_name(Text::from_raw(datum).bytes_unguarded(call))
            }),
            revoked: tuple.get(REVOKED_AT).is_some(),
            disabled: tuple.get(DISABLED_AT).is_some(),
            expires_at: tuple.get(EXPIRES_AT).map(|datum| Timestamp::from_raw(datum).micros()),
            // A null among the networks matches no address.
            allowed_ips: tuple.get(ALLOWED_IPS).map(|datum| {
                let networks = CidrArray::from_raw(datum).networks_unguarded(call);
                &*call.keep(networks.iter().filter_map(|network| *network))
            }),
            details,
        })
    }

    /// Whether a row of vpk.keys has this hash.
    pub(super) fn has_hash(call: &Call, tuple: &Tuple, hash: &[u8]) -> bool {
        tuple
            .get(columns::keys::KEY_HASH)
            .is_some_and(|stored| Bytes::from_raw(stored).bytes_unguarded(call) == hash)
    }
}

/// The rest of a stored key.
#[derive(Clone, Copy)]
pub struct Details<'call> {
    /// What the key is called.
    pub name: Text,
    /// What the key may be used for.
    pub scopes: &'call [&'call [u8]],
    /// The same scopes as an SQL value.
    pub scopes_array: TextArray,
    /// What the application keeps with the key.
    pub metadata: Json,
}

impl<'call> Details<'call> {
    fn read(call: &'call Call, tuple: &Tuple) -> Option<Details<'call>> {
        use columns::keys::*;
        let scopes_array = TextArray::from_raw(tuple.get(SCOPES)?).kept(call);
        let scopes = scopes_array.elements_unguarded(call);
        Some(Details {
            name: Text::from_raw(tuple.get(NAME)?).kept(call),
            scopes: call.keep(scopes.iter().filter_map(|scope| *scope)),
            scopes_array,
            metadata: Json::from_raw(tuple.get(METADATA)?).kept(call),
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
        let integer = |column| tuple.get(column).map(|datum| datum.value() as i32);
        Some(Plan {
            plan: Text::from_raw(tuple.get(columns::NAME)?).kept(call).bytes_unguarded(call),
            api_access: is_true(tuple, API_ACCESS),
            concurrent_tasks: integer(CONCURRENT_TASKS),
            rank: integer(RANK).unwrap_or(i32::MAX),
        })
    }
}

/// A column of type `boolean`, null as false.
pub(super) fn is_true(tuple: &Tuple, column: AttrNumber) -> bool {
    tuple.get(column).is_some_and(|datum| datum.value() as u8 != 0)
}
