//! Limits: of what an application names itself, and what becomes of their buckets.

mod answers;
mod identifiers;
mod rates;
mod restarts;
