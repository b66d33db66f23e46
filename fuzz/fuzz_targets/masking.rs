//! Redaction (G5): no key stays readable in any text, and nothing else changes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pure::key::redact::{contains_key, may_be_tag, redact_keys, redact_source, shows_key};
use vibepeak_keys_fuzz::model;

/// How many characters after its label make a text a key, and how many of them stay readable.
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
    for (redact, by) in REDACTIONS {
        let mut redacted = whole.clone();
        assert!(redact(&mut redacted));
        let body = before.len() + 9;
        assert!(redacted[body + SHOWN..body + 32].iter().all(|byte| *byte == by));
    }
}

type Redact = fn(&mut [u8]) -> bool;
const REDACTIONS: [(Redact, u8); 2] = [(redact_keys, b'*'), (redact_source, b'x')];

fn text(text: &[u8]) {
    let labelled = model::labelled(text);
    let is_key = |(body, end): &(usize, usize)| end - body >= TELLTALE;
    assert_eq!(contains_key(text), labelled.iter().any(is_key));

    for (redact, by) in REDACTIONS {
        let mut redacted = text.to_vec();
        let found = redact(&mut redacted);
        assert_eq!(redacted.len(), text.len());
        for (is, was) in redacted.iter().zip(text) {
            // ASCII for ASCII, so that the characters around it stay whole in every encoding.
            let part_of_key = was.is_ascii_alphanumeric() || *was == b'_' || *was == b'-';
            assert!(is == was || (*is == by && part_of_key));
        }
        assert!(found || redacted == text);
        assert!(!found || !labelled.is_empty());
        for (body, end) in labelled.iter().filter(|run| is_key(run)) {
            assert!(found);
            assert!(redacted[body + SHOWN..*end].iter().all(|byte| *byte == by));
        }
        assert_eq!(str::from_utf8(&redacted).is_ok(), str::from_utf8(text).is_ok());
        assert!(!shows_key(&redacted));
        let again = redacted.clone();
        redact(&mut redacted);
        assert_eq!(redacted, again);
    }

    let mut source = text.to_vec();
    redact_source(&mut source);
    assert_eq!(shows_key(text), source != text);
    assert_eq!(may_be_tag(text), may_be_tag(&source));
}
