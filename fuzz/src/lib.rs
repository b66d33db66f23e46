//! What the fuzz targets share: a second opinion on the format of keys.

pub mod model;
