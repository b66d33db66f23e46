//! The server's text as Rust strings.
//!
//! A Rust string is UTF-8. The server's text has the database's encoding, or none in SQL_ASCII. A
//! conversion can fail, so JSON is composed without one: each byte becomes the character of the
//! same number, and is turned back into that byte afterwards. Every server encoding contains ASCII
//! unchanged (PostgreSQL, src/include/mb/pg_wchar.h: PG_VALID_BE_ENCODING), so the characters that
//! JSON escapes are the same in all of them.

/// What the crate needs to know about the encoding of the server's text.
pub trait Encoding {
    /// Whether it is UTF-8.
    fn is_utf8(&self) -> bool;
    /// How many characters the text has.
    fn characters(&self, text: &[u8]) -> usize;
    /// How many bytes the first `limit` characters of the text have.
    fn bytes_of_characters(&self, text: &[u8], limit: usize) -> usize;
}

/// The text, if it is UTF-8.
pub fn utf8<'text>(value: &'text [u8], encoding: &impl Encoding) -> Option<&'text str> {
    encoding.is_utf8().then(|| std::str::from_utf8(value).ok()).flatten()
}

/// A string with one character per byte of the server's text.
pub fn widen(text: &[u8]) -> String {
    text.iter().map(|byte| char::from(*byte)).collect()
}

/// The bytes of a string that was composed of widened text and ASCII.
pub fn narrow(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(character).unwrap_or(b'?')).collect()
}

/// Encodings for tests.
#[cfg(test)]
pub mod examples {
    use super::Encoding;

    /// UTF-8, as a server reads it.
    pub struct Utf8;

    impl Encoding for Utf8 {
        fn is_utf8(&self) -> bool {
            true
        }

        fn characters(&self, text: &[u8]) -> usize {
            String::from_utf8_lossy(text).chars().count()
        }

        fn bytes_of_characters(&self, text: &[u8], limit: usize) -> usize {
            String::from_utf8_lossy(text).chars().take(limit).map(char::len_utf8).sum()
        }
    }

    /// An encoding with one byte for each character.
    pub struct Latin1;

    impl Encoding for Latin1 {
        fn is_utf8(&self) -> bool {
            false
        }

        fn characters(&self, text: &[u8]) -> usize {
            text.len()
        }

        fn bytes_of_characters(&self, text: &[u8], limit: usize) -> usize {
            text.len().min(limit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(narrow(&widen(&bytes)), bytes);
        }

        #[test]
        fn also_through_json(bytes in prop::collection::vec(1..=u8::MAX, 0..64)) {
            let json = serde_json::Value::from(widen(&bytes)).to_string();
            let narrowed = widen(&narrow(&json));
            let read: String = serde_json::from_str(&narrowed).expect("still JSON");
            prop_assert_eq!(narrow(&read), bytes);
        }
    }
}
