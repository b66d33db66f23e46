//! The characters of names: those that cannot be seen, and the spellings of one text.

use unicode_normalization::{UnicodeNormalization, is_nfc};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use crate::encoding::{Encoding, utf8};

/// The longest text whose other spellings are of interest, in bytes. No name is longer: 255
/// characters of at most four bytes, which can take three times as many in another spelling
/// (Unicode Standard Annex 15, section 9).
pub const MAX_SPELLED_BYTES: usize = 255 * 4 * 3;

/// Characters that have no shape of their own, or change the direction of others, as ranges:
/// Unicode's categories Cf, Zl and Zp, and its property Default_Ignorable_Code_Point.
const INVISIBLE: [(char, char); 25] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Whether a character has no shape of its own, or changes the direction of others.
pub fn is_invisible(character: char) -> bool {
    INVISIBLE.iter().any(|(first, last)| (first..=last).contains(&&character))
}

/// A regular expression of PostgreSQL for one such character. It is ASCII.
pub fn invisible_pattern() -> String {
    let range = |(first, last): &(char, char)| {
        format!("\\U{:08X}-\\U{:08X}", u32::from(*first), u32::from(*last))
    };
    format!("[{}]", INVISIBLE.iter().map(range).collect::<String>())
}

/// Whether Unicode has no character of this number. Nobody knows how it will look.
pub fn is_unassigned(character: char) -> bool {
    character.general_category() == GeneralCategory::Unassigned
}

/// The text in Unicode's normalization form C; None where it is in this form.
pub fn composed(text: &str) -> Option<String> {
    (!is_nfc(text)).then(|| text.nfc().collect())
}

/// The same text in other spellings: in Unicode's normalization forms C and D. Only UTF-8 is read.
pub fn other_spellings(value: &[u8], encoding: &impl Encoding) -> Vec<String> {
    let is_name = |text: &&str| !text.is_ascii() && text.len() <= MAX_SPELLED_BYTES;
    let Some(text) = utf8(value, encoding).filter(is_name) else { return Vec::new() };
    let mut spellings = vec![text.nfc().collect::<String>(), text.nfd().collect()];
    spellings.retain(|spelling| spelling != text);
    spellings
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::examples::{Latin1, Utf8};

    #[test]
    fn every_character_that_formats_is_invisible() {
        for character in '\0'..=char::MAX {
            let formats = matches!(
                character.general_category(),
                GeneralCategory::Format
                    | GeneralCategory::LineSeparator
                    | GeneralCategory::ParagraphSeparator
            );
            assert!(!formats || is_invisible(character), "U+{:04X}", u32::from(character));
        }
        // As many as Unicode 15 has in these categories and with this property.
        assert_eq!(('\0'..=char::MAX).filter(|character| is_invisible(*character)).count(), 4208);
    }

    #[test]
    fn the_pattern_has_each_range() {
        let pattern = invisible_pattern();
        assert!(pattern.starts_with("[\\U000000AD-\\U000000AD\\U0000034F-"));
        assert!(pattern.ends_with("\\U000E0000-\\U000E0FFF]"));
    }

    #[test]
    fn unassigned_characters() {
        for assigned in ['a', 'é', '東', '\u{301}', '👍', '\u{e000}'] {
            assert!(!is_unassigned(assigned), "{assigned}");
        }
        for unassigned in ['\u{378}', '\u{fdd0}', '\u{ffff}', '\u{10ffff}', '\u{50000}'] {
            assert!(is_unassigned(unassigned), "U+{:04X}", u32::from(unassigned));
        }
    }

    #[test]
    fn spellings() {
        let [composed_text, decomposed] = ["caf\u{e9}", "cafe\u{301}"];
        assert_eq!(composed(composed_text), None);
        assert_eq!(composed(decomposed).as_deref(), Some(composed_text));
        // Neither the one nor the other.
        let mixed = "\u{e9}e\u{301}";
        for (text, expected) in [
            (composed_text, &[decomposed][..]),
            (decomposed, &[composed_text]),
            (mixed, &["\u{e9}\u{e9}", "e\u{301}e\u{301}"]),
            ("acme", &[]),
            ("東京", &[]),
        ] {
            assert_eq!(other_spellings(text.as_bytes(), &Utf8), expected);
            assert!(other_spellings(text.as_bytes(), &Latin1).is_empty());
        }
        assert!(other_spellings(b"\xe9", &Utf8).is_empty());
        assert_eq!(other_spellings("\u{e9}".repeat(255).as_bytes(), &Utf8).len(), 1);
        assert!(other_spellings("\u{e9}".repeat(2000).as_bytes(), &Utf8).is_empty());
    }

    proptest! {
        #[test]
        fn spellings_of_one_text_lead_to_each_other(text in "\\PC{0,20}") {
            let composed_text = composed(&text).unwrap_or_else(|| text.clone());
            prop_assert_eq!(composed(&composed_text), None);
            for spelling in other_spellings(text.as_bytes(), &Utf8) {
                let form = composed(&spelling).unwrap_or_else(|| spelling.clone());
                prop_assert_eq!(&form, &composed_text);
            }
        }
    }
}
