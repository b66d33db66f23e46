//! The tables: the only module that knows them and speaks SQL.
//!
//! Each function runs a statement or a few, takes typed arguments and returns typed rows.
//! Statements are private. A column is read by its number only beside the statement that selects
//! it. Nothing is decided here.

/// The text of a statement, put together from string literals and macros that expand to literals.
macro_rules! sql {
    ($($part:tt)*) => {
        const {
            match core::ffi::CStr::from_bytes_with_nul(concat!($($part)*, "\0").as_bytes()) {
                Ok(text) => text,
                Err(_) => panic!("a statement contains a null character"),
            }
        }
    };
}

pub mod accounts;
mod columns;
pub mod create;
pub mod doctor;
pub mod events;
pub mod history;
pub mod keys;
pub mod leases;
pub mod limits;
pub mod list;
pub mod listing;
pub mod lookup;
pub mod quotas;
pub mod rate_limits;
pub mod roles;
pub mod rotate;
pub mod usage;
