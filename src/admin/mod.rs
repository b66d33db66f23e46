//! A key's life: made, changed, replaced, ended. Every function checks what it is given, runs one
//! statement of the store, and tells what was wrong where it did nothing.
//!
//! Whatever takes a right away waits at its commit for the synchronous standbys: a revocation, a
//! rotation, a disabling, a deletion, another plan, and a change of what a key may do and until when.
//! What gives a right does not, and neither does a purge, whose keys were refused before.

pub mod accounts;
mod arguments;
pub mod create;
pub mod delete;
pub mod disable;
pub mod list;
pub mod revoke;
pub mod roles;
pub mod rotate;
pub mod update;
