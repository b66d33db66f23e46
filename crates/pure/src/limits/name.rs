//! Names of policies and meters, which stand in a column, a header field and a JSON body.

use core::fmt::{self, Display};

/// The longest name, in bytes.
pub const MAX_NAME: usize = 32;

/// A name: 1 to [`MAX_NAME`] letters and digits of ASCII, `_`, `-` and `.`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    length: u8,
    bytes: [u8; MAX_NAME],
}

impl Name {
    /// The name in a text, if it is one.
    pub fn parse(text: &[u8]) -> Option<Name> {
        let is_good =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if text.is_empty() || !text.iter().all(is_good) {
            return None;
        }
        let mut bytes = [0; MAX_NAME];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(Name { length: text.len().try_into().ok()?, bytes })
    }

    /// Whether it is this text.
    pub fn is(&self, text: &str) -> bool {
        self.bytes.get(..self.length.into()) == Some(text.as_bytes())
    }

    /// The name, filled up with zeroes.
    pub const fn padded(&self) -> [u8; MAX_NAME] {
        self.bytes
    }

    /// The name that was filled up with zeroes, if it is one.
    pub fn from_padded(padded: &[u8; MAX_NAME]) -> Option<Name> {
        let length = padded.iter().rposition(|byte| *byte != 0)? + 1;
        Name::parse(&padded[..length])
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.bytes
            .get(..self.length.into())
            .and_then(|name| str::from_utf8(name).ok())
            .unwrap_or("")
    }
}

impl Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["minute", "a", "Burst_1", "per-key.read", &"a".repeat(MAX_NAME)] {
            let name = Name::parse(good.as_bytes()).expect("a name");
            assert_eq!((name.as_str(), Name::from_padded(&name.padded())), (good, Some(name)));
        }
        for bad in
            ["", " ", "a b", "a=b", "a,b", "a/b", "a\"b", "\u{e9}", &"a".repeat(MAX_NAME + 1)]
        {
            assert_eq!(Name::parse(bad.as_bytes()), None, "{bad}");
        }
        for bad in [[0; MAX_NAME], core::array::from_fn(|at| if at == 1 { b'a' } else { 0 })] {
            assert_eq!(Name::from_padded(&bad), None);
        }
    }
}
