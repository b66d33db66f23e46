//! The SQL functions: each takes its arguments apart, calls one function, and shapes the result.
//!
//! Their names, arguments and result columns are final. What reads on the way to an answer is neither
//! SECURITY DEFINER nor has it a SET clause (both cost a microsecond); what runs SQL is and has both,
//! so that a caller's search_path bends nothing.

mod accounts;
mod doctor;
mod keys;
mod roles;
mod tasks;
mod usage;
mod verify;
