//! Limits: of what an application names itself, and what becomes of their buckets.

mod identifiers;
mod restarts;
