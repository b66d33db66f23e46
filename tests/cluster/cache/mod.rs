//! What a session remembers of keys, accounts and plans never changes an answer: each file changes
//! the tables in another way, and compares every answer with that of the rows.

mod access_methods;
mod buffers;
mod cached_tids;
mod changed_tables;
mod databases;
mod load;
mod middle_of_a_statement;
mod parallel_workers;
mod plans;
mod random_changes;
mod restores;
mod rewrites;
mod same_cost;
mod standbys;
mod transactions;
mod updates;

use crate::support::Cluster;
use crate::support::usage::start_flushing_hourly;

/// A server where nothing but the test looks at the tables or vacuums them.
fn cluster() -> Cluster {
    cluster_with(&[])
}

/// The same, with further settings.
fn cluster_with(settings: &[(&str, &str)]) -> Cluster {
    start_flushing_hourly(&[&[("autovacuum", "off"), ("lock_timeout", "10min")], settings].concat())
}
