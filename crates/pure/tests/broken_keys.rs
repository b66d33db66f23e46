//! G5: what a text shows of a broken key does not give the rest away.
//!
//! The checksum is a linear function of a key's characters, so it can be solved for those that are
//! missing. The model here is made from the documentation and uses nothing of the crate but the
//! functions under test.

use std::collections::HashMap;

use proptest::prelude::*;
use pure::key::redact::{contains_key, redact_keys, redact_source, redact_value, shows_key};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// A label, the random characters, and the checksum.
const LABEL: usize = 9;
const RANDOM: usize = 26;
const CHECKSUM: usize = 6;
const BODY: usize = RANDOM + CHECKSUM;
const LENGTH: usize = LABEL + BODY;

/// What the documentation calls a break, in UTF-8 and in LATIN1.
const BREAKS: [&[u8]; 14] = [
    b" ",
    b"\t",
    b"\n",
    b"\r",
    b"\x0c",
    "\u{a0}".as_bytes(),
    "\u{ad}".as_bytes(),
    "\u{200b}".as_bytes(),
    "\u{200c}".as_bytes(),
    "\u{200d}".as_bytes(),
    "\u{2060}".as_bytes(),
    "\u{feff}".as_bytes(),
    b"\xa0",
    b"\xad",
];

/// CRC-32 (IEEE 802.3), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

fn digit(value: u32, place: usize) -> u8 {
    DIGITS[(u64::from(value) / 62u64.pow((CHECKSUM - 1 - place) as u32) % 62) as usize]
}

/// The key with this label and these random characters.
fn key(label: &str, random: &str) -> Vec<u8> {
    let mut key = [label, random].concat().into_bytes();
    let sum = crc32(&key);
    key.extend((0..CHECKSUM).map(|place| digit(sum, place)));
    key
}

/// A key in a text, with breaks before some of its characters.
struct Pasted {
    text: Vec<u8>,
    /// Where the characters of the key are.
    places: Vec<usize>,
}

fn pasted(before: &[u8], key: &[u8], breaks: impl Fn(usize) -> Vec<u8>, after: &[u8]) -> Pasted {
    let mut text = before.to_vec();
    let mut places = Vec::new();
    for (at, byte) in key.iter().enumerate() {
        text.extend(breaks(at));
        places.push(text.len());
        text.push(*byte);
    }
    text.extend(after);
    Pasted { text, places }
}

/// Which characters after the label a text shows of the key that was in it.
fn readable(key: &[u8], text: &[u8], places: &[usize]) -> [Option<u8>; BODY] {
    let at = |at: usize| (text[places[LABEL + at]] == key[LABEL + at]).then_some(key[LABEL + at]);
    core::array::from_fn(at)
}

/// How many numbers of 32 bits have the digits that are readable.
fn possible_sums(digits: &[Option<u8>]) -> u64 {
    // Those with the same leading digits as the largest number, and those below.
    let (mut equal, mut below) = (1, 0);
    for (place, readable) in digits.iter().enumerate() {
        let largest = digit(u32::MAX, place);
        let fits = |wanted: &&u8| readable.is_none_or(|digit| digit == **wanted);
        let smaller = DIGITS.iter().filter(fits).filter(|digit| **digit < largest).count() as u64;
        below = below * DIGITS.iter().filter(fits).count() as u64 + equal * smaller;
        equal *= u64::from(fits(&&largest));
    }
    below + equal
}

/// How many keys fit what is readable, as a power of two: of all fillings of the gap, the part that
/// has a checksum with the readable digits.
fn candidates(readable: &[Option<u8>; BODY]) -> f64 {
    let (random, sum) = readable.split_at(RANDOM);
    let missing = random.iter().filter(|byte| byte.is_none()).count();
    missing as f64 * 62f64.log2() + (possible_sums(sum) as f64).log2() - 32.0
}

/// All keys with this label that fit what is readable, which has the whole checksum and misses
/// some of the random characters. The checksum of a sum of differences is the sum of theirs, so
/// two halves meet in the middle.
fn solve(label: &str, readable: &[Option<u8>; BODY]) -> Vec<Vec<u8>> {
    let sum = readable[RANDOM..].iter().fold(0, |sum, byte| {
        let byte = byte.expect("the whole checksum is readable");
        let value = DIGITS.iter().position(|digit| *digit == byte).expect("a digit");
        sum * 62 + value as u64
    });
    let random: String =
        readable[..RANDOM].iter().map(|byte| char::from(byte.unwrap_or(b'0'))).collect();
    let known = [label, &random].concat().into_bytes();
    let missing: Vec<usize> = (0..RANDOM).filter(|at| readable[*at].is_none()).collect();
    let difference = |at: usize, digit: u8| {
        let mut other = known.clone();
        other[LABEL + at] = digit;
        crc32(&other) ^ crc32(&known)
    };
    let fillings = |places: &[usize]| {
        places.iter().fold(vec![(0, Vec::new())], |found, at| {
            let one = DIGITS.map(|digit| (digit, difference(*at, digit)));
            let with = |(sum, digits): &(u32, Vec<u8>)| {
                let (sum, digits) = (*sum, digits.clone());
                one.map(|(digit, difference)| (sum ^ difference, [&digits[..], &[digit]].concat()))
            };
            found.iter().flat_map(with).collect()
        })
    };
    let (left, right) = missing.split_at(missing.len() / 2);
    let mut by_sum: HashMap<u32, Vec<Vec<u8>>> = HashMap::new();
    for (sum, digits) in fillings(left) {
        by_sum.entry(sum).or_default().push(digits);
    }
    let wanted = u32::try_from(sum).expect("32 bits") ^ crc32(&known);
    let mut keys = Vec::new();
    for (sum, later) in fillings(right) {
        for earlier in by_sum.get(&(sum ^ wanted)).into_iter().flatten() {
            let mut random = known[LABEL..].to_vec();
            for (at, digit) in missing.iter().zip(earlier.iter().chain(&later)) {
                random[*at] = *digit;
            }
            keys.push(key(label, core::str::from_utf8(&random).expect("ASCII")));
        }
    }
    keys
}

#[test]
fn a_gap_of_six_characters_is_solved() {
    let key = key("vpk_live_", "aBcDeFgHiJkLmNoPqRsTuVwXyZ");
    assert_eq!(key, b"vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ4Vi3OY");
    // As it was shown when only the characters before the break were redacted.
    let shown = b"vpk_live_aBcD****** kLmNoPqRsTuVwXyZ4Vi3OY";
    let places: Vec<usize> = (0..LENGTH).map(|at| if at < 19 { at } else { at + 1 }).collect();
    let readable = readable(&key, shown, &places);
    let found = solve("vpk_live_", &readable);
    assert!(found.contains(&key));
    let expected = candidates(&readable).exp2();
    assert!(found.len() < 64 && expected > 8.0 && expected < 32.0, "{} {expected}", found.len());
}

#[test]
fn the_number_of_candidates_is_right() {
    assert_eq!(possible_sums(&[None; CHECKSUM]), 1 << 32);
    assert_eq!(possible_sums(&[Some(b'4'), None, None, None, None, None]), {
        let smaller = 4 * 62u64.pow(5);
        (1 << 32) - smaller
    });
    assert_eq!(possible_sums(b"4Vi3OY".map(Some).as_slice()), 1);
    assert_eq!(possible_sums(b"zzzzzz".map(Some).as_slice()), 0);
    assert!(candidates(&[None; BODY]) > 154.0);
    assert!(candidates(&[Some(b'0'); BODY]) < 0.0);
}

type Redact = fn(&mut [u8]) -> bool;
const REDACTIONS: [Redact; 3] = [redact_keys, redact_source, redact_value];

/// Asserts that a key in a text is redacted, and that nothing else changes but what is redacted
/// with it.
fn assert_hidden(key: &[u8], pasted: &Pasted) {
    let Pasted { text, places } = pasted;
    let shown = String::from_utf8_lossy(text);
    assert!(contains_key(text), "{shown:?}");
    for redact in REDACTIONS {
        let mut redacted = text.clone();
        let changed = redact(&mut redacted);
        assert_eq!(changed, redacted != *text);
        let readable = readable(key, &redacted, places);
        // An x that was an x is readable by chance.
        let beyond = readable[4..].iter().filter(|byte| !matches!(byte, None | Some(b'x'))).count();
        let legible = String::from_utf8_lossy(&redacted);
        assert_eq!(beyond, 0, "{shown:?} {legible:?}");
        assert!(candidates(&readable) >= 60.0, "{shown:?} {legible:?}");
        assert_eq!(redacted.len(), text.len());
        for (is, was) in redacted.iter().zip(text) {
            let of_key = was.is_ascii_alphanumeric() || b"_-".contains(was);
            assert!(is == was || (of_key && b"*x".contains(is)), "{shown:?} {legible:?}");
        }
        assert!(!shows_key(&redacted), "{shown:?} {legible:?}");
        let again = redacted.clone();
        redact(&mut redacted);
        assert_eq!(redacted, again);
    }
}

#[test]
fn a_break_anywhere_behind_vpk_hides_nothing() {
    for label in ["vpk_live_", "vpk_test_"] {
        let key = key(label, "aBcDeFgHiJkLmNoPqRsTuVwXyZ");
        for at in 4..LENGTH {
            for one in BREAKS {
                for count in 1..=3 {
                    for (before, after) in
                        [("", ""), ("'", "'"), ("key ", " is leaked"), ("_", "...")]
                    {
                        let breaks = |here| if here == at { one.repeat(count) } else { Vec::new() };
                        assert_hidden(
                            &key,
                            &pasted(before.as_bytes(), &key, breaks, after.as_bytes()),
                        );
                    }
                }
            }
        }
    }
}

/// At the end of a text, a part of a key may look like a word, but not for long.
#[test]
fn a_cut_shows_four_characters() {
    let key = key("vpk_live_", "aBcDeFgHiJkLmNoPqRsTuVwXyZ");
    for at in 4..LENGTH {
        let breaks = |here| if here == at { b"\n".to_vec() } else { Vec::new() };
        for length in LABEL..LENGTH {
            for (after, shown) in [("...", 4), ("...'", 4), ("", 5), (" ", 5)] {
                let Pasted { text, places } =
                    pasted(b"$1 = '", &key[..length], breaks, after.as_bytes());
                let mut redacted = text.clone();
                redact_keys(&mut redacted);
                let legible = String::from_utf8_lossy(&redacted);
                let hidden =
                    places.iter().skip(LABEL + 4).filter(|place| redacted[**place] == b'*');
                let beyond = places.len().saturating_sub(LABEL + 4) - hidden.count();
                assert!(beyond <= shown - 4, "{legible:?}");
            }
        }
    }
}

/// Up to three breaks.
fn some_breaks() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(BREAKS.as_slice()), 0..=3)
        .prop_map(|breaks| breaks.concat())
}

proptest! {
    /// With breaks at any places, in any surroundings, other labels included.
    #[test]
    fn no_broken_key_survives(
        before in prop_oneof![".{0,40}", "[ a-z'\"$]{0,9}vpk_(live|test)_[0-9A-Za-z -]{0,40}"],
        label in "vpk_(live|test)_",
        random in "[0-9A-Za-z]{26}",
        breaks in prop::collection::vec(
            prop_oneof![9 => Just(Vec::new()), 1 => some_breaks()], LENGTH),
        after in prop_oneof![".{0,40}", "[ 0-9A-Za-z_-]{0,40}"],
    ) {
        let key = key(&label, &random);
        let breaks = |at: usize| if at < 4 { Vec::new() } else { breaks[at].clone() };
        let Pasted { text, places } = pasted(before.as_bytes(), &key, breaks, after.as_bytes());
        assert_hidden(&key, &Pasted { text, places });
    }
}
