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

/// Random bytes for values that are no secret. One call of the operating system draws many, and
/// each is handed out once.
///
/// A process that was forked has a copy of what its parent drew. So bytes are handed out only to
/// the process that drew them.
pub struct Pool {
    /// Those drawn last, of which the first `left` are still to be handed out.
    bytes: [u8; 1024],
    /// How many are left.
    left: usize,
    /// The process that drew them.
    process: i32,
}

impl Pool {
    /// An empty one.
    pub const fn new() -> Pool {
        Pool { bytes: [0; _], left: 0, process: 0 }
    }

    /// Fills `target` for a process. `draw` fills its argument with random bytes; an error of it is
    /// returned.
    pub fn take<E>(
        &mut self,
        process: i32,
        target: &mut [u8],
        draw: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if target.len() > self.bytes.len() {
            return draw(target);
        }
        if self.left < target.len() || self.process != process {
            self.left = 0;
            draw(&mut self.bytes)?;
            (self.left, self.process) = (self.bytes.len(), process);
        }
        let (_, taken) = self.bytes[..self.left].split_at_mut(self.left - target.len());
        target.copy_from_slice(taken);
        taken.fill(0);
        self.left -= target.len();
        Ok(())
    }
}

impl Default for Pool {
    fn default() -> Pool {
        Pool::new()
    }
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
        let mut drawn = [0; 32];
        draw(&mut drawn)?;
        for byte in drawn.map(usize::from).into_iter().filter(|byte| *byte < UNBIASED) {
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

    /// Draws numbers in order.
    fn in_order(next: &mut u16) -> impl FnMut(&mut [u8]) -> Result<(), ()> {
        |target| {
            for pair in target.chunks_mut(2) {
                *next += 1;
                pair.copy_from_slice(&next.to_ne_bytes()[..pair.len()]);
            }
            Ok(())
        }
    }

    #[test]
    fn a_pool_hands_out_nothing_twice() {
        let mut pool = Pool::new();
        let mut next = 0;
        let mut draw = in_order(&mut next);
        let mut seen = std::collections::BTreeSet::new();
        for round in 0..1_000 {
            // Also to a process that was forked, and has what its parent has.
            let process = 1 + round / 300;
            let mut taken = [0; 32];
            pool.take(process, &mut taken, &mut draw).expect("a number");
            for pair in taken.chunks(2) {
                assert!(seen.insert(pair.to_vec()), "twice: {pair:?}");
            }
        }
        let mut longer = [0; 2_000];
        pool.take(4, &mut longer, &mut draw).expect("a number");
        assert!(longer.chunks(2).all(|pair| seen.insert(pair.to_vec())));
    }

    #[test]
    fn a_pool_that_cannot_be_filled_hands_out_nothing() {
        let mut pool = Pool::new();
        let mut taken = [7; 32];
        let mut next = 0;
        pool.take(1, &mut taken, in_order(&mut next)).expect("a number");
        assert_eq!(pool.take(2, &mut taken, |_| Err(())), Err(()));
        // Nor what was left of the process before.
        assert_eq!(pool.take(1, &mut taken, |_| Err(())), Err(()));
    }

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
