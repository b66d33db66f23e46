//! Management of keys, accounts and roles. Each function checks its arguments, calls the store, and
//! explains why where the store found nothing to do.
//!
//! A call that can withdraw access waits at its commit for the synchronous standbys: a revocation,
//! a rotation, a disabling, a deletion, another plan or limit, a grant of less than 0, and a change
//! to a key's scopes, networks or expiry. Other calls do not wait, nor does a purge: its keys were
//! refused before.

pub mod accounts;
pub mod actor;
mod arguments;
pub mod create;
pub mod delete;
pub mod disable;
mod errors;
pub mod limits;
pub mod list;
pub mod quotas;
pub mod rate_limit_state;
mod request;
pub mod revoke;
pub mod roles;
pub mod rotate;
pub mod update;
pub mod usage;
