//! Limits: of what an application names itself, and what becomes of their buckets.

mod answers;
mod identifiers;
mod quotas;
mod rates;
mod restarts;
