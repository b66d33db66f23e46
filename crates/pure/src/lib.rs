//! The parts of vibepeak_keys that do not depend on PostgreSQL.
//!
//! The key format, the statuses and their HTTP responses, the decision, and the limits of what may
//! be stored are functions of their arguments. The cache and the usage slots are data structures
//! that the extension places in its memory.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::cast_possible_truncation, clippy::cast_sign_loss))]

/// The answers: statuses, the decision, and the HTTP response.
pub mod answer {
    pub mod decision;
    pub mod response;
    pub mod status;
}

/// The cache of one session: where rows are.
pub mod cache {
    pub mod tids;
}

/// Keys: their format, and how they and their hashes are found and redacted in a text.
pub mod key {
    pub mod environment;
    pub mod find;
    pub mod hash;
    pub mod nodes;
    pub mod redact;
    pub mod token;
}

/// Rate limits and quotas: which apply to a call, what they decide, and what the caller is told.
pub mod limits {
    pub mod applicable;
    pub mod bucket;
    pub mod bucket_set;
    pub mod bucket_sets;
    pub mod by_text;
    pub mod changes;
    pub mod current_quotas;
    pub mod date;
    pub mod grants;
    pub mod header_fields;
    pub mod id;
    #[cfg(all(loom, test))]
    mod interleavings;
    pub mod name;
    pub mod pending_charge;
    pub mod policies;
    pub mod policy;
    pub mod quota_decision;
    pub mod quota_handover;
    pub mod quota_period;
    pub mod quota_set;
    pub mod quota_sets;
    #[cfg(all(test, not(loom)))]
    mod quota_tests;
    pub mod quotas;
    pub mod rate_decision;
    pub mod restart;
    mod sip_hash;
}

/// The values that a caller sends with a request.
pub mod request {
    pub mod authorization;
    pub mod client_ip;
    pub mod id;
    pub mod network;
    pub mod scope;
}

/// Uses of keys: in shared memory, in the usage file, and during a handover to the primary.
pub mod usage {
    pub mod backoff;
    pub mod buckets;
    pub mod claim;
    pub mod file;
    pub mod handover;
    pub mod history;
    #[cfg(all(loom, test))]
    mod interleavings;
    pub mod shared;
    pub mod slot;
    pub mod slots;
    pub mod written;
}

pub mod characters;
pub mod encoding;
pub mod error;
pub mod fallible;
pub mod instant;
pub mod privileges;
pub mod random;
pub mod spin;
pub mod sync;
pub mod uuid;
pub mod validate;
pub mod white_space;
