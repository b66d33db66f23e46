//! Client addresses and the networks a key may be limited to.

/// An address with the length of its network prefix, in bits. A host has the full length.
///
/// An IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2) is the IPv4 address in it: a dual-stack
/// listener reports the client `192.0.2.1` as `::ffff:192.0.2.1`. Otherwise no IPv4 address matches
/// an IPv6 network, not even `::/0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4.
    V4([u8; 4], u8),
    /// IPv6.
    V6([u8; 16], u8),
}

impl Network {
    /// An IPv4 network.
    pub fn v4(address: [u8; 4], prefix: u8) -> Network {
        Network::V4(address, prefix.min(32))
    }

    /// An IPv6 network, or the IPv4 network that is mapped into it.
    pub fn v6(address: [u8; 16], prefix: u8) -> Network {
        match address {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] if prefix >= 96 => {
                Network::v4([a, b, c, d], prefix - 96)
            }
            _ => Network::V6(address, prefix.min(128)),
        }
    }

    /// Whether this network contains every address of `other`.
    pub fn contains(self, other: Network) -> bool {
        match (self, other) {
            (Network::V4(own, prefix), Network::V4(others, others_prefix)) => {
                let differing = u32::from_be_bytes(own) ^ u32::from_be_bytes(others);
                prefix <= others_prefix && differing.leading_zeros() >= u32::from(prefix)
            }
            (Network::V6(own, prefix), Network::V6(others, others_prefix)) => {
                let differing = u128::from_be_bytes(own) ^ u128::from_be_bytes(others);
                prefix <= others_prefix && differing.leading_zeros() >= u32::from(prefix)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn net(text: &str) -> Network {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, prefix.parse().ok()),
            None => (text, None),
        };
        match address.parse::<Ipv4Addr>() {
            Ok(v4) => Network::v4(v4.octets(), prefix.unwrap_or(32)),
            Err(_) => {
                let v6: Ipv6Addr = address.parse().expect("an address");
                Network::v6(v6.octets(), prefix.unwrap_or(128))
            }
        }
    }

    #[test]
    fn containment() {
        for (network, address, expected) in [
            ("192.0.2.0/24", "192.0.2.7", true),
            ("192.0.2.0/24", "192.0.3.7", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("::/0", "::ffff:192.0.2.1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("192.0.2.0/24", "::ffff:192.0.2.7", true),
            ("192.0.2.0/24", "::ffff:192.0.3.7", false),
            ("::ffff:192.0.2.0/120", "192.0.2.9", true),
            // A whole network is allowed only where all of it is.
            ("192.0.2.0/24", "192.0.2.0/25", true),
            ("192.0.2.0/25", "192.0.2.0/24", false),
        ] {
            assert_eq!(net(network).contains(net(address)), expected, "{network} {address}");
        }
    }
}
