//! Issuing, changing, listing and ending keys.

use pgrx::prelude::*;

use crate::admin::create::{self, IssuedKey, NewKey};
use crate::admin::list::{self, ListFilter, ListedKey};
use crate::admin::update::{self, KeyChange};
use crate::admin::{delete, disable, revoke, rotate};
use crate::pg::call::Call;
use crate::pg::error::OrRaise;
use crate::pg::ffi::guard::passing_errors;
use crate::pg::types::appended::{Appended, also_named};
use crate::pg::types::table::TableIterator;
use crate::pg::types::{CidrArray, Interval, Json, Text, TextArray, Timestamp, Uuid};

/// The columns of a key that was just issued.
type IssuedRow = (Uuid, Text, Text, Text, Text, Text, Text, Timestamp, Option<Timestamp>);

fn issued_row(key: IssuedKey) -> IssuedRow {
    (
        key.id,
        key.token,
        key.name,
        key.account,
        key.environment,
        key.prefix,
        key.hint,
        key.created_at,
        key.expires_at,
    )
}

/// The columns of a key as it is listed.
type ListedRow = (
    Option<Uuid>,
    Option<Text>,
    Option<Text>,
    Option<Text>,
    Option<Text>,
    Option<Text>,
    Option<Timestamp>,
    Option<Timestamp>,
    Option<i64>,
    Option<Timestamp>,
    Option<Timestamp>,
    Option<Text>,
    Option<Uuid>,
    Option<Text>,
    Option<TextArray>,
);

fn listed_row(key: ListedKey) -> ListedRow {
    (
        key.id,
        key.name,
        key.account,
        key.environment,
        key.prefix,
        key.hint,
        key.created_at,
        key.last_used_at,
        key.uses,
        key.expires_at,
        key.revoked_at,
        key.revoke_reason,
        key.rotated_from,
        key.state,
        key.scopes,
    )
}

#[pg_extern(volatile, parallel_unsafe, security_definer, name = "vpk_create")]
#[search_path(pg_catalog, pg_temp)]
#[expect(clippy::too_many_arguments, reason = "an SQL function has as many arguments")]
fn create_once(
    name: Option<Text>,
    account: default!(Option<Text>, "'default'"),
    environment: default!(Option<Text>, "'live'"),
    expires_at: default!(Option<Timestamp>, "NULL"),
    scopes: default!(Option<TextArray>, "'{}'"),
    allowed_ips: default!(Option<CidrArray>, "NULL"),
    metadata: default!(Option<Json>, "'{}'"),
    idempotency_key: default!(Appended<Text, 7>, "NULL"),
    call: Call,
) -> TableIterator<
    'static,
    (
        name!(id, Uuid),
        name!(token, Text),
        name!(name, Text),
        name!(account, Text),
        name!(environment, Text),
        name!(prefix, Text),
        name!(hint, Text),
        name!(created_at, Timestamp),
        name!(expires_at, Option<Timestamp>),
    ),
> {
    passing_errors(|| {
        let new_key = NewKey {
            name,
            account,
            environment,
            expires_at,
            scopes,
            allowed_ips,
            metadata,
            idempotency_key: idempotency_key.0,
        };
        TableIterator::once(&call, issued_row(create::create(&call, &new_key).or_raise()))
    })
}

also_named!(create_once_wrapper, vpk_create_wrapper, pg_finfo_vpk_create_wrapper);

#[pg_extern(volatile, parallel_unsafe, security_definer, name = "vpk_rotate")]
#[search_path(pg_catalog, pg_temp)]
fn rotate_once(
    id: Option<Uuid>,
    grace: default!(Option<Interval>, "'0'"),
    expires_at: default!(Option<Timestamp>, "NULL"),
    idempotency_key: default!(Appended<Text, 3>, "NULL"),
    call: Call,
) -> TableIterator<
    'static,
    (
        name!(id, Uuid),
        name!(token, Text),
        name!(name, Text),
        name!(account, Text),
        name!(environment, Text),
        name!(prefix, Text),
        name!(hint, Text),
        name!(created_at, Timestamp),
        name!(expires_at, Option<Timestamp>),
    ),
> {
    passing_errors(|| {
        TableIterator::once(
            &call,
            issued_row(rotate::rotate(&call, id, grace, expires_at, idempotency_key.0).or_raise()),
        )
    })
}

also_named!(rotate_once_wrapper, vpk_rotate_wrapper, pg_finfo_vpk_rotate_wrapper);

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_revoke(id: Option<Uuid>, reason: default!(Option<Text>, "NULL"), call: Call) -> Timestamp {
    passing_errors(|| revoke::revoke(&call, id, reason).or_raise())
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_revoke_token(
    token: Option<Text>,
    reason: default!(Option<Text>, "NULL"),
    call: Call,
) -> Option<Uuid> {
    passing_errors(|| revoke::revoke_token(&call, token, reason).or_raise())
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_revoke_account(
    account: Option<Text>,
    reason: default!(Option<Text>, "NULL"),
    call: Call,
) -> i64 {
    passing_errors(|| revoke::revoke_account(&call, account, reason).or_raise())
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_disable(id: Option<Uuid>, call: Call) -> Timestamp {
    passing_errors(|| disable::disable(&call, id).or_raise())
}

#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn vpk_enable(id: Option<Uuid>, call: Call) {
    passing_errors(|| {
        disable::enable(&call, id).or_raise();
    })
}

#[pg_extern(volatile, parallel_unsafe, security_definer, name = "vpk_purge")]
#[search_path(pg_catalog, pg_temp)]
fn purge_in_parts(
    before: Option<Timestamp>,
    max_rows: default!(Appended<i32, 1>, "NULL"),
    call: Call,
) -> i64 {
    passing_errors(|| delete::purge(&call, before, max_rows.0).or_raise())
}

also_named!(purge_in_parts_wrapper, vpk_purge_wrapper, pg_finfo_vpk_purge_wrapper);

#[pg_extern(volatile, parallel_unsafe, security_definer, name = "vpk_update")]
#[search_path(pg_catalog, pg_temp)]
fn update_key(
    id: Option<Uuid>,
    name: default!(Option<Text>, "NULL"),
    expires_at: default!(Option<Timestamp>, "NULL"),
    scopes: default!(Option<TextArray>, "NULL"),
    allowed_ips: default!(Option<CidrArray>, "NULL"),
    metadata: default!(Option<Json>, "NULL"),
    call: Call,
) -> TableIterator<
    'static,
    (
        name!(id, Option<Uuid>),
        name!(name, Option<Text>),
        name!(account, Option<Text>),
        name!(environment, Option<Text>),
        name!(prefix, Option<Text>),
        name!(hint, Option<Text>),
        name!(created_at, Option<Timestamp>),
        name!(last_used_at, Option<Timestamp>),
        name!(uses, Option<i64>),
        name!(expires_at, Option<Timestamp>),
        name!(revoked_at, Option<Timestamp>),
        name!(revoke_reason, Option<Text>),
        name!(rotated_from, Option<Uuid>),
        name!(state, Option<Text>),
        name!(scopes, Option<TextArray>),
    ),
> {
    passing_errors(|| {
        let change = KeyChange { name, expires_at, scopes, allowed_ips, metadata };
        TableIterator::once(&call, listed_row(update::update(&call, id, &change).or_raise()))
    })
}

also_named!(update_key_wrapper, vpk_update_wrapper, pg_finfo_vpk_update_wrapper);

#[pg_extern(volatile, parallel_unsafe, security_definer, name = "vpk_list")]
#[search_path(pg_catalog, pg_temp)]
fn list_keys(
    account: default!(Option<Text>, "NULL"),
    id: default!(Option<Uuid>, "NULL"),
    after: default!(Option<Uuid>, "NULL"),
    max_rows: default!(Option<i32>, "NULL"),
    state: default!(Appended<Text, 4>, "NULL"),
    call: Call,
) -> TableIterator<
    'static,
    (
        name!(id, Option<Uuid>),
        name!(name, Option<Text>),
        name!(account, Option<Text>),
        name!(environment, Option<Text>),
        name!(prefix, Option<Text>),
        name!(hint, Option<Text>),
        name!(created_at, Option<Timestamp>),
        name!(last_used_at, Option<Timestamp>),
        name!(uses, Option<i64>),
        name!(expires_at, Option<Timestamp>),
        name!(revoked_at, Option<Timestamp>),
        name!(revoke_reason, Option<Text>),
        name!(rotated_from, Option<Uuid>),
        name!(state, Option<Text>),
        name!(scopes, Option<TextArray>),
    ),
> {
    passing_errors(|| {
        let filter = ListFilter { account, id, after, max_rows, state: state.0 };
        let keys = list::list(&call, filter).or_raise();
        TableIterator::new(&call, keys.into_iter().map(listed_row))
    })
}

also_named!(list_keys_wrapper, vpk_list_wrapper, pg_finfo_vpk_list_wrapper);
