//! What the product knows without a database.
//!
//! The key format, the codes and their HTTP shape, the decision itself, and the limits of what may
//! be stored are plain functions of their arguments. The caches and the usage slots are data
//! structures that the extension places in its memory. The crate does not know PostgreSQL.

/// The answers: statuses, the decision, and the response for HTTP.
pub mod answer {
    pub mod decision;
    pub mod response;
    pub mod status;
}

/// What one session remembers of keys, rows and accounts.
pub mod cache {
    pub mod access;
    pub mod epoch;
    pub mod keys;
    mod table;
    pub mod tids;
}

/// Keys: their format, and how they are found and hidden in a text.
pub mod key {
    pub mod environment;
    pub mod redact;
    pub mod token;
}

/// What a caller sends with a request.
pub mod request {
    pub mod authorization;
    pub mod id;
    pub mod network;
    pub mod scope;
}

/// Uses of keys: in shared memory, in the file of a clean stop, and on their way to the primary.
pub mod usage {
    pub mod exclusive;
    pub mod file;
    pub mod handover;
    #[cfg(all(loom, test))]
    mod interleavings;
    pub mod shared;
    pub mod slots;
    pub mod spin;
}

pub mod encoding;
pub mod error;
pub mod fallible;
pub mod instant;
pub mod privileges;
pub mod random;
pub mod sync;
pub mod uuid;
pub mod validate;
