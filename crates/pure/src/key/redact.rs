//! Finding keys in text that is stored or shown, and redacting them there.
//!
//! Hooks that must not panic call these functions: nothing here is indexed.

#![warn(clippy::indexing_slicing)]

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// The beginning of every label, which is searched for.
static MARK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"vpk_"));
/// The length of the mark.
const MARK_LENGTH: usize = 4;
/// What follows the mark in a label.
const ENVIRONMENTS: [&[u8]; 2] = [b"live_", b"test_"];
/// The length of a label.
const LABEL: usize = 9;
/// How many characters after the label stay readable, as in a key's hint.
const SHOWN: usize = 4;
/// How many characters after the label make a text a key.
const TELLTALE: usize = 8;

/// The text from a position on; empty if there is none.
fn from(text: &[u8], at: usize) -> &[u8] {
    text.get(at..).unwrap_or_default()
}

/// The end of the next label at or after a position.
fn next_label(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let found = at + MARK.find(text.get(at..)?)?;
        let after = from(text, found + MARK_LENGTH);
        if ENVIRONMENTS.iter().any(|environment| after.starts_with(environment)) {
            return Some(found + LABEL);
        }
        at = found + MARK_LENGTH;
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The end of a run that is redacted as one: letters, digits, underscores and single dashes between
/// them. So the rest of a key with a wrong character does not stay readable. A single letter before
/// a quote stays: it may be part of the string's syntax (E'…', U&'…').
fn end_of_run(text: &[u8], body: usize) -> usize {
    let is_prefix = |at: usize| matches!(text.get(at + 1), Some(b'\'' | b'"' | b'&'));
    let goes_on = |at: usize| match text.get(at) {
        Some(b'-') => text.get(at + 1).is_some_and(|next| is_word(*next)) && !is_prefix(at + 1),
        byte => byte.is_some_and(|byte| is_word(*byte)),
    };
    (body..).find(|at| !goes_on(*at)).unwrap_or(body)
}

/// The next part of the text, at or after a position, that must not be readable: a text that begins
/// like a key and goes on for eight or more characters, well-formed or not.
fn next_secret(text: &[u8], mut at: usize) -> Option<core::ops::Range<usize>> {
    loop {
        let body = next_label(text, at)?;
        let end = end_of_run(text, body);
        if end - body >= TELLTALE {
            return Some(body + SHOWN..end);
        }
        at = body;
    }
}

/// Redacts every key in the text, in place and at equal length. Returns whether there was one.
fn redact(text: &mut [u8], redact_secret: impl Fn(&mut [u8])) -> bool {
    let mut at = 0;
    while let Some(secret) = next_secret(text, at) {
        at = secret.end;
        redact_secret(text.get_mut(secret).unwrap_or_default());
    }
    at > 0
}

/// Redacts every key in a text for people, by asterisks. Returns whether there was one.
pub fn redact_keys(text: &mut [u8]) -> bool {
    redact(text, |secret| secret.fill(b'*'))
}

/// Redacts every key in the text of a statement, by a letter. Returns whether there was one.
///
/// The text may be scanned once more: pg_stat_statements looks for constants where the parser saw
/// them. Asterisks would be an operator in a name without quotes, and could end a comment. Dashes
/// stay for the same reason.
pub fn redact_source(text: &mut [u8]) -> bool {
    redact(text, |secret| {
        secret.iter_mut().filter(|byte| is_word(**byte)).for_each(|byte| *byte = b'x');
    })
}

/// Whether there is a key that [`redact_source`] has not redacted yet.
pub fn shows_key(text: &[u8]) -> bool {
    let mut at = 0;
    while let Some(secret) = next_secret(text, at) {
        at = secret.end;
        if text.get(secret).unwrap_or_default().iter().any(|byte| !matches!(byte, b'x' | b'-')) {
            return true;
        }
    }
    false
}

/// Whether a key, redacted or not, may be the tag of a dollar-quoted string, or a part of it.
/// Redacting may have made two such tags equal, so the text must not be scanned once more. A key
/// between two tags ($$vpk_live_…$$) does not matter.
pub fn may_be_tag(text: &[u8]) -> bool {
    let in_tag = |byte: u8| is_word(byte) || !byte.is_ascii();
    let mut at = 0;
    while let Some(body) = next_label(text, at) {
        let before = text.get(..body - LABEL).unwrap_or_default();
        let tag = before.iter().rev().take_while(|byte| in_tag(**byte)).count();
        let before = before.get(..before.len() - tag).unwrap_or_default();
        let opens = before.split_last().is_some_and(|(last, earlier)| {
            *last == b'$' && !earlier.last().is_some_and(|byte| in_tag(*byte) || *byte == b'$')
        });
        at = body + from(text, body).iter().take_while(|byte| in_tag(**byte)).count();
        if opens && text.get(at) == Some(&b'$') {
            return true;
        }
    }
    false
}

/// Whether a value that is to be stored may contain a key. Here only letters and digits count, so
/// that a name may begin like a key.
pub fn contains_key(text: &[u8]) -> bool {
    let mut at = 0;
    while let Some(body) = next_label(text, at) {
        let run = from(text, body).iter().take_while(|byte| byte.is_ascii_alphanumeric());
        if run.count() >= TELLTALE {
            return true;
        }
        at = body;
    }
    false
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redacted(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        assert_eq!(redact_keys(&mut bytes), text.as_bytes() != bytes);
        String::from_utf8(bytes).expect("redacting keeps the text's encoding")
    }

    #[test]
    fn keys_are_redacted_in_place() {
        for (text, expected) in [
            (
                "vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ4Vi3OY",
                "vpk_live_aBcD****************************",
            ),
            (
                "leaked vpk_test_12345678 twice, vpk_live_aaaaaaaaa!",
                "leaked vpk_test_1234**** twice, vpk_live_aaaa*****!",
            ),
            // Mistyped: the rest must not stay readable.
            ("vpk_live_aBcD-FgHi_JkLm", "vpk_live_aBcD**********"),
            ("vpk_live_1234567", "vpk_live_1234567"),
            ("vpk_live_12345678-", "vpk_live_1234****-"),
            ("vpk_vpk_test_123456789", "vpk_vpk_test_1234*****"),
            ("vpk_live", "vpk_live"),
            ("nothing", "nothing"),
            ("", ""),
        ] {
            assert_eq!(redacted(text), expected);
        }
    }

    #[test]
    fn a_stored_name_may_begin_like_a_key() {
        assert!(!contains_key(b"vpk_live_billing_production"));
        assert!(contains_key(b"the key vpk_live_aBcDeFgH"));
    }

    #[test]
    fn a_redacted_statement_shows_no_key() {
        let mut text = *b"SELECT 'vpk_test_aBcDeFgHiJkLm-nOp'";
        assert!(shows_key(&text));
        assert!(redact_source(&mut text));
        assert_eq!(text, *b"SELECT 'vpk_test_aBcDxxxxxxxxx-xxx'");
        assert!(!shows_key(&text));
        assert!(redact_keys(&mut text));
        assert_eq!(text, *b"SELECT 'vpk_test_aBcD*************'");
    }

    #[test]
    fn a_redacted_statement_is_scanned_as_before() {
        for (text, expected) in [
            ("vpk_live_aBcDeFgH-55-6", "vpk_live_aBcDxxxx-xx-x"),
            ("vpk_live_aBcDeFgH-E'1\\'2'", "vpk_live_aBcDxxxx-E'1\\'2'"),
            ("vpk_live_aBcDeFgH-U&'a'", "vpk_live_aBcDxxxx-U&'a'"),
            ("/* vpk_live_aBcDeFgH/ */", "/* vpk_live_aBcDxxxx/ */"),
        ] {
            let mut redacted = text.as_bytes().to_vec();
            assert!(redact_source(&mut redacted));
            assert_eq!(redacted, expected.as_bytes());
        }
    }

    #[test]
    fn a_key_may_be_a_tag() {
        assert!(may_be_tag(b"SELECT $vpk_live_aBcDxxxx$ 1 $vpk_live_aBcDxxxx$"));
        assert!(may_be_tag("SELECT $a_vpk_live_aBcDxxxx\u{e9}$".as_bytes()));
        assert!(!may_be_tag(b"SELECT $1, 'vpk_live_aBcDxxxx'"));
        assert!(!may_be_tag(b"SELECT $$vpk_live_aBcDxxxx$$, $q$vpk_live_aBcDxxxx$q$"));
        assert!(!may_be_tag(b"SELECT vpk_live_aBcDxxxx$a FROM t"));
    }

    proptest! {
        /// In any surroundings, and cut or extended in any way, a key keeps its first four
        /// characters and nothing after them. Nothing else changes.
        #[test]
        fn no_key_survives(
            before in ".{0,40}",
            label in "vpk_(live|test)_",
            key in "[0-9A-Za-z]{8,60}",
            after in "(|[^0-9A-Za-z_-].{0,40})",
        ) {
            let text = format!("{before}{label}{key}{after}");
            let mut bytes = text.clone().into_bytes();
            prop_assert!(shows_key(&bytes) || key[4..].bytes().all(|byte| byte == b'x'));
            prop_assert!(redact_keys(&mut bytes));
            prop_assert_eq!(bytes.len(), text.len());
            for (redacted, byte) in bytes.iter().zip(text.bytes()) {
                prop_assert!(*redacted == byte || *redacted == b'*');
            }
            let body = before.len() + label.len();
            let hidden = body + SHOWN..body + key.len();
            prop_assert!(bytes[hidden].iter().all(|byte| *byte == b'*'));
            let again = bytes.clone();
            redact_keys(&mut bytes);
            prop_assert_eq!(again, bytes);
        }

        #[test]
        fn text_without_a_label_is_left_alone(text in "[^v]{0,80}") {
            let mut bytes = text.clone().into_bytes();
            prop_assert!(!redact_keys(&mut bytes) && !redact_source(&mut bytes));
            prop_assert_eq!(bytes, text.into_bytes());
        }
    }
}
