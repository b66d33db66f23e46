//! Keys on standbys, on logical subscribers, and across a failover.

mod failover;
mod logical_replication;
mod patroni;
mod standbys;
mod synchronous;
