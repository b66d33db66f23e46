//! What the product knows without a database.
//!
//! Nothing in here knows of PostgreSQL: the key format, the codes and their HTTP shape, the decision
//! itself, and the limits of what may be stored. Everything is a plain function of its arguments,
//! tested by plain unit and property tests.

pub mod access;
pub mod address;
pub mod bearer;
pub mod decision;
pub mod encoding;
pub mod entropy;
pub mod handover;
pub mod ledger;
pub mod limits;
pub mod mask;
pub mod misuse;
pub mod places;
pub mod response;
pub mod rights;
pub mod room;
pub mod seen;
pub mod slots;
pub mod status;
pub mod token;
pub mod usage_file;
pub mod uuid;
pub mod view;
