//! Redacting keys and hashes in trees of nodes, as `debug_print_plan` and its like show them.
//!
//! A constant is a list of bytes there: `[ 118 112 107 95 …]`. Lines are broken anywhere, and the
//! next one begins with blanks (src/backend/nodes/outfuncs.c: outDatum; src/backend/nodes/print.c:
//! pretty_format_node_dump).
//!
//! Hooks that must not panic call these functions: nothing here is indexed or allocated.

#![warn(clippy::indexing_slicing)]

use crate::key::find::{SHOWN, TELLTALE};
use crate::key::hash;

/// The beginnings of keys.
const LABELS: [&[u8]; 2] = [b"vpk_live_", b"vpk_test_"];
/// How many bytes of a hash are searched for.
const SOUGHT: usize = 8;

/// Redacts every key in a tree, and the hash, in place and at equal length. Returns whether there
/// was one.
pub fn redact_nodes(text: &mut [u8], hash: Option<&[u8; hash::LENGTH]>) -> bool {
    let names = redact_names(text);
    let lists = redact_lists(text, hash);
    names || lists
}

/// Whether a byte is a part of a list of bytes.
fn in_list(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'-' || is_blank(byte)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n')
}

/// The first position at or after a position that is not in a break of the line.
fn after_break(text: &[u8], at: usize) -> usize {
    match text.get(at) {
        Some(b'\n') => {
            let blanks = text.get(at + 1..).unwrap_or_default().iter();
            at + 1 + blanks.take_while(|byte| **byte == b' ').count()
        }
        _ => at,
    }
}

/// Redacts keys that are names. Returns whether there was one.
fn redact_names(text: &mut [u8]) -> bool {
    let mut redacted = false;
    let mut at = 0;
    while at < text.len() {
        let Some(body) = LABELS.iter().find_map(|label| label_end(text, at, label)) else {
            at += 1;
            continue;
        };
        let long = name_bytes(text, body).count() >= TELLTALE;
        let mut next = body;
        for shown in 0.. {
            let Some(byte) = name_bytes(text, next).next() else { break };
            if long && shown >= SHOWN {
                text.get_mut(byte..=byte).unwrap_or_default().fill(b'*');
            }
            next = byte + 1;
        }
        redacted |= long;
        at = next;
    }
    redacted
}

/// The end of a label that begins at a position, if one does.
fn label_end(text: &[u8], at: usize, label: &[u8]) -> Option<usize> {
    if text.get(at) != label.first() {
        return None;
    }
    label.iter().try_fold(at, |at, byte| {
        let at = after_break(text, at);
        (text.get(at) == Some(byte)).then_some(at + 1)
    })
}

/// The positions of the letters of a name, from a position on.
fn name_bytes(text: &[u8], at: usize) -> impl Iterator<Item = usize> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let next = move |at: usize| {
        let at = after_break(text, at);
        text.get(at).is_some_and(is_word).then_some(at)
    };
    core::iter::successors(next(at), move |at| next(at + 1))
}

/// Redacts keys and the hash in lists of bytes. Returns whether there was one.
fn redact_lists(text: &mut [u8], hash: Option<&[u8; hash::LENGTH]>) -> bool {
    let mut redacted = false;
    let mut at = 0;
    while let Some(opened) = memchr::memchr(b'[', text.get(at..).unwrap_or_default()) {
        let start = at + opened + 1;
        let rest = text.get(start..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| in_list(**byte)).count();
        at = start + length;
        let list = text.get_mut(start..at).unwrap_or_default();
        if let Some(secret) = (0..list.len()).find_map(|at| secret_at(list, at, hash)) {
            list.get_mut(secret..).unwrap_or_default().fill(b'*');
            redacted = true;
        }
    }
    redacted
}

/// Where the secret begins, if a key or the hash is spelled from a position on. The rest of the
/// list is secret.
fn secret_at(list: &[u8], at: usize, hash: Option<&[u8; hash::LENGTH]>) -> Option<usize> {
    if list.get(at).is_none_or(|byte| is_blank(*byte)) {
        return None;
    }
    let label = LABELS.iter().find_map(|label| spelled(list, at, label));
    let hash = || spelled(list, at, hash?.get(..SOUGHT)?).map(|_| at);
    label.or_else(hash)
}

/// The end of the bytes, if they are spelled from a position on. A number may be broken at the end
/// of a line, so blanks do not count.
fn spelled(list: &[u8], at: usize, bytes: &[u8]) -> Option<usize> {
    bytes.iter().flat_map(|byte| decimal(*byte)).try_fold(at, |at, digit| {
        let blanks = list.get(at..)?.iter().take_while(|byte| is_blank(**byte)).count();
        (list.get(at + blanks) == Some(&digit)).then_some(at + blanks + 1)
    })
}

/// A byte as the server writes it: as a signed number.
fn decimal(byte: u8) -> impl Iterator<Item = u8> {
    let size = byte.cast_signed().unsigned_abs();
    let digit = |value: u8| b'0' + value % 10;
    let sign = (!byte.is_ascii()).then_some(b'-');
    let hundreds = (size >= 100).then(|| digit(size / 100));
    let tens = (size >= 10).then(|| digit(size / 10));
    [sign, hundreds, tens, Some(digit(size))].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ4Vi3OY";

    /// A list of bytes as the server writes it.
    fn list(bytes: &[u8]) -> String {
        let numbers = bytes.iter().map(|byte| format!("{} ", byte.cast_signed()));
        format!("[ {}]", numbers.collect::<String>())
    }

    /// The text with a break and an indentation after a number of characters.
    fn broken(text: &str, at: usize) -> String {
        format!("{}\n         {}", &text[..at], &text[at..])
    }

    #[test]
    fn bytes_are_written_as_signed_numbers() {
        assert!((0..=u8::MAX).all(|byte| {
            let written: Vec<u8> = decimal(byte).collect();
            written == byte.cast_signed().to_string().into_bytes()
        }));
    }

    #[test]
    fn a_list_of_bytes_shows_no_key() {
        let value = [b"\xb0\0\0\0", KEY.as_bytes()].concat();
        let tree = format!("{{CONST :constvalue 45 {} :other [ 1 2 ]}}", list(&value));
        for at in 0..tree.len() {
            let mut text = broken(&tree, at).into_bytes();
            let length = text.len();
            assert!(redact_nodes(&mut text, None));
            assert_eq!(text.len(), length);
            let text = String::from_utf8(text).expect("the same encoding");
            let text = text.replace(['\n', ' '], "");
            let start = "{CONST:constvalue45[-800001181121079510810511810195";
            let secret =
                text.strip_prefix(start).and_then(|rest| rest.strip_suffix("]:other[12]}"));
            let hidden = secret.is_some_and(|secret| secret.bytes().all(|byte| byte == b'*'));
            assert!(hidden, "{text}");
        }
    }

    #[test]
    fn a_list_of_bytes_shows_no_hash() {
        let hash = core::array::from_fn(|at| 7_u8.wrapping_mul(at as u8).wrapping_add(120));
        let tree = list(&[b"\x90\0\0\0", hash.as_slice()].concat());
        let mut text = tree.clone().into_bytes();
        assert!(!redact_nodes(&mut text, None));
        assert!(redact_nodes(&mut text, Some(&hash)));
        assert!(text.starts_with(b"[ -112 0 0 0 ***"));
        assert!(!redact_nodes(&mut list(&[0; 32]).into_bytes(), Some(&hash)));
    }

    #[test]
    fn a_name_shows_no_key() {
        let tree = format!("{{TARGETENTRY :resname {KEY} :ressortgroupref 0}}");
        for at in 0..=tree.len() {
            let mut text = broken(&tree, at).into_bytes();
            assert!(redact_nodes(&mut text, None));
            let text = String::from_utf8(text).expect("the same encoding");
            let joined = text.replace("\n         ", "");
            assert_eq!(joined, tree.replace(&KEY[13..], &"*".repeat(KEY.len() - 13)));
        }
        let mut short = *b":resname vpk_live_billing :ressortgroupref 0";
        assert!(!redact_nodes(&mut short, None));
    }
}
