//! Finding the hash of a key in text that is shown, and redacting it there.
//!
//! Hooks that must not panic call these functions: nothing here is indexed or allocated.

#![warn(clippy::indexing_slicing)]

use memchr::memmem;

use super::find::from;

/// The length of a hash in bytes.
pub const LENGTH: usize = 32;
/// How many digits of a hash are searched for. The rest of it may have been cut off.
const SOUGHT: usize = 8;
/// How many digits in a row, or octal escapes in a text, make a value of type bytea.
const TELLTALE: usize = 8;

/// Replaces a part of the text by asterisks.
fn fill(text: &mut [u8], part: core::ops::Range<usize>) {
    text.get_mut(part).unwrap_or_default().fill(b'*');
}

/// Redacts a hash that is written in hexadecimal, whole or cut off, in place and at equal length.
/// Returns whether there was one.
pub fn redact_hash(text: &mut [u8], hash: &[u8; LENGTH]) -> bool {
    let mut digits = [0; 2 * LENGTH];
    if hex::encode_to_slice(hash, &mut digits).is_err() {
        return false;
    }
    let sought = digits.get(..SOUGHT).unwrap_or_default();
    let mut at = 0;
    while let Some(found) = memmem::find(from(text, at), sought) {
        let start = at + found;
        let same = from(text, start).iter().zip(&digits).take_while(|(one, other)| one == other);
        at = start + same.count();
        fill(text, start..at);
    }
    at > 0
}

/// Redacts the values of type `bytea` in an error, in place and at equal length. Returns whether
/// there was one.
///
/// A value is written in hexadecimal (`\x…`), or with octal escapes (`\236`), as the setting
/// `bytea_output` says. With escapes, everything between the commas or brackets around the first
/// and the last one is redacted.
pub fn redact_bytea(text: &mut [u8]) -> bool {
    let mut redacted = false;
    let mut at = 0;
    while let Some(found) = memmem::find(from(text, at), b"\\x") {
        let start = at + found + 2;
        let digits = from(text, start).iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        at = start + digits;
        if digits >= TELLTALE {
            fill(text, start..at);
            redacted = true;
        }
    }
    if let Some(escaped) = escaped(text) {
        fill(text, escaped);
        redacted = true;
    }
    redacted
}

/// The part of the text with all octal escapes, if there are enough for a value.
fn escaped(text: &[u8]) -> Option<core::ops::Range<usize>> {
    let is_escape = |at: &usize| {
        let digits = from(text, at + 1).iter().take(3).filter(|byte| matches!(byte, b'0'..=b'7'));
        text.get(*at) == Some(&b'\\') && digits.count() == 3
    };
    let mut escapes = (0..text.len()).filter(is_escape);
    let first = escapes.next()?;
    let last = escapes.clone().next_back()?;
    if escapes.count() + 1 < TELLTALE {
        return None;
    }
    let ends = |byte: &u8| matches!(byte, b',' | b'(' | b')');
    let before = text.get(..first)?.iter().rev().take_while(|byte| !ends(byte)).count();
    let after = from(text, last).iter().take_while(|byte| !ends(byte)).count();
    Some(first - before..last + after)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: [u8; LENGTH] = *b"\x80\x01 hash\xff,of(a)key\xc3\xbc0123456789abc";

    #[test]
    fn a_hash_is_redacted_whole_and_cut_off() {
        let whole = hex::encode(HASH);
        for (text, expected) in [
            (format!("$1 = '\\x{whole}'"), format!("$1 = '\\x{}'", "*".repeat(64))),
            (format!("{whole}, {whole}"), format!("{0}, {0}", "*".repeat(64))),
            (format!("\\x{}...", &whole[..9]), "\\x*********...".to_owned()),
            (format!("\\x{}...", &whole[..7]), format!("\\x{}...", &whole[..7])),
            (whole[1..].to_owned(), whole[1..].to_owned()),
            (String::new(), String::new()),
        ] {
            let mut bytes = text.clone().into_bytes();
            assert_eq!(redact_hash(&mut bytes, &HASH), text != expected);
            assert_eq!(String::from_utf8_lossy(&bytes), expected);
        }
    }

    #[test]
    fn a_bytea_in_an_error_is_redacted() {
        let escape = |byte: &u8| match byte {
            b'\\' => "\\\\".to_owned(),
            b' '..=b'~' => char::from(*byte).to_string(),
            _ => format!("\\{byte:03o}"),
        };
        let random: Vec<u8> = (0..32).map(|at: u8| at.wrapping_mul(197).wrapping_add(80)).collect();
        let escaped: String = random.iter().map(escape).collect();
        for (text, expected) in [
            (
                format!("row (a, \\x{}, b)", "0f".repeat(31)),
                format!("row (a, \\x{}, b)", "*".repeat(62)),
            ),
            ("\\x0123456 is short".to_owned(), "\\x0123456 is short".to_owned()),
            (format!("(id,{escaped},b)"), format!("(id,{},b)", "*".repeat(escaped.len()))),
            (escaped.clone(), "*".repeat(escaped.len())),
            ("a \\001 b \\002".to_owned(), "a \\001 b \\002".to_owned()),
        ] {
            let mut bytes = text.clone().into_bytes();
            assert_eq!(redact_bytea(&mut bytes), text != expected);
            assert_eq!(String::from_utf8_lossy(&bytes), expected);
        }
    }
}
