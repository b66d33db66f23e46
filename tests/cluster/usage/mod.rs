//! Uses are counted once each: how they are flushed to `vpk.key_usage`, what delays them, what
//! survives a restart, and how a standby hands them over.

mod added;
mod databases;
mod flush;
pub mod handover;
mod history;
mod restarts;
mod rewrites;
mod tables;
