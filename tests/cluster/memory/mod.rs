//! The memory of sessions and of the background workers stays within bounds, however long they run.

mod sessions;
mod workers;
