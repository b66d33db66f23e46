//! Redaction (G5): no key stays readable in any text, and nothing else changes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pure::key::find::tokens;
use pure::key::redact::{
    contains_key, may_be_tag, redact_keys, redact_source, redact_value, shows_key,
};
use vibepeak_keys_fuzz::model;

/// How many characters after its label make a text a key, and how many of them stay readable.
const TELLTALE: usize = 8;
const SHOWN: usize = 4;

/// What may be between two characters of a key that was broken, in UTF-8 and LATIN1.
const BREAKS: [&[u8]; 8] = [
    b"",
    b" ",
    b"\r\n",
    b"\n  ",
    b"\xa0",
    b"\xad",
    "\u{200b}".as_bytes(),
    "\u{ad}\u{a0}\u{feff}".as_bytes(),
];

fuzz_target!(|data: &[u8]| {
    text(data);
    if let [choice, at, rest @ ..] = data {
        let digit = |at| model::DIGITS[usize::from(*rest.get(at).unwrap_or(&0)) % 62];
        let environment = ["live", "test"][usize::from(choice & 1)];
        let key = model::key(environment, &(0..26).map(digit).collect::<Vec<_>>());
        let (before, after) = rest.split_at(usize::from(*at).min(rest.len()));
        around(before, &key, |_| &[], after);
        // A break behind one character, or behind each.
        let place = usize::from(choice >> 4);
        around(before, &key, |at| if at % 16 == place { BREAKS[at / 16 + 1] } else { &[] }, after);
        around(before, &key, |at| BREAKS[(at + usize::from(*choice)) % BREAKS.len()], after);
    }
});

/// A whole key between any two texts, with breaks behind its characters from `vpk_` on.
fn around<'b>(before: &[u8], key: &[u8], between: impl Fn(usize) -> &'b [u8], after: &[u8]) {
    let mut whole = before.to_vec();
    let mut places = Vec::new();
    for (at, byte) in key.iter().enumerate() {
        places.push(whole.len());
        whole.push(*byte);
        if (3..40).contains(&at) {
            whole.extend(between(at));
        }
    }
    whole.extend(after);
    text(&whole);
    assert!(contains_key(&whole));
    assert!(tokens(&whole).iter().any(|token| token.as_str().as_bytes() == key));
    for (redact, by, _) in REDACTIONS {
        let mut redacted = whole.clone();
        assert!(redact(&mut redacted));
        assert!(places[9 + SHOWN..].iter().all(|place| redacted[*place] == by));
    }
}

type Redact = fn(&mut [u8]) -> bool;
/// Each with what it writes, and whether it takes the end of a text for a cut.
const REDACTIONS: [(Redact, u8, bool); 3] =
    [(redact_keys, b'*', true), (redact_source, b'x', true), (redact_value, b'*', false)];

fn text(text: &[u8]) {
    let labelled = model::labelled(text);
    let is_key = |(body, end): &(usize, usize)| end - body >= TELLTALE;
    let whole = !tokens(text).is_empty();
    // A label that is broken counts too; the model finds whole labels alone.
    assert!(contains_key(text) || !(whole || labelled.iter().any(is_key)));
    assert!(!contains_key(text) || redact_value(&mut text.to_vec()));

    for (redact, by, cuts) in REDACTIONS {
        let mut redacted = text.to_vec();
        let found = redact(&mut redacted);
        assert_eq!(redacted.len(), text.len());
        for (is, was) in redacted.iter().zip(text) {
            // ASCII for ASCII, so that the characters around it stay whole in every encoding.
            let part_of_key = was.is_ascii_alphanumeric() || *was == b'_' || *was == b'-';
            assert!(is == was || (*is == by && part_of_key));
        }
        assert!(found || redacted == text);
        assert!(!found || text.windows(4).any(|part| part == b"vpk_"));
        for (body, end) in labelled.iter().filter(|run| is_key(run)) {
            assert!(found);
            assert!(redacted[body + SHOWN..*end].iter().all(|byte| *byte == by));
        }
        assert_eq!(str::from_utf8(&redacted).is_ok(), str::from_utf8(text).is_ok());
        assert!(!cuts || !shows_key(&redacted));
        let again = redacted.clone();
        redact(&mut redacted);
        assert_eq!(redacted, again);
    }

    let mut source = text.to_vec();
    redact_source(&mut source);
    assert_eq!(shows_key(text), source != text);
    assert_eq!(may_be_tag(text), may_be_tag(&source));
}
