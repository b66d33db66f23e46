//! Management of keys, accounts and roles. Each function checks its arguments, calls the store, and
//! explains why where the store found nothing to do.
//!
//! A call that withdraws access waits at its commit for the synchronous standbys: a revocation, a
//! rotation, a disabling, a deletion, another plan, and a change to a key's scopes, networks or
//! expiry. A call that gives access does not wait. Neither does a purge, whose keys were refused
//! before.

pub mod accounts;
pub mod actor;
mod arguments;
pub mod create;
pub mod delete;
pub mod disable;
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
