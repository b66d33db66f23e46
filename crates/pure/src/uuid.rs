//! UUIDs (RFC 9562): version 7 for keys, so that they sort by age, and version 4 for leases, so
//! that nobody can guess one.

/// A UUID's bytes, in network order.
pub type Uuid = [u8; 16];

/// A random UUID (RFC 9562, section 5.4) of 16 random bytes.
pub fn v4(random: [u8; 16]) -> Uuid {
    stamped(random, 4)
}

/// A time-ordered UUID (RFC 9562, section 5.7), with the fraction of the millisecond in `rand_a`
/// (section 6.2, method 3). `unix_micros` is the time since the Unix epoch in microseconds. If it
/// is greater with each call, the UUIDs sort in the order of the calls.
pub fn v7(unix_micros: u64, random: [u8; 8]) -> Uuid {
    let (millis, fraction) = (unix_micros / 1000, unix_micros % 1000);
    let mut uuid = [0; 16];
    uuid[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    // A fraction of 999 is 4091 of 4096.
    uuid[6..8].copy_from_slice(&(fraction * 4096 / 1000).to_be_bytes()[6..]);
    uuid[8..].copy_from_slice(&random);
    stamped(uuid, 7)
}

/// A UUID as the server shows it (RFC 9562, section 4).
pub fn text(uuid: Uuid) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let places = (0..36).filter(|place| !matches!(place, 8 | 13 | 18 | 23));
    let digits = uuid.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    for (place, digit) in places.zip(digits) {
        text[place] = DIGITS[usize::from(digit)];
    }
    text
}

/// Sets the version and the variant (RFC 9562, sections 4.1 and 4.2).
fn stamped(mut uuid: Uuid, version: u8) -> Uuid {
    uuid[6] = uuid[6] & 0x0f | version << 4;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_variant() {
        for (uuid, version) in [(v4([0xff; 16]), 4), (v7(u64::MAX / 4, [0xff; 8]), 7)] {
            assert_eq!(uuid[6] >> 4, version);
            assert_eq!(uuid[8] >> 6, 0b10);
        }
    }

    #[test]
    fn a_text_has_groups_of_digits() {
        let uuid = 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978_u128.to_be_bytes();
        assert_eq!(&text(uuid), b"01234567-89ab-cdef-0f1e-2d3c4b5a6978");
    }

    #[test]
    fn version_7_carries_the_milliseconds_and_sorts_by_microsecond() {
        let uuid = v7(0x0123_4567_89ab * 1000 + 999, [0; 8]);
        assert_eq!(uuid[..6], [0x01, 0x23, 0x45, 0x67, 0x89, 0xab]);
        let ids: Vec<_> =
            (0..5000).map(|micros| v7(1_700_000_000_000_000 + micros, [0; 8])).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
