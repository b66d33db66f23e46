//! Tests with a real client on servers of their own; `make test-cluster` runs them.

mod docs;
mod dumps;
mod encodings;
mod issuing;
mod never_raises;
mod parallel;
mod redaction;
mod redaction_activity;
mod redaction_answers;
mod redaction_statements;
mod released;
mod replicas;
mod revocation;
mod server_errors;
mod support;
mod tasks;
mod writes_nothing;
