//! Instants, as every part of the crate measures them.

/// An instant: microseconds since 2000-01-01 00:00:00 UTC, as in PostgreSQL's `timestamptz`
/// (src/include/datatype/timestamp.h).
pub type Micros = i64;
