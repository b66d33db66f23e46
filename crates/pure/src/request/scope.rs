//! Scopes, which limit what a key may be used for.

/// Whether the text is a scope-token (RFC 6749, section 3.3).
pub fn is_scope(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}
