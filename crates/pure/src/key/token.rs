//! The format of a key: `vpk_`, the environment, `_`, 26 random characters, 6 of checksum.
//!
//! The checksum is the CRC-32 (IEEE 802.3) of everything before it, in base 62. It is not secret:
//! with it, a typo, a truncated paste or a guess is refused without reading a table, and a secret
//! scanner has no false alarms.

use sha2::{Digest, Sha256};

use super::environment::{Environment, LABEL_LENGTH};
use crate::random::{ALPHABET, random_characters};

/// Length of a key in bytes, the same for every environment.
pub const LENGTH: usize = 41;
/// Length of the `prefix` that the documentation promises, in bytes.
pub const PREFIX_LENGTH: usize = 8;
/// Length of the hint, which distinguishes keys on a dashboard: the label and the first four random
/// characters, in bytes.
pub const HINT_LENGTH: usize = 13;
/// Length of the SHA-256 (FIPS 180-4) that is stored instead of a key, in bytes.
pub const HASH_LENGTH: usize = 32;

const CHECKED_LENGTH: usize = 35;

/// A token: the full text of a well-formed key. It has only this spelling.
#[derive(Clone, Copy)]
pub struct Token([u8; LENGTH]);

impl Token {
    /// Draws a new token. `draw` fills its argument with random bytes of cryptographic quality, and
    /// is called again while too few of them were usable; an error of it is returned.
    pub fn generate<E>(
        environment: Environment,
        mut draw: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<Token, E> {
        let mut token = [0; LENGTH];
        token[..LABEL_LENGTH].copy_from_slice(environment.label());
        random_characters(&mut token[LABEL_LENGTH..CHECKED_LENGTH], &mut draw)?;
        let sum = checksum(&token);
        token[CHECKED_LENGTH..].copy_from_slice(&sum);
        Ok(Token(token))
    }

    /// The token that these bytes spell, if they are well-formed.
    pub fn parse(bytes: &[u8]) -> Option<Token> {
        let token: &[u8; LENGTH] = bytes.try_into().ok()?;
        let labelled = Environment::ALL.iter().any(|e| token.starts_with(e.label()));
        // Only the characters that the checksum covers need a check of the alphabet: the checksum
        // consists of it.
        let well_formed = labelled
            && token[LABEL_LENGTH..CHECKED_LENGTH].iter().all(u8::is_ascii_alphanumeric)
            && token[CHECKED_LENGTH..] == checksum(token);
        well_formed.then_some(Token(*token))
    }

    /// The full text of the key. Anyone who has it can use the key.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The hash, which is stored and looked up instead of the token.
    pub fn hash(&self) -> [u8; HASH_LENGTH] {
        Sha256::digest(self.0).into()
    }

    /// The prefix, which is the same for every key of an environment.
    pub fn prefix(&self) -> &str {
        &self.as_str()[..PREFIX_LENGTH]
    }

    /// The hint, which distinguishes keys on a dashboard.
    pub fn hint(&self) -> &str {
        &self.as_str()[..HINT_LENGTH]
    }
}

/// The checksum of a key's first 35 characters: CRC-32 in base 62, most significant digit first.
fn checksum(token: &[u8; LENGTH]) -> [u8; LENGTH - CHECKED_LENGTH] {
    let mut rest = crc32fast::hash(&token[..CHECKED_LENGTH]) as usize;
    let mut digits = [0; LENGTH - CHECKED_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[rest % ALPHABET.len()];
        rest /= ALPHABET.len();
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;
    use proptest::prelude::*;

    const SAMPLE: &[u8] = b"vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ4Vi3OY";

    fn fresh() -> Token {
        Token::generate(Environment::Live, random::fill).expect("the system's generator answers")
    }

    #[test]
    fn the_test_vector_is_well_formed_and_the_documentation_sample_is_not() {
        let token = Token::parse(SAMPLE).expect("the test vector");
        assert_eq!(token.prefix(), "vpk_live");
        assert_eq!(token.hint(), "vpk_live_aBcD");
        assert!(Token::parse(b"vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ123456").is_none());
    }

    #[test]
    fn hash_is_plain_sha256_of_the_whole_key() {
        // printf %s vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ4Vi3OY | sha256sum
        let expected = "f765530e05ac5b85efae5fc4ac6f944936318c4f7ca0e28b13ae71038531bb76";
        let hash = Token::parse(SAMPLE).expect("the test vector").hash();
        assert_eq!(hex::encode(hash), expected);
    }

    #[test]
    fn a_generated_key_is_well_formed_in_both_environments() {
        for environment in Environment::ALL {
            let token = Token::generate(environment, random::fill).expect("entropy");
            assert!(Token::parse(token.as_str().as_bytes()).is_some());
            assert_eq!(&token.as_str()[4..8], environment.name());
        }
    }

    #[test]
    fn every_single_character_change_is_refused() {
        let token = fresh();
        for position in 0..LENGTH {
            for byte in 0..=u8::MAX {
                let mut changed = token.0;
                changed[position] = byte;
                assert_eq!(Token::parse(&changed).is_some(), changed == token.0);
            }
        }
    }

    #[test]
    fn nearly_every_swap_is_refused() {
        let (mut swaps, mut accepted) = (0, 0);
        for _ in 0..200 {
            let token = fresh();
            for left in 0..LENGTH {
                for right in left + 1..LENGTH {
                    let mut swapped = token.0;
                    swapped.swap(left, right);
                    if swapped != token.0 {
                        swaps += 1;
                        accepted += usize::from(Token::parse(&swapped).is_some());
                    }
                }
            }
        }
        assert!(accepted * 10_000 < swaps, "{accepted} of {swaps} swaps were accepted");
    }

    proptest! {
        #[test]
        fn bytes_are_the_canonical_form_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            if let Some(token) = Token::parse(&bytes) {
                prop_assert_eq!(token.as_str().as_bytes(), &bytes[..]);
            }
        }

        #[test]
        fn what_looks_like_a_key_is_accepted_only_with_its_checksum(
            body in "[0-9A-Za-z]{26}", tail in "[0-9A-Za-z]{6}"
        ) {
            let text = format!("vpk_live_{body}{tail}");
            let mut expected = [0; LENGTH];
            expected.copy_from_slice(text.as_bytes());
            let is_key = tail.as_bytes() == checksum(&expected);
            prop_assert_eq!(Token::parse(text.as_bytes()).is_some(), is_key);
        }

        #[test]
        fn a_longer_or_shorter_text_is_refused(
            extra in prop::collection::vec(any::<u8>(), 1..8),
            cut in 0..LENGTH,
        ) {
            let token = fresh();
            let mut longer = token.0.to_vec();
            longer.extend(&extra);
            prop_assert!(Token::parse(&longer).is_none());
            prop_assert!(Token::parse(&token.0[..cut]).is_none());
        }
    }
}
