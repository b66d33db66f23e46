//! What the fuzz targets share: the pure modules, as the extension has them but without PostgreSQL,
//! and a second opinion on them.

pub mod model;
#[path = "../../src/pure/mod.rs"]
pub mod pure;
