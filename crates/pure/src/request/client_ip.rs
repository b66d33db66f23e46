//! The client's address in the value of a header such as `X-Forwarded-For`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::white_space::trimmed;

/// The last address of a list; None where the last element is no address.
///
/// Each proxy appends the address that it was called from. So the nearest proxy wrote the last
/// element. The elements before it may be the client's own invention.
///
/// A port and a zone (RFC 4007, section 11) are not part of the address. An IPv4-mapped IPv6
/// address is the IPv4 address in it.
pub fn client_ip(value: &[u8]) -> Option<IpAddr> {
    let last = value.rsplit(|byte| *byte == b',').next()?;
    let text = std::str::from_utf8(trimmed(last)).ok()?;
    let address = match text.strip_prefix('[') {
        Some(text) => {
            let (address, rest) = text.split_once(']')?;
            let has_good_end = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
            has_good_end.then(|| ipv6(address))??
        }
        None => ipv4(text).or_else(|| ipv6(text))?,
    };
    Some(address.to_canonical())
}

/// An IPv4 address, which may have a port behind it.
fn ipv4(text: &str) -> Option<IpAddr> {
    let address = match text.split_once(':') {
        Some((address, port)) => is_port(port).then_some(address)?,
        None => text,
    };
    address.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

/// An IPv6 address, which may have a zone behind it.
fn ipv6(text: &str) -> Option<IpAddr> {
    let address = match text.split_once('%') {
        Some((address, zone)) => (!zone.is_empty()).then_some(address)?,
        None => text,
    };
    address.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses() {
        for (value, expected) in [
            ("203.0.113.9", Some("203.0.113.9")),
            (" 203.0.113.9\t\x0b", Some("203.0.113.9")),
            ("203.0.113.9:51234", Some("203.0.113.9")),
            ("::ffff:203.0.113.9", Some("203.0.113.9")),
            ("[::ffff:203.0.113.9]:80", Some("203.0.113.9")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("2001:DB8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("fe80::1%eth0", Some("fe80::1")),
            ("[fe80::1%eth0]:443", Some("fe80::1")),
            ("192.0.2.1, 203.0.113.9", Some("203.0.113.9")),
            ("unknown,203.0.113.9", Some("203.0.113.9")),
            ("192.0.2.1, unknown", None),
            ("192.0.2.1,", None),
            ("192.0.2.1 203.0.113.9", None),
            ("", None),
            (" ", None),
            (",", None),
            ("unknown", None),
            ("unix:", None),
            ("localhost", None),
            ("203.0.113.9/32", None),
            ("203.0.113.9:", None),
            ("203.0.113.9:65536", None),
            ("203.0.113.9:+80", None),
            ("203.0.113.9%eth0", None),
            ("203.0.113", None),
            ("203.0.113.256", None),
            ("203.0.113.09", None),
            ("[203.0.113.9]", None),
            ("[2001:db8::1", None),
            ("[2001:db8::1]443", None),
            ("[2001:db8::1]:", None),
            ("2001:db8::1]", None),
            ("fe80::1%", None),
            ("::ffff:203.0.113.9:80", None),
            ("203.0.113.٩", None),
        ] {
            let expected = expected.map(|address| address.parse().expect("an address"));
            assert_eq!(client_ip(value.as_bytes()), expected, "{value:?}");
        }
        assert_eq!(client_ip(b"203.0.113.9\xff"), None);
        assert_eq!(client_ip(b"\xff, 203.0.113.9"), Some([203, 0, 113, 9].into()));
    }

    fn any_address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<Ipv4Addr>().prop_map(IpAddr::V4),
            any::<Ipv6Addr>().prop_map(IpAddr::V6),
            any::<Ipv4Addr>().prop_map(|v4| IpAddr::V6(v4.to_ipv6_mapped())),
        ]
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(value in prop::collection::vec(any::<u8>(), 0..64)) {
            client_ip(&value);
        }

        #[test]
        fn an_address_that_was_read_is_read_again(value in "[0-9a-f:.%,\\[\\] ]{0,40}") {
            if let Some(address) = client_ip(value.as_bytes()) {
                prop_assert_eq!(client_ip(address.to_string().as_bytes()), Some(address));
            }
        }

        #[test]
        fn an_address_comes_back_however_it_is_written(
            address in any_address(),
            port: u16,
            forged in "[ -~]{0,30}",
        ) {
            let written = match address {
                IpAddr::V4(_) => vec![address.to_string(), format!("{address}:{port}")],
                IpAddr::V6(_) => vec![
                    address.to_string(),
                    format!("{address}%eth0"),
                    format!("[{address}]"),
                    format!("[{address}%1]:{port}"),
                ],
            };
            for text in written {
                for value in [text.clone(), format!("{forged}, {text} "), format!("\t{text}")] {
                    prop_assert_eq!(
                        client_ip(value.as_bytes()),
                        Some(address.to_canonical()),
                        "{:?}", value
                    );
                }
            }
        }
    }
}
