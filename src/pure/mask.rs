//! Finding keys in text that is about to be kept.

const LABELS: [&[u8]; 2] = [b"vpk_live_", b"vpk_test_"];
/// What of a key may be seen: the label and four characters, as in its hint.
const SHOWN: usize = 4;
/// From how many characters after the label on a text is taken for a key.
const TELLTALE: usize = 8;

/// Where keys stand in a text, well-formed or not: whatever starts like one and goes on for eight or
/// more characters of the alphabet. Each range covers what must not be seen.
fn secrets(text: &[u8]) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < text.len() {
            let start = at;
            at += 1;
            if LABELS.iter().any(|label| text[start..].starts_with(label)) {
                let body = start + LABELS[0].len();
                let length =
                    text[body..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
                if length >= TELLTALE {
                    at = body + length;
                    return Some(body + SHOWN..at);
                }
            }
        }
        None
    })
}

/// Whether the text carries what may be a key.
pub fn contains_key(text: &[u8]) -> bool {
    secrets(text).next().is_some()
}

/// Replaces the secret part of every key in the text by asterisks, at equal length.
pub fn mask_keys(text: &mut [u8]) {
    let ranges: Vec<_> = secrets(text).collect();
    ranges.into_iter().for_each(|range| text[range].fill(b'*'));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        mask_keys(&mut bytes);
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
            ("vpk_live_1234567", "vpk_live_1234567"),
            ("vpk_live_vpk_live_123456789", "vpk_live_vpk_live_1234*****"),
            ("nothing", "nothing"),
            ("", ""),
        ] {
            assert_eq!(masked(text), expected);
            assert_eq!(contains_key(text.as_bytes()), text != expected);
        }
    }
}
