//! The part that the fuzz targets share: a second implementation of the format of keys.

pub mod model;
