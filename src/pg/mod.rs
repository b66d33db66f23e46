//! The boundary to the server: the only place with `unsafe`.
//!
//! What leaves this folder is safe to call from an SQL function's body, on the backend's only thread.

#![allow(unsafe_code)]

pub mod array;
pub mod call;
pub mod catalog;
pub mod clock;
pub mod entropy;
pub mod isolation;
pub mod json;
pub mod labels;
pub mod lock;
pub mod majors;
pub mod report;
pub mod roles;
pub mod scan;
pub mod settings;
pub mod snapshot;
pub mod spi;
pub mod text;
pub mod types;
pub mod unguarded;

/// What the library does when a process loads it: the postmaster, or a backend at its first call.
pub fn load() {
    settings::define();
    catalog::watch();
    labels::watch();
}
