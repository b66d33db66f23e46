//! Client addresses and the networks a key may be limited to.

/// An address with the length of its network prefix: a host is one with the full length.
///
/// IPv4 addresses are held in their IPv4-mapped form (RFC 4291, section 2.5.5.2), so that a client
/// that a dual-stack listener calls `::ffff:192.0.2.1` is the same as `192.0.2.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: [u8; 16],
    prefix: u8,
}

impl Network {
    /// An IPv4 network.
    pub fn v4(address: [u8; 4], prefix: u8) -> Network {
        let mut mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
        mapped[12..].copy_from_slice(&address);
        Network { address: mapped, prefix: 96 + prefix.min(32) }
    }

    /// An IPv6 network.
    pub fn v6(address: [u8; 16], prefix: u8) -> Network {
        Network { address, prefix: prefix.min(128) }
    }

    /// Whether every address of `other` is one of this network's.
    pub fn contains(self, other: Network) -> bool {
        let differing = u128::from_be_bytes(self.address) ^ u128::from_be_bytes(other.address);
        self.prefix <= other.prefix && differing.leading_zeros() >= u32::from(self.prefix)
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
