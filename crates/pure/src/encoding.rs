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

/// A string with one character per byte of the server's text.
pub fn widen(text: &[u8]) -> String {
    text.iter().map(|byte| char::from(*byte)).collect()
}

/// The bytes of a string that was composed of widened text and ASCII.
pub fn narrow(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(character).unwrap_or(b'?')).collect()
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
