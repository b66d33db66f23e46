//! Finding keys in a text, also those that were broken on their way: wrapped in a mail, or copied
//! from a page that splits long words.
//!
//! Hooks that must not panic call these functions: nothing here is indexed or allocated, except by
//! [`tokens`].

#![warn(clippy::indexing_slicing)]

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::environment::{Environment, LABEL_LENGTH};
use super::token::{HINT_LENGTH, LENGTH, Token};

/// The beginning of every label, which is searched for. A break inside it is not found.
static MARK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"vpk_"));
/// The length of the mark.
const MARK_LENGTH: usize = 4;
const _: () = assert!(LABEL_LENGTH + SHOWN == HINT_LENGTH);
/// How many characters after the label stay readable, as in a key's hint.
pub(super) const SHOWN: usize = 4;
/// How many characters after the label make a text a key.
pub(super) const TELLTALE: usize = 8;
/// The letters and digits after the label.
pub(super) const LETTERS: usize = LENGTH - LABEL_LENGTH;
/// How many breaks in a row may be between two characters of a key.
const MAX_BREAKS: usize = 3;
/// How many characters after a label are read, breaks not counted: a broken key may have some
/// underscores and dashes in it.
const MAX_CHARACTERS: usize = 2 * LETTERS;
/// The longest label with breaks in it, in bytes: a break has at most three.
pub(super) const MAX_LABEL: usize = LABEL_LENGTH * (1 + MAX_BREAKS * 3);
/// The longest broken key, in bytes.
pub(super) const MAX_LENGTH: usize = MAX_LABEL + MAX_CHARACTERS * (1 + MAX_BREAKS * 3);

/// A key's label in a text.
pub(super) struct Label {
    pub environment: Environment,
    pub start: usize,
    pub end: usize,
}

/// The next label after a position.
pub(super) fn next_label(text: &[u8], mut at: usize) -> Option<Label> {
    loop {
        let start = at + MARK.find(text.get(at..)?)?;
        at = start + MARK_LENGTH;
        let first = after_breaks(text, at);
        let environment = match text.get(first) {
            Some(b'l') => Environment::Live,
            Some(b't') => Environment::Test,
            _ => continue,
        };
        let end =
            environment.label().iter().skip(MARK_LENGTH + 1).try_fold(first + 1, |at, byte| {
                let at = after_breaks(text, at);
                (text.get(at) == Some(byte)).then_some(at + 1)
            });
        if let Some(end) = end {
            return Some(Label { environment, start, end });
        }
    }
}

/// The text from a position on, which is empty if the position is beyond its end.
pub(super) fn from(text: &[u8], at: usize) -> &[u8] {
    text.get(at..).unwrap_or_default()
}

pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The end of a run that is redacted as one: letters, digits, underscores and single dashes between
/// them. So the rest of a key with a wrong character does not stay readable.
pub(super) fn end_of_run(text: &[u8], body: usize) -> usize {
    (body..).find(|at| !goes_on(text, *at)).unwrap_or(body)
}

/// Whether a run goes on with the character at a position. A single letter before a quote is not
/// part of it: it may be part of the string's syntax (E'…', U&'…').
fn goes_on(text: &[u8], at: usize) -> bool {
    let is_prefix = |at: usize| matches!(text.get(at + 1), Some(b'\'' | b'"' | b'&'));
    match text.get(at) {
        Some(b'-') => text.get(at + 1).is_some_and(|next| is_word(*next)) && !is_prefix(at + 1),
        byte => byte.is_some_and(|byte| is_word(*byte)),
    }
}

/// The length in bytes of the break at the beginning of a text, or 0 without a break. A break is a
/// space, a line break, a soft hyphen, or a character without width.
///
/// The text's encoding is not known here: the breaks of UTF-8 and those of encodings with one byte
/// for each character (LATIN1, for example) both count. In UTF-8, the latter begin no character.
fn break_length(text: &[u8]) -> usize {
    match text {
        [b'!'..=b'~', ..] => 0,
        // White space of ASCII; U+00A0 and U+00AD in LATIN1.
        [b'\t'..=b'\r' | b' ' | 0xa0 | 0xad, ..] => 1,
        // U+0085, U+00A0, U+00AD.
        [0xc2, 0x85 | 0xa0 | 0xad, ..] => 2,
        // U+2000 to U+200F, U+2028 to U+202F, U+205F to U+206F, U+3000, U+FEFF.
        [0xe2, 0x80, 0x80..=0x8f | 0xa8..=0xaf, ..]
        | [0xe2, 0x81, 0x9f..=0xaf, ..]
        | [0xe3, 0x80, 0x80, ..]
        | [0xef, 0xbb, 0xbf, ..] => 3,
        _ => 0,
    }
}

/// The position after the breaks at a position, of which there are at most [`MAX_BREAKS`].
fn after_breaks(text: &[u8], mut at: usize) -> usize {
    for _ in 0..MAX_BREAKS {
        match break_length(from(text, at)) {
            0 => break,
            length => at += length,
        }
    }
    at
}

/// Whether the text ends at a position; a string of C ends with a null.
fn is_end(text: &[u8], at: usize) -> bool {
    matches!(from(text, at), [] | [0, ..])
}

/// Whether the server has cut the text at a position.
fn is_cut(text: &[u8], at: usize) -> bool {
    from(text, at).starts_with(b"...")
}

/// Whether what follows a label is a hint or a name with words behind it, as in "vpk_live_aBcD was
/// revoked" or "vpk_live_billing ORDER BY id LIMIT 10". A part of a key hardly ever looks so.
fn is_sentence(text: &[u8]) -> bool {
    let is_plain = |word: &[u8]| {
        let all = |is_kind: fn(&u8) -> bool| word.iter().all(|byte| is_kind(byte) || *byte == b'_');
        all(u8::is_ascii_lowercase)
            || all(u8::is_ascii_digit)
            || (all(u8::is_ascii_uppercase) && word.len() > 1)
    };
    let mut words = text.split(|byte| !is_word(*byte)).filter(|word| !word.is_empty());
    let begins = words.next().is_some_and(|first| first.len() == SHOWN || is_plain(first));
    let mut rest = words.peekable();
    begins && rest.peek().is_some() && rest.all(is_plain)
}

/// A key after a label, which may have breaks in it.
pub(super) struct Joined {
    /// The end of the characters that stay readable.
    pub shown: usize,
    /// The end of the last of these characters.
    pub end: usize,
    /// The key; None where the text ends before its last character.
    pub token: Option<Token>,
}

/// The runs after a label, joined over breaks, up to their 32nd letter or digit: if these spell a
/// key, or if the text ends before the 32nd.
///
/// The checksum distinguishes a broken key from a name or a hint with other words behind it. Where
/// the text ends, the look of the words does.
#[cold]
pub(super) fn joined(text: &[u8], label: &Label) -> Option<Joined> {
    let mut key = [0; LENGTH];
    let mut missing = key.iter_mut();
    for (byte, place) in label.environment.label().iter().zip(missing.by_ref()) {
        *place = *byte;
    }
    let (mut at, mut shown) = (label.end, label.end);
    let mut characters = 0;
    while missing.len() > 0 {
        let next = if goes_on(text, at) { at } else { after_breaks(text, at) };
        if is_cut(text, next) || is_end(text, next) {
            let body = text.get(label.end..at).unwrap_or_default();
            let may_be_key = is_cut(text, next) || !is_sentence(body);
            return may_be_key.then_some(Joined { shown, end: at, token: None });
        }
        if !goes_on(text, next) || characters == MAX_CHARACTERS {
            return None;
        }
        if let Some(byte) = text.get(next).filter(|byte| byte.is_ascii_alphanumeric())
            && let Some(place) = missing.next()
        {
            *place = *byte;
        }
        at = next + 1;
        characters += 1;
        if characters <= SHOWN {
            shown = at;
        }
    }
    let token = Token::parse(&key)?;
    Some(Joined { shown, end: at, token: Some(token) })
}

/// The tokens anywhere in a text, each once.
pub fn tokens(text: &[u8]) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    let mut at = 0;
    while let Some(label) = next_label(text, at) {
        at = label.end;
        if let Some(token) = joined(text, &label).and_then(|joined| joined.token)
            && found.iter().all(|known| known.as_str() != token.as_str())
        {
            found.push(token);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    fn fresh() -> Token {
        Token::generate(Environment::Live, random::fill).expect("the system's generator answers")
    }

    fn found(text: impl AsRef<[u8]>) -> Vec<String> {
        tokens(text.as_ref()).iter().map(|token| token.as_str().to_owned()).collect()
    }

    #[test]
    fn keys_in_a_text() {
        let [one, other] = [fresh(), fresh()];
        let [a, b] = [one.as_str(), other.as_str()];
        for text in [a, &format!(" Bearer {a}\n"), &format!("\"{a}\""), &format!("key={a}&{a}xyz")]
        {
            assert_eq!(found(text), [a], "{text}");
        }
        assert_eq!(found(format!("{a}{b}")), [a, b]);
        assert_eq!(found(format!("vpk_live_{a}")), [a]);
        assert!(found(&a[1..]).is_empty());
        assert!(found(a.replace("vpk_", "VPK_")).is_empty());
    }

    #[test]
    fn a_broken_key_is_put_together() {
        let token = fresh();
        for at in 4..LENGTH {
            let (before, after) = token.as_str().split_at(at);
            for between in [" ", "\r\n\t", "\u{a0}", "\u{ad}", "\u{200b}", "\u{2060}\u{feff}"] {
                assert_eq!(found(format!("{before}{between}{after}")), [token.as_str()]);
            }
            for between in [b"\xa0", b"\xad"] {
                let text = [before.as_bytes(), between, after.as_bytes()].concat();
                assert_eq!(found(text), [token.as_str()]);
            }
            assert!(found(format!("{before}    {after}")).is_empty(), "too far apart");
            assert!(found(format!("{before}.{after}")).is_empty());
        }
        let spelled: String =
            token.as_str()[4..].chars().map(|letter| format!("{letter} ")).collect();
        assert_eq!(found(format!("vpk_{spelled}")), [token.as_str()]);
    }
}
