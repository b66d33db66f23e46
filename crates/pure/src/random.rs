//! Randomness, straight from the operating system.
//!
//! No generator of our own stands between: the library is loaded in the postmaster, and state that
//! was seeded before a fork would make two backends issue the same key.

use rand::TryRng;
use rand::rngs::SysRng;

/// The operating system gave no random bytes.
#[derive(Debug)]
pub struct Unavailable;

/// Fills the buffer with random bytes.
pub fn fill(buffer: &mut [u8]) -> Result<(), Unavailable> {
    SysRng.try_fill_bytes(buffer).map_err(|_| Unavailable)
}
