//! Rate limits and quotas: what applies to a call, and what it says to it.

pub mod quotas;
pub mod used;
