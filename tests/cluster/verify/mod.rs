//! What verification promises its callers: the answer is that of the last committed change, no
//! input raises an error, nothing is written, and poolers, encodings and parallel plans change none
//! of that.

mod encodings;
mod never_raises;
mod parallel;
mod poolers;
mod revocation;
mod server_errors;
mod writes_nothing;
