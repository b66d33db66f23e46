//! White space of ASCII: the blanks between words, in headers and tokens as in names.

/// Whether a byte is a space, a tab, a line break, a vertical tab or a form feed, as in `isspace`
/// of C. Rust's own notion leaves the vertical tab out.
pub fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Whether the text is empty or white space only.
pub fn is_blank(text: &[u8]) -> bool {
    text.iter().all(|byte| is_white_space(*byte))
}

/// The text without the white space around it.
pub fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_white_space(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_white_space(*last)
    {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank() {
        assert!(is_blank(b""));
        assert!(is_blank(b" \t\r\n\x0b\x0c"));
        assert!(!is_blank(b" a "));
        assert!(!is_blank(b"\0"));
    }

    #[test]
    fn a_byte_around_a_text_is_trimmed_if_it_is_blank() {
        for byte in 0..=u8::MAX {
            let text = [byte, b'a', byte, b'b', byte];
            let expected = if is_blank(&[byte]) { &text[1..4] } else { &text[..] };
            assert_eq!(trimmed(&text), expected);
            assert_eq!(trimmed(&[byte; 3]).is_empty(), is_blank(&[byte]));
        }
        assert_eq!(trimmed(b""), b"");
    }
}
