//! Masking (G5): no key stays readable in any text, and nothing else changes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pure::key::redact::{contains_key, redact_keys, redact_source, may_be_tag, shows_key};
use vibepeak_keys_fuzz::model;

/// From how many characters after its label on a text is taken for a key, and how many stay.
const TELLTALE: usize = 8;
const SHOWN: usize = 4;

fuzz_target!(|data: &[u8]| {
    text(data);
    if let [choice, at, rest @ ..] = data {
        let digit = |at| model::DIGITS[usize::from(*rest.get(at).unwrap_or(&0)) % 62];
        let environment = ["live", "test"][usize::from(choice & 1)];
        let key = model::key(environment, &(0..26).map(digit).collect::<Vec<_>>());
        let (before, after) = rest.split_at(usize::from(*at).min(rest.len()));
        around(before, &key, after);
    }
});

/// A whole key between any two texts.
fn around(before: &[u8], key: &[u8], after: &[u8]) {
    let whole = [before, key, after].concat();
    text(&whole);
    for (mask, by) in MASKS {
        let mut masked = whole.clone();
        assert!(mask(&mut masked));
        let body = before.len() + 9;
        assert!(masked[body + SHOWN..body + 32].iter().all(|byte| *byte == by));
    }
}

type Mask = fn(&mut [u8]) -> bool;
const MASKS: [(Mask, u8); 2] = [(redact_keys, b'*'), (redact_source, b'x')];

fn text(text: &[u8]) {
    let labelled = model::labelled(text);
    let is_key = |(body, end): &(usize, usize)| end - body >= TELLTALE;
    assert_eq!(contains_key(text), labelled.iter().any(is_key));

    for (mask, by) in MASKS {
        let mut masked = text.to_vec();
        let found = mask(&mut masked);
        assert_eq!(masked.len(), text.len());
        for (is, was) in masked.iter().zip(text) {
            // ASCII for ASCII, so that the characters around it stay whole in every encoding.
            let part_of_key = was.is_ascii_alphanumeric() || *was == b'_' || *was == b'-';
            assert!(is == was || (*is == by && part_of_key));
        }
        assert!(found || masked == text);
        assert!(!found || !labelled.is_empty());
        for (body, end) in labelled.iter().filter(|run| is_key(run)) {
            assert!(found);
            assert!(masked[body + SHOWN..*end].iter().all(|byte| *byte == by));
        }
        assert_eq!(str::from_utf8(&masked).is_ok(), str::from_utf8(text).is_ok());
        assert!(!shows_key(&masked));
        let again = masked.clone();
        mask(&mut masked);
        assert_eq!(masked, again);
    }

    let mut source = text.to_vec();
    redact_source(&mut source);
    assert_eq!(shows_key(text), source != text);
    assert_eq!(may_be_tag(text), may_be_tag(&source));
}
