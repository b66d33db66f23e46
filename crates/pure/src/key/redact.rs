//! Finding keys in text that is about to be kept or shown.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// What every label begins with: the bytes that are searched for.
static MARK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"vpk_"));
/// What follows the mark in a label.
const ENVIRONMENTS: [&[u8]; 2] = [b"live_", b"test_"];
/// The length of a label.
const LABEL: usize = 9;
/// What of a key may be seen: the label and four characters, as in its hint.
const SHOWN: usize = 4;
/// From how many characters after the label on a text is taken for a key.
const TELLTALE: usize = 8;

/// Where the next label at or after a position ends.
fn next_label(text: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let found = from + MARK.find(text.get(from..)?)?;
        let after = &text[found + 4..];
        if ENVIRONMENTS.iter().any(|environment| after.starts_with(environment)) {
            return Some(found + LABEL);
        }
        from = found + 4;
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The end of what is masked as one: letters, digits, underscores and single dashes between them, so
/// that a key with a wrong character in its middle does not stay readable behind it. A lone letter
/// before a quote stays: it may say how the string is read (E'…', U&'…').
fn end_of_run(text: &[u8], body: usize) -> usize {
    let is_prefix = |at: usize| matches!(text.get(at + 1), Some(b'\'' | b'"' | b'&'));
    let goes_on = |at: usize| match text.get(at) {
        Some(b'-') => text.get(at + 1).is_some_and(|next| is_word(*next)) && !is_prefix(at + 1),
        byte => byte.is_some_and(|byte| is_word(*byte)),
    };
    (body..).find(|at| !goes_on(*at)).unwrap_or(body)
}

/// The next part of the text, at or after a position, that must not be seen: whatever starts like a
/// key and goes on for eight or more characters, well-formed or not.
fn next_secret(text: &[u8], mut from: usize) -> Option<core::ops::Range<usize>> {
    loop {
        let body = next_label(text, from)?;
        let end = end_of_run(text, body);
        if end - body >= TELLTALE {
            return Some(body + SHOWN..end);
        }
        from = body;
    }
}

/// Masks every key in the text, in place, at equal length; whether there was one.
fn mask(text: &mut [u8], mask_secret: impl Fn(&mut [u8])) -> bool {
    let mut at = 0;
    while let Some(secret) = next_secret(text, at) {
        at = secret.end;
        mask_secret(&mut text[secret]);
    }
    at > 0
}

/// Masks every key in text that is to be read by people: by asterisks.
pub fn redact_keys(text: &mut [u8]) -> bool {
    mask(text, |secret| secret.fill(b'*'))
}

/// Masks every key in a statement's text, which may be divided into words once more
/// (pg_stat_statements looks for its constants where the parser saw them): by a letter, since
/// asterisks would be an operator in a bare name and could end a comment. A dash stays for the same
/// reason.
pub fn redact_source(text: &mut [u8]) -> bool {
    mask(text, |secret| {
        secret.iter_mut().filter(|byte| is_word(**byte)).for_each(|byte| *byte = b'x');
    })
}

/// Whether [`redact_keys`] and [`redact_source`] would find a key that is not masked by a letter yet.
pub fn shows_key(text: &[u8]) -> bool {
    let mut at = 0;
    while let Some(secret) = next_secret(text, at) {
        at = secret.end;
        if text[secret].iter().any(|byte| !matches!(byte, b'x' | b'-')) {
            return true;
        }
    }
    false
}

/// Whether a key, masked or not, may be the tag that begins a dollar-quoted string, or part of it. Two
/// such tags may have become one, and the text is not to be divided into words once more. A key
/// between two tags ($$vpk_live_…$$) is no matter.
pub fn may_be_tag(text: &[u8]) -> bool {
    let in_tag = |byte: u8| is_word(byte) || !byte.is_ascii();
    let mut at = 0;
    while let Some(body) = next_label(text, at) {
        let before = &text[..body - LABEL];
        let begin = before.iter().rposition(|byte| !in_tag(*byte));
        let opens = begin.is_some_and(|at| {
            let earlier = at.checked_sub(1).map(|at| text[at]);
            text[at] == b'$' && !earlier.is_some_and(|byte| in_tag(byte) || byte == b'$')
        });
        at = body + text[body..].iter().take_while(|byte| in_tag(**byte)).count();
        if opens && text.get(at) == Some(&b'$') {
            return true;
        }
    }
    false
}

/// Whether what is to be stored carries what may be a key: here a run is of letters and digits only,
/// so that a name may begin like a key.
pub fn contains_key(text: &[u8]) -> bool {
    let mut at = 0;
    while let Some(body) = next_label(text, at) {
        let length = text[body..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        if length >= TELLTALE {
            return true;
        }
        at = body;
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        assert_eq!(redact_keys(&mut bytes), text.as_bytes() != bytes);
        String::from_utf8(bytes).expect("masking keeps the text's encoding")
    }

    #[test]
    fn keys_are_masked_in_place() {
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
            assert_eq!(masked(text), expected);
        }
    }

    #[test]
    fn what_is_stored_may_begin_like_a_key() {
        assert!(!contains_key(b"vpk_live_billing_production"));
        assert!(contains_key(b"the key vpk_live_aBcDeFgH"));
    }

    #[test]
    fn a_masked_statement_shows_no_key() {
        let mut text = *b"SELECT 'vpk_test_aBcDeFgHiJkLm-nOp'";
        assert!(shows_key(&text));
        assert!(redact_source(&mut text));
        assert_eq!(text, *b"SELECT 'vpk_test_aBcDxxxxxxxxx-xxx'");
        assert!(!shows_key(&text));
        assert!(redact_keys(&mut text));
        assert_eq!(text, *b"SELECT 'vpk_test_aBcD*************'");
    }

    #[test]
    fn a_masked_statement_is_divided_as_before() {
        for (text, expected) in [
            ("vpk_live_aBcDeFgH-55-6", "vpk_live_aBcDxxxx-xx-x"),
            ("vpk_live_aBcDeFgH-E'1\\'2'", "vpk_live_aBcDxxxx-E'1\\'2'"),
            ("vpk_live_aBcDeFgH-U&'a'", "vpk_live_aBcDxxxx-U&'a'"),
            ("/* vpk_live_aBcDeFgH/ */", "/* vpk_live_aBcDxxxx/ */"),
        ] {
            let mut masked = text.as_bytes().to_vec();
            assert!(redact_source(&mut masked));
            assert_eq!(masked, expected.as_bytes());
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
        /// Whatever stands around a key, and however it is cut or extended, nothing after its first
        /// four characters stays, and nothing else changes.
        #[test]
        fn no_key_survives(
            before in ".{0,40}", label in "vpk_(live|test)_", key in "[0-9A-Za-z]{8,60}", after in "(|[^0-9A-Za-z_-].{0,40})"
        ) {
            let text = format!("{before}{label}{key}{after}");
            let mut bytes = text.clone().into_bytes();
            prop_assert!(shows_key(&bytes) || key[4..].bytes().all(|byte| byte == b'x'));
            prop_assert!(redact_keys(&mut bytes));
            prop_assert_eq!(bytes.len(), text.len());
            for (masked, byte) in bytes.iter().zip(text.bytes()) {
                prop_assert!(*masked == byte || *masked == b'*');
            }
            let hidden = (before.len() + label.len() + SHOWN)..(before.len() + label.len() + key.len());
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
