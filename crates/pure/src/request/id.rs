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

/// A new request id: `req_` and 24 random characters. `draw` fills its argument with random bytes;
/// an error of it is returned.
pub fn new_request_id<E>(mut draw: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<String, E> {
    let mut characters = [0; 24];
    random_characters(&mut characters, &mut draw)?;
    Ok(format!("req_{}", characters.map(char::from).iter().collect::<String>()))
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
        let made = new_request_id(random::fill).expect("entropy");
        assert!(made.starts_with("req_") && made.len() == 28);
        assert!(made[4..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}
