//! Which rows a look-up sees.

/// What a look-up sees of the tables. Two that are equal are the same rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// The number of the snapshot.
    pub snapshot: u64,
    /// The number of what is known of the tables: where their rows are.
    pub relations: u64,
}
