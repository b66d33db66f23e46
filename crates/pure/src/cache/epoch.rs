//! The epoch of a look-up: which rows it could see.

/// Identifies what a look-up could see. Equal epochs mean identical rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// The number of the snapshot.
    pub snapshot: u64,
    /// The number of invalidations of the cached table files.
    pub relations: u64,
}
