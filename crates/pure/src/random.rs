//! Randomness, straight from the operating system.
//!
//! There is no generator in between. The postmaster loads the library, and a generator that was
//! seeded before a fork would make two backends issue the same key.

use core::fmt::{self, Display};

use rand::TryRng;
use rand::rngs::SysRng;

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomUnavailable;

impl Display for RandomUnavailable {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("the operating system's random generator did not answer")
    }
}

impl core::error::Error for RandomUnavailable {}

/// Fills the buffer with random bytes of the operating system.
pub fn fill(buffer: &mut [u8]) -> Result<(), RandomUnavailable> {
    SysRng.try_fill_bytes(buffer).map_err(|_| RandomUnavailable)
}

/// The digits of base 62.
pub const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Fills `target` with characters of the alphabet, each equally likely: a byte below 4 x 62 becomes
/// the digit of its remainder, and any other byte is discarded. `draw` fills its argument with
/// random bytes; an error of it is returned.
pub fn random_characters<E>(
    target: &mut [u8],
    draw: &mut impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<(), E> {
    const UNBIASED: usize = 256 / ALPHABET.len() * ALPHABET.len();
    let mut filled = 0;
    while filled < target.len() {
        let mut pool = [0; 32];
        draw(&mut pool)?;
        for byte in pool.map(usize::from).into_iter().filter(|byte| *byte < UNBIASED) {
            if filled == target.len() {
                break;
            }
            target[filled] = ALPHABET[byte % ALPHABET.len()];
            filled += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_unbiased() {
        // Every byte value once: 248 of them are used, each character exactly four times.
        let mut next = 0u8;
        let mut counts = [0usize; 256];
        let mut target = [0; 248];
        random_characters(&mut target, &mut |pool: &mut [u8]| {
            pool.iter_mut().for_each(|byte| {
                *byte = next;
                next = next.wrapping_add(1);
            });
            Ok::<(), ()>(())
        })
        .expect("the counter answers");
        target.iter().for_each(|byte| counts[*byte as usize] += 1);
        assert!(ALPHABET.iter().all(|character| counts[*character as usize] == 4));
    }
}
