//! No key can be read in the server's log, in the views of activity, or in an answer.

mod activity;
mod answers;
mod broken;
mod hashes;
mod literals;
mod plan_cache;
mod replication;
mod stacks;
mod statements;
mod trees;
mod user_and_database;
