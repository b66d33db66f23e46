//! Redacting keys in text that is stored or shown. How much of one stays is [`super::find::SHOWN`].
//!
//! Hooks that must not panic call these functions: nothing here is indexed or allocated.
//!
//! A text may have been cut: a statement in pg_stat_activity, or a parameter in the log. What a
//! label begins at the end of such a text may be a key, however short it is. A value that a caller
//! has passed is whole.

#![warn(clippy::indexing_slicing)]

use core::ops::Range;

use super::find::{
    Joined, LETTERS, Label, MAX_LABEL, MAX_LENGTH, SHOWN, TELLTALE, end_of_run, from, is_word,
    joined, next_label,
};

/// Whether a text is complete, or may have lost its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Cut,
    Whole,
}

/// The next part of the text, at or after a position, that must not be readable.
fn next_secret(text: &[u8], extent: Extent, mut at: usize) -> Option<Range<usize>> {
    loop {
        let label = next_label(text, at)?;
        at = label.end;
        if let Some(secret) = secret_after(text, extent, &label).filter(|part| !part.is_empty()) {
            return Some(secret.start..end_of_last_key(text, extent, at, secret.end));
        }
    }
}

/// What must not be readable after a label: a text that goes on for eight or more characters,
/// well-formed or not; a key with breaks in it; and what begins like a key at the end of a text
/// that may have been cut.
///
/// Cold, so that a text without a label costs the search for one and nothing else.
#[cold]
fn secret_after(text: &[u8], extent: Extent, label: &Label) -> Option<Range<usize>> {
    let end = end_of_run(text, label.end);
    let run = text.get(label.end..end).unwrap_or_default();
    // Longer runs are redacted as a whole, with a checksum or without.
    if run.iter().filter(|byte| byte.is_ascii_alphanumeric()).count() < LETTERS
        && let Some(key) = broken_key(text, extent, label)
    {
        return Some(key.shown..end_of_run(text, key.end));
    }
    (run.len() >= TELLTALE).then_some(label.end + SHOWN..end)
}

fn broken_key(text: &[u8], extent: Extent, label: &Label) -> Option<Joined> {
    joined(text, label).filter(|key| key.token.is_some() || extent == Extent::Cut)
}

/// The end of a part that is redacted. A label in it will not be found afterwards, so that a broken
/// key with this label is redacted with it.
#[cold]
fn end_of_last_key(text: &[u8], extent: Extent, mut at: usize, mut end: usize) -> usize {
    loop {
        // No label before this one reaches beyond the end.
        at = at.max(end.saturating_sub(MAX_LENGTH));
        let near = text.get(..end.saturating_add(MAX_LABEL)).unwrap_or(text);
        let Some(label) = next_label(near, at).filter(|label| label.start < end) else {
            return end;
        };
        at = label.end;
        if let Some(key) = broken_key(text, extent, &label).filter(|key| key.end > end) {
            end = end_of_run(text, key.end);
        }
    }
}

/// Redacts every key in the text, in place and at equal length. Returns whether there was one.
/// Breaks stay.
fn redact(text: &mut [u8], extent: Extent, redacted: impl Fn(u8) -> u8) -> bool {
    let mut at = 0;
    while let Some(secret) = next_secret(text, extent, at) {
        at = secret.end;
        for byte in text.get_mut(secret).unwrap_or_default() {
            *byte = redacted(*byte);
        }
    }
    at > 0
}

/// A character of a key in a text for people.
fn asterisk(byte: u8) -> u8 {
    if is_word(byte) || byte == b'-' { b'*' } else { byte }
}

/// Redacts every key in a text for people, by asterisks. Returns whether there was one.
pub fn redact_keys(text: &mut [u8]) -> bool {
    redact(text, Extent::Cut, asterisk)
}

/// The same in a value, which is whole: a short name that begins like a key stays as it is.
pub fn redact_value(value: &mut [u8]) -> bool {
    redact(value, Extent::Whole, asterisk)
}

/// Redacts every key in the text of a statement, by a letter. Returns whether there was one.
///
/// The text may be scanned once more: pg_stat_statements looks for constants where the parser saw
/// them. Asterisks would be an operator in a name without quotes, and could end a comment. Dashes
/// stay for the same reason. A word of the statement behind a name that begins like a key stays a
/// word, at the same place.
pub fn redact_source(text: &mut [u8]) -> bool {
    redact(text, Extent::Cut, |byte| if is_word(byte) { b'x' } else { byte })
}

/// Whether there is a key that [`redact_source`] has not redacted yet.
pub fn shows_key(text: &[u8]) -> bool {
    let mut at = 0;
    while let Some(secret) = next_secret(text, Extent::Cut, at) {
        at = secret.end;
        let secret = text.get(secret).unwrap_or_default();
        if secret.iter().any(|byte| is_word(*byte) && *byte != b'x') {
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
    while let Some(label) = next_label(text, at) {
        let before = text.get(..label.start).unwrap_or_default();
        let tag = before.iter().rev().take_while(|byte| in_tag(**byte)).count();
        let before = before.get(..before.len() - tag).unwrap_or_default();
        let opens = before.split_last().is_some_and(|(last, earlier)| {
            *last == b'$' && !earlier.last().is_some_and(|byte| in_tag(*byte) || *byte == b'$')
        });
        let rest = from(text, label.end);
        at = label.end + rest.iter().take_while(|byte| in_tag(**byte)).count();
        if opens && text.get(at) == Some(&b'$') {
            return true;
        }
    }
    false
}

/// Whether a value that is to be stored may contain a key. Without breaks only letters and digits
/// count, so that a name may begin like a key.
pub fn contains_key(value: &[u8]) -> bool {
    let mut at = 0;
    while let Some(label) = next_label(value, at) {
        at = label.end;
        let run = from(value, at).iter().take_while(|byte| byte.is_ascii_alphanumeric());
        if run.count() >= TELLTALE
            || joined(value, &label).is_some_and(|joined| joined.token.is_some())
        {
            return true;
        }
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
            ("vpk_live_1234567.", "vpk_live_1234567."),
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
    fn a_broken_key_is_redacted() {
        for (text, expected) in [
            // The key of the documentation, with a break among its first characters, behind them,
            // in its label, and with several.
            (
                "'vpk_live_aBcDeF gHiJkLmNoPqRsTuVwXyZ4Vi3OY'",
                "'vpk_live_aBcD** **************************'",
            ),
            (
                "<vpk_live_aBcDeFgHiJkL\r\n  mNoPqRsTuVwXyZ4Vi3OY> vpk_live_aBcDeFgHiJkL\r\n mNoPqRsTuVwXyZ4Vi3OY",
                "<vpk_live_aBcD********\r\n  mNoPqRsTuVwXyZ4Vi3OY> vpk_live_aBcD********\r\n ********************",
            ),
            (
                "(vpk_li\u{ad}ve_\u{a0}aBcDeFgHiJkLmNoPqRsTuVwXyZ4Vi3OY)",
                "(vpk_li\u{ad}ve_\u{a0}aBcD****************************)",
            ),
            (
                "\"vpk_live_a B cDeFgHiJk-LmNoPqR_sTuVw\u{200b}XyZ4Vi3OY_and-more\"",
                "\"vpk_live_a B cD*********************\u{200b}******************\"",
            ),
            // The label of the broken key is behind another.
            (
                "(vpk_live_12345678vpk_live_aBcDeF gHiJkLmNoPqRsTuVwXyZ4Vi3OY)",
                "(vpk_live_1234******************* **************************)",
            ),
            // One of its characters is wrong.
            (
                "'vpk_live_aBcDeF gHiJkLmNoPqRsTuVwXyZ4Vi3OX'",
                "'vpk_live_aBcDeF gHiJkLmNoPqRsTuVwXyZ4Vi3OX'",
            ),
        ] {
            assert_eq!(redacted(text), expected);
        }
    }

    #[test]
    fn a_key_that_was_cut_shows_four_characters() {
        for (text, expected) in [
            ("vpk_live_aBcDeFg", "vpk_live_aBcD***"),
            ("vpk_live_aBcDe", "vpk_live_aBcD*"),
            ("vpk_live_aBcD", "vpk_live_aBcD"),
            ("vpk_live_a", "vpk_live_a"),
            ("vpk_live_", "vpk_live_"),
            ("$1 = 'vpk_live_aBcDeFg...'", "$1 = 'vpk_live_aBcD***...'"),
            ("$1 = 'vpk_live_aB cDe...', $2 = 1", "$1 = 'vpk_live_aB cD*...', $2 = 1"),
            ("vpk_live_aBcD eFg", "vpk_live_aBcD ***"),
            ("vpk_live_aBcD efg...", "vpk_live_aBcD ***..."),
            ("vpk_live_aBcDe f g h", "vpk_live_aBcD* * * *"),
            ("vpk_live_aB\ncDeFgH iJkL\n", "vpk_live_aB\ncD**** ****\n"),
            ("vpk_live_aBcDeFg..", "vpk_live_aBcDeFg.."),
            ("vpk_live_aBcDeFg'", "vpk_live_aBcDeFg'"),
        ] {
            assert_eq!(redacted(text), expected);
        }
        assert!(shows_key(b"vpk_live_aBcDeFg\0"), "with the null at the end of a string in C");
    }

    #[test]
    fn a_hint_in_a_sentence_stays_readable() {
        for text in [
            "1 key expires within 14 days: \"Production\" (vpk_live_aBcD)",
            "2 keys: \"Production\" (vpk_live_aBcD), \"of vpk_live_billing\" (vpk_test_eFgH)",
            "key vpk_live_aBcD expires in 3 days",
            "column vpk_live_billing does not exist",
            "SELECT * FROM vpk_live_billing ORDER BY created_at DESC LIMIT 10",
            "The key vpk_live_aBcD was used 1000 times since yesterday, which is more than ever.",
            "key vpk_live_aBcD was revoked: found in a public repository",
            "SELECT * FROM vpk_live_billing WHERE account = 'acme' ORDER BY created_at",
            "SELECT vpk_live_billing FROM vpk_live_billing, archive AS vpk_live_a WHERE true;",
            "INSERT INTO vpk_live_billing SELECT account, amount FROM vpk_test_billing WHERE 1 = 1",
        ] {
            assert_eq!(redacted(text), text);
            assert!(!shows_key(text.as_bytes()));
        }
    }

    #[test]
    fn a_value_is_not_cut() {
        for value in ["vpk_live_billing", "see vpk_live_aBcD on GitHub"] {
            let mut bytes = value.as_bytes().to_vec();
            assert!(!redact_value(&mut bytes));
            assert_eq!(bytes, value.as_bytes());
            assert!(!contains_key(&bytes));
        }
        let mut broken = *b"found vpk_live_aBcDeF\ngHiJkLmNoPqRsTuVwXyZ4Vi3OY here";
        assert!(redact_value(&mut broken));
        assert_eq!(broken, *b"found vpk_live_aBcD**\n************************** here");
    }

    #[test]
    fn a_stored_name_may_begin_like_a_key() {
        assert!(!contains_key(b"vpk_live_billing_production"));
        assert!(contains_key(b"the key vpk_live_aBcDeFgH"));
        assert!(contains_key(b"the key vpk_live_aBcDeF gHiJkLmNoPqRsTuVwXyZ4Vi3OY"));
        assert!(!contains_key(b"the key vpk_live_aBcDeF gHiJkLmNoPqRsTuVwXyZ4Vi3OX"));
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
            ("SELECT 1 FROM vpk_live_Bills LIMIT -10", "SELECT 1 FROM vpk_live_Billx xxxxx -xx"),
            (
                "'vpk_live_aBcDeF gHiJkLmNoPqRsTuVwXyZ4Vi3OY'",
                "'vpk_live_aBcDxx xxxxxxxxxxxxxxxxxxxxxxxxxx'",
            ),
        ] {
            let mut redacted = text.as_bytes().to_vec();
            assert!(redact_source(&mut redacted));
            assert_eq!(redacted, expected.as_bytes());
            assert!(!shows_key(&redacted));
        }
    }

    #[test]
    fn a_key_may_be_a_tag() {
        assert!(may_be_tag(b"SELECT $vpk_live_aBcDxxxx$ 1 $vpk_live_aBcDxxxx$"));
        assert!(may_be_tag("SELECT $a_vpk_live_aBcDxxxx\u{e9}$".as_bytes()));
        assert!(may_be_tag("SELECT $vpk_li\u{200b}ve_aB\u{a0}cDxx$".as_bytes()));
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
        fn text_without_a_label_is_left_alone(text in "([^v]|vpk_[^lt\\pZ\\pC]){0,80}") {
            let mut bytes = text.clone().into_bytes();
            prop_assert!(!redact_keys(&mut bytes) && !redact_source(&mut bytes));
            prop_assert_eq!(bytes, text.into_bytes());
        }
    }
}
