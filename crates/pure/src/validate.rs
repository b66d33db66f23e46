//! The limits of what may be stored with a key, and the errors for values beyond them.

use crate::characters::{composed, is_invisible, is_unassigned};
use crate::encoding::{Encoding, utf8};
use crate::error::{CallError, quoted};
use crate::key::environment::Environment;
use crate::key::redact;
use crate::request::network::Network;
use crate::request::scope::is_scope;
use crate::white_space;

/// The longest name of a key or an account, in characters.
pub const MAX_NAME_CHARACTERS: usize = 255;
/// The latest end of a key, 9999-12-31 00:00:00+00, in microseconds since 2000-01-01 UTC. Every
/// driver reads it in every time zone; some cannot read a year beyond 9999.
pub const LATEST_EXPIRY: i64 = 252_455_529_600_000_000;
/// How many characters of a revocation's reason are stored.
pub const MAX_REASON_CHARACTERS: usize = 1000;
/// The largest metadata, in bytes of its text.
pub const MAX_METADATA_BYTES: usize = 16 * 1024;
/// The most scopes of a key.
pub const MAX_SCOPES: usize = 100;
/// The longest scope, in bytes.
pub const MAX_SCOPE_BYTES: usize = 255;
/// The most networks a key may be limited to.
pub const MAX_NETWORKS: usize = 256;

/// Checks a key's name, and returns it without the white space around it.
pub fn name<'name>(value: &'name [u8], encoding: &impl Encoding) -> Result<&'name [u8], CallError> {
    let name = trimmed(value, encoding);
    text("name", name, encoding)?;
    visible("name", name, encoding, is_joined)?;
    Ok(name)
}

/// Checks the name of an account that may exist. The application chose it, so white space around it
/// is an error.
pub fn account(value: &[u8], encoding: &impl Encoding) -> Result<(), CallError> {
    if trimmed(value, encoding).len() < value.len() {
        return Err(CallError::invalid("invalid account")
            .detail("The account begins or ends with white space.")
            .hint("Remove the white space around the name."));
    }
    text("account", value, encoding)
}

/// Checks what only the name of a new account must fulfil: an earlier release may have made others.
/// Returns the name to store if it is not the value: its composed spelling.
pub fn new_account(value: &[u8], encoding: &impl Encoding) -> Result<Option<String>, CallError> {
    visible("account", value, encoding, |_, _, _| false)?;
    let name = utf8(value, encoding).and_then(composed);
    name.as_ref().map_or(Ok(()), |name| account(name.as_bytes(), encoding))?;
    Ok(name)
}

/// Checks the name of a plan that an account is put on.
pub fn plan(value: &[u8]) -> Result<(), CallError> {
    no_key("plan", value)
}

/// Checks the name of a new plan. The table checks its length and control characters.
pub fn new_plan(value: &[u8], encoding: &impl Encoding) -> Result<(), CallError> {
    plan(value)?;
    visible("plan", value, encoding, |_, _, _| false)?;
    if utf8(value, encoding).and_then(composed).is_some() {
        return Err(CallError::invalid("invalid plan")
            .detail("The plan is not in Unicode's normalization form C (NFC).")
            .hint("Write the name as normalize(name): it looks the same."));
    }
    Ok(())
}

/// The reason of a revocation as it is stored: cut to [`MAX_REASON_CHARACTERS`], with keys
/// redacted; None if it is blank. It is never refused, since a revocation is urgent.
pub fn reason(value: &[u8], encoding: &impl Encoding) -> Option<Vec<u8>> {
    let mut kept = trimmed(value, encoding).to_vec();
    // Before the cut, since a part of a key may not look like one.
    redact::redact_value(&mut kept);
    kept.truncate(encoding.bytes_of_characters(&kept, MAX_REASON_CHARACTERS));
    (!kept.is_empty()).then_some(kept)
}

/// The name of a request to issue a key, so that it can be asked again.
pub fn idempotency_key(value: &[u8], encoding: &impl Encoding) -> Result<(), CallError> {
    text("idempotency_key", value, encoding)
}

/// The text without the white space around it: Unicode's if the text is UTF-8, else ASCII's.
fn trimmed<'text>(value: &'text [u8], encoding: &impl Encoding) -> &'text [u8] {
    utf8(value, encoding).map_or(white_space::trimmed(value), |text| text.trim().as_bytes())
}

fn text(what: &str, value: &[u8], encoding: &impl Encoding) -> Result<(), CallError> {
    no_key(what, value)?;
    let characters = encoding.characters(value);
    if !matches!(characters, 1..=MAX_NAME_CHARACTERS) {
        return Err(CallError::invalid(format!("invalid {what}")).detail(format!(
            "The {what} has {characters} characters; it must have 1 to {MAX_NAME_CHARACTERS}."
        )));
    }
    let control = utf8(value, encoding).map_or_else(
        || value.iter().any(u8::is_ascii_control),
        |text| text.contains(char::is_control),
    );
    if control {
        return Err(CallError::invalid(format!("invalid {what}"))
            .detail(format!("The {what} contains control characters."))
            .hint("Remove line breaks, tabs and other control characters."));
    }
    Ok(())
}

/// Refuses characters that cannot be seen or that change the direction of others, but those that
/// may be between their neighbours; and characters that Unicode does not have. Two names that look
/// alike would be two names.
///
/// Only UTF-8 is read.
fn visible(
    what: &str,
    value: &[u8],
    encoding: &impl Encoding,
    may_be_between: impl Fn(char, Option<char>, Option<char>) -> bool,
) -> Result<(), CallError> {
    let text = utf8(value, encoding).unwrap_or_default();
    let refused = text.char_indices().find_map(|(at, character)| {
        if is_unassigned(character) {
            return Some((character, "is not assigned in Unicode"));
        }
        let (before, after) = (text.get(..at), text.get(at + character.len_utf8()..));
        let before = before.and_then(|text| text.chars().next_back());
        let after = after.and_then(|text| text.chars().next());
        (is_invisible(character) && !may_be_between(character, before, after))
            .then_some((character, "cannot be seen or changes the direction of text"))
    });
    let Some((character, why)) = refused else { return Ok(()) };
    Err(CallError::invalid(format!("invalid {what}"))
        .detail(format!(
            "The {what} contains the character U+{:04X}, which {why}.",
            u32::from(character)
        ))
        .hint("Remove this character."))
}

/// Whether a character belongs to its neighbours: a joiner of letters or emoji between two, or a
/// variation selector after one.
fn is_joined(character: char, before: Option<char>, after: Option<char>) -> bool {
    let is_seen = |character: &char| !is_invisible(*character) && !character.is_whitespace();
    let is_selector = |character: &char| matches!(character, '\u{fe00}'..='\u{fe0f}');
    match character {
        '\u{200c}' | '\u{200d}' => {
            before.is_some_and(|before| is_seen(&before) || is_selector(&before))
                && after.as_ref().is_some_and(is_seen)
        }
        _ => is_selector(&character) && before.as_ref().is_some_and(is_seen),
    }
}

/// The states of keys, as vpk.key_list names them.
const STATES: [&str; 4] = ["active", "disabled", "expired", "revoked"];

/// Checks the name of a state of keys.
pub fn state(value: &[u8]) -> Result<(), CallError> {
    if STATES.iter().any(|state| state.as_bytes() == value) {
        return Ok(());
    }
    Err(CallError::invalid(format!("invalid state {}", quoted(value)))
        .hint("The states are \"active\", \"disabled\", \"expired\" and \"revoked\"."))
}

/// The environment of a name.
pub fn environment(value: &[u8]) -> Result<Environment, CallError> {
    Environment::from_name(value).ok_or_else(|| {
        CallError::invalid(format!("invalid environment {}", quoted(value)))
            .hint("The environments are \"live\" and \"test\".")
    })
}

/// Checks a key's scopes: each must be a scope-token of RFC 6749, which fits a header field.
pub fn scopes(values: &[Option<&[u8]>]) -> Result<(), CallError> {
    if values.len() > MAX_SCOPES {
        return Err(CallError::invalid("too many scopes").detail(format!(
            "The list has {} scopes; a key can have {MAX_SCOPES}.",
            values.len()
        )));
    }
    for value in values {
        let value = value.ok_or_else(|| {
            CallError::invalid("invalid scope").detail("A scope in the list is null.")
        })?;
        no_key("scope", value)?;
        if !is_scope(value) || value.len() > MAX_SCOPE_BYTES {
            return Err(CallError::invalid(format!("invalid scope {}", quoted(value))).hint(format!(
                "A scope is 1 to {MAX_SCOPE_BYTES} printable ASCII characters without space, quote \
                 and backslash, for example \"tasks:write\"."
            )));
        }
    }
    Ok(())
}

/// Checks the networks that a key is limited to.
pub fn networks(values: &[Option<Network>]) -> Result<(), CallError> {
    if values.len() > MAX_NETWORKS {
        return Err(CallError::invalid("too many addresses").detail(format!(
            "The list has {} networks; a key can be limited to {MAX_NETWORKS}.",
            values.len()
        )));
    }
    if values.contains(&None) {
        return Err(CallError::invalid("invalid address").detail("A network in the list is null."));
    }
    Ok(())
}

/// Checks a key's metadata, which is JSON text.
pub fn metadata(json: &[u8]) -> Result<(), CallError> {
    no_key("metadata", json)?;
    if json.first() != Some(&b'{') {
        return Err(CallError::invalid("metadata must be a JSON object")
            .hint("Wrap the value, for example {\"value\": 1}."));
    }
    if json.len() > MAX_METADATA_BYTES {
        return Err(CallError::invalid("metadata is too large").detail(format!(
            "Its text has {} bytes; it may have {MAX_METADATA_BYTES}.",
            json.len()
        )));
    }
    Ok(())
}

/// Refuses a value with a key in it, since the value is stored in plain text.
fn no_key(what: &str, value: &[u8]) -> Result<(), CallError> {
    if !redact::contains_key(value) {
        return Ok(());
    }
    Err(CallError::invalid(format!("the {what} contains what looks like an API key"))
        .hint("Only a key's hash is ever stored. Use the key's id to refer to it."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::examples::{Latin1, Utf8};

    #[test]
    fn names() {
        assert_eq!(name(b"  Production \n", &Utf8), Ok(&b"Production"[..]));
        assert_eq!(name("ü".repeat(255).as_bytes(), &Utf8).map(<[u8]>::len), Ok(510));
        assert_eq!(name("\u{a0}a\u{2003}".as_bytes(), &Utf8), Ok(&b"a"[..]));
        // Two letters and a space of LATIN1, which are one no-break space in UTF-8.
        assert_eq!(name(b"Foo\xc2\xa0", &Latin1), Ok(&b"Foo\xc2\xa0"[..]));
        for refused in [&b""[..], b" \t ", &[b'a'; 256], b"a\nb", b"a\x7fb", "a\u{85}b".as_bytes()]
        {
            let error = name(refused, &Utf8).expect_err("refused");
            assert!(error.detail.is_some() || error.hint.is_some());
        }
        assert!(name(b"vpk_live_12345678", &Utf8).is_err());
        assert!(account(b" acme", &Utf8).is_err());
        assert_eq!(name(b"\x0ba\x0c\x0b", &Utf8), name(b"a", &Utf8));
        assert_eq!(name(b"\x0ba\x0c\x0b", &Latin1), name(b"a", &Latin1));
        assert!(account(b"\xe4\xf6", &Latin1).is_ok());
        assert!(account(b"\xe4\n", &Latin1).is_err());
    }

    #[test]
    fn names_show_all_their_characters() {
        for seen in ["acme", "café", "عمل", "東京", "नमस्ते", "a\u{2003}b", "👍🏽"]
        {
            assert!(name(seen.as_bytes(), &Utf8).is_ok(), "{seen}");
            assert!(new_account(seen.as_bytes(), &Utf8).is_ok(), "{seen}");
            assert!(new_plan(seen.as_bytes(), &Utf8).is_ok(), "{seen}");
        }
        // Persian and emoji are written with joiners.
        for joined in
            ["می\u{200c}خواهم", "👩\u{200d}👩\u{200d}👧", "I ❤\u{fe0f}", "❤\u{fe0f}\u{200d}🔥"]
        {
            assert!(name(joined.as_bytes(), &Utf8).is_ok(), "{joined}");
            assert!(new_account(joined.as_bytes(), &Utf8).is_err(), "{joined}");
        }
        for unseen in [
            "\u{200b}",
            "ac\u{200b}me",
            "acme\u{200d}",
            "\u{200c}acme",
            "a\u{200d} b",
            "a\u{200d}\u{200d}b",
            "\u{fe0f}a",
            "a\u{ad}b",
            "a\u{202e}b",
            "a\u{2066}b\u{2069}",
            "a\u{200f}",
            "a\u{feff}b",
            "a\u{2028}b",
            "\u{3164}",
            "\u{e0061}",
            "a\u{378}",
            "\u{fdd0}",
            "\u{10ffff}",
        ] {
            let unseen = unseen.as_bytes();
            for refused in [
                name(unseen, &Utf8).map(|_| ()),
                new_account(unseen, &Utf8).map(|_| ()),
                new_plan(unseen, &Utf8),
            ] {
                let error = refused.expect_err("refused");
                assert!(error.detail.is_some_and(|detail| detail.contains("U+")));
            }
            // An account of an earlier release can still be used.
            assert!(account(unseen, &Utf8).is_ok());
        }
        assert_eq!(new_account(b"a\xad", &Latin1), Ok(None));
    }

    #[test]
    fn new_names_have_one_spelling() {
        assert_eq!(new_account("caf\u{e9}".as_bytes(), &Utf8), Ok(None));
        let decomposed = "cafe\u{301}".as_bytes();
        assert_eq!(new_account(decomposed, &Utf8), Ok(Some("caf\u{e9}".into())));
        assert_eq!(new_account(decomposed, &Latin1), Ok(None));
        assert!(new_plan("caf\u{e9}".as_bytes(), &Utf8).is_ok());
        assert!(new_plan(decomposed, &Utf8).is_err());
        assert!(new_plan(decomposed, &Latin1).is_ok());
        // A few characters become longer when they are composed.
        assert!(new_account("\u{958}".repeat(128).as_bytes(), &Utf8).is_err());
    }

    #[test]
    fn plans() {
        assert!(plan(b"vpk_live_billing").is_ok());
        for refused in [&b"vpk_live_12345678"[..], b"vpk_live_aBcDeF gHiJkLmNoPqRsTuVwXyZ4Vi3OY"] {
            assert!(plan(refused).is_err() && new_plan(refused, &Latin1).is_err());
        }
    }

    #[test]
    fn reasons() {
        assert_eq!(reason(b" leaked ", &Utf8), Some(b"leaked".to_vec()));
        assert_eq!(reason(b"  ", &Utf8), None);
        assert_eq!(reason("ü".repeat(2000).as_bytes(), &Utf8).map(|kept| kept.len()), Some(2000));
        let redacted = b"vpk_live_1234*****".to_vec();
        assert_eq!(reason(b"vpk_live_123456789", &Latin1), Some(redacted));
        let at_the_cut = [&[b'x'; 985][..], b"vpk_live_123456789"].concat();
        assert!(reason(&at_the_cut, &Utf8).is_some_and(|kept| kept.ends_with(b"vpk_live_1234**")));
    }

    #[test]
    fn lists() {
        assert!(scopes(&[Some(b"tasks:write"), Some(b"read")]).is_ok());
        assert!(scopes(&[]).is_ok());
        for refused in [None, Some(&b""[..]), Some(b"a b"), Some(b"a\"b"), Some(&[b'a'; 256])] {
            assert!(scopes(&[refused]).is_err());
        }
        assert!(scopes(&[Some(&b"a"[..]); 101]).is_err());

        let network = Some(Network::v4([192, 0, 2, 0], 24));
        assert!(networks(&[network]).is_ok());
        assert!(networks(&[]).is_ok());
        assert!(networks(&[network, None]).is_err());
        assert!(networks(&[network; 257]).is_err());
    }

    #[test]
    fn objects() {
        assert!(metadata(b"{}").is_ok());
        assert!(metadata(b"[1]").is_err());
        assert!(metadata(b"1").is_err());
        let fits = format!("{{\"a\": \"{}\"}}", "x".repeat(MAX_METADATA_BYTES - 9));
        assert_eq!(fits.len(), MAX_METADATA_BYTES);
        assert!(metadata(fits.as_bytes()).is_ok());
        assert!(metadata(fits.replace('x', "xx").as_bytes()).is_err());
        assert!(metadata(b"{\"key\": \"vpk_test_aaaaaaaaaaaa\"}").is_err());
    }
}
