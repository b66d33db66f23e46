//! Request ids: the caller's, which is echoed, or a new one.

use crate::key::redact;
use crate::random::random_characters;

/// The caller's request id if it may be echoed: 1 to 128 characters of printable ASCII without a
/// key.
pub fn echoed_request_id(id: &[u8]) -> Option<&str> {
    let sane = matches!(id.len(), 1..=128)
        && id.iter().all(|byte| matches!(byte, 0x20..=0x7e))
        && !redact::contains_key(id);
    sane.then(|| std::str::from_utf8(id).ok()).flatten()
}

/// What a new request id begins with.
const PREFIX: &[u8; 4] = b"req_";

/// A new request id: `req_` and 24 random characters.
#[derive(Clone, Copy, Debug)]
pub struct NewRequestId([u8; PREFIX.len() + 24]);

impl NewRequestId {
    /// Draws one. `draw` fills its argument with random bytes; an error of it is returned.
    pub fn draw<E>(mut draw: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<NewRequestId, E> {
        let mut id = [0; _];
        let (prefix, characters) = id.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX);
        random_characters(characters, &mut draw)?;
        Ok(NewRequestId(id))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("the digits of base 62 are ASCII")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    #[test]
    fn request_ids() {
        assert_eq!(echoed_request_id(b"req_abc123xyz"), Some("req_abc123xyz"));
        assert_eq!(echoed_request_id(&[b'a'; 128]).map(str::len), Some(128));
        for id in [&b""[..], &[b'a'; 129], b"a\nb", "ä".as_bytes(), b"vpk_live_123456789"] {
            assert_eq!(echoed_request_id(id), None);
        }
        let made = NewRequestId::draw(random::fill).expect("entropy");
        let made = made.as_str();
        assert!(made.starts_with("req_") && made.len() == 28);
        assert!(made[4..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}
