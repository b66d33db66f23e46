//! The `Authorization` header's value (RFC 9110, section 11.6.2; RFC 6750, section 2.1).

use crate::key::redact;
use crate::white_space::trimmed;

/// The longest value that is read, in bytes. No server passes a longer header on, so a longer value
/// is never a key.
pub const MAX_LENGTH: usize = 8192;

/// The credential of a `Bearer` header; None if the header carries none.
///
/// White space around the value is not part of it. The scheme is matched without regard to case,
/// and one or more spaces follow it.
pub fn credential(header: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = trimmed(header).split_at_checked(b"Bearer".len())?;
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    let carries = scheme.eq_ignore_ascii_case(b"Bearer") && spaces > 0;
    carries.then_some(&rest[spaces..])
}

/// Whether the header has a key in it that no `Bearer` precedes, or no space behind that.
pub fn has_bare_key(header: &[u8]) -> bool {
    credential(header).is_none() && redact::contains_key(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers() {
        for (header, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("BEARER   abc", Some("abc")),
            (" \tBearer abc\t ", Some("abc")),
            ("\x0bBearer abc\r\n\x0b\x0c", Some("abc")),
            ("Bearer abc def", Some("abc def")),
            ("Bearer \tabc", Some("\tabc")),
            ("Bearer\tabc", None),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearer \t", None),
            ("Bearer \x0b", None),
            ("Bearerabc", None),
            ("Basic abc", None),
            ("abc", None),
            ("", None),
            ("   ", None),
        ] {
            assert_eq!(credential(header.as_bytes()), expected.map(str::as_bytes), "{header:?}");
        }
    }

    #[test]
    fn a_key_without_bearer_is_noticed() {
        const KEY: &str = "vpk_live_aBcDeFgHiJkLmNoPqRsTuVwXyZ4Vi3OY";
        for before in ["", "Token ", "Basic ", "Bearer\t", "Bearer:", "Bearer", "ApiKey key="] {
            assert!(has_bare_key(format!("{before}{KEY}").as_bytes()), "{before}");
        }
        for header in
            ["", "Bearer", "Basic dXNlcjpwYXNz", "Token vpk_live", &format!("Bearer {KEY}")]
        {
            assert!(!has_bare_key(header.as_bytes()), "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_accepted(header in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(credential) = credential(&header) {
                prop_assert!(!credential.is_empty());
            }
        }

        #[test]
        fn a_credential_comes_back_as_it_was(text in "[!-~]{1,60}", spaces in " {1,5}") {
            let header = format!("Bearer{spaces}{text}");
            prop_assert_eq!(credential(header.as_bytes()), Some(text.as_bytes()));
        }
    }
}
