//! The SQL functions: each parses its arguments, calls one function, and shapes the result.
//!
//! Callers rely on their names, arguments and result columns. Functions on the verification path
//! are not SECURITY DEFINER and have no SET clause (each costs about a microsecond). Functions that
//! run SQL have both, so the caller's search_path cannot affect them. Those that grant, and
//! `vpk_charge`, check their caller and have the latter only.

#![expect(
    clippy::type_complexity,
    reason = "#[pg_extern] reads the columns of a function from its result type, not from an alias"
)]

mod accounts;
mod doctor;
mod events;
mod keys;
mod limits;
mod quotas;
mod rate_limit_state;
mod roles;
mod tasks;
mod usage;
mod verify;
