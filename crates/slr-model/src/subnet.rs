//! Virtual subnets: the ranges of service addresses.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use thiserror::Error;

use crate::text::serde_as_text;

/// A range of virtual addresses, IPv4 or IPv6, written `192.0.2.0/24`. It is canonical: host bits are zero, so equal
/// ranges are equal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualSubnet(IpNet);

/// Text or a range that cannot be a virtual subnet.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum VirtualSubnetError {
    /// Not an address and a prefix length.
    #[error(
        "\"{given}\" is not a subnet: expected an address and a prefix length, such as 192.0.2.0/24 or 2001:db8::/64"
    )]
    Syntax {
        /// The text as it was given.
        given: String,
    },
    /// Bits behind the prefix are set.
    #[error("{given} has bits set behind its prefix: write {fixed} for the subnet or {}/{} for the one address", given.addr(), given.max_prefix_len())]
    HostBits {
        /// The range as it was given.
        given: IpNet,
        /// The same range in canonical form.
        fixed: IpNet,
    },
    /// The range holds addresses at which no host can be reached.
    #[error("{given} cannot be a virtual subnet: {reason}")]
    Unusable {
        /// The range as it was given.
        given: IpNet,
        /// Why not, and what to write instead.
        reason: &'static str,
    },
}

impl VirtualSubnet {
    /// The range as a virtual subnet, if it is canonical and usable.
    pub fn new(net: IpNet) -> Result<Self, VirtualSubnetError> {
        if net.trunc() != net {
            return Err(VirtualSubnetError::HostBits { given: net, fixed: net.trunc() });
        }
        let unusable = |reason| Err(VirtualSubnetError::Unusable { given: net, reason });
        if net.prefix_len() == 0 {
            return unusable("it would claim every address; write the range that is served");
        }
        if net.addr().is_multicast() {
            return unusable("a multicast address is no one host's; write a unicast range");
        }
        if matches!(net.addr(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
            return unusable("an IPv4-mapped address never appears in a packet; write the IPv4 range");
        }
        Ok(Self(net))
    }

    /// The range.
    pub const fn net(&self) -> IpNet {
        self.0
    }

    /// The lowest address of the range.
    pub fn network(&self) -> IpAddr {
        self.0.network()
    }

    /// Length of the prefix in bits: 1 to 32 (IPv4), 1 to 128 (IPv6).
    pub fn prefix_len(&self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether the range is one of IPv4 addresses.
    pub const fn is_ipv4(&self) -> bool {
        matches!(self.0, IpNet::V4(_))
    }

    /// Whether the address lies in the range; never across families.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl FromStr for VirtualSubnet {
    type Err = VirtualSubnetError;

    fn from_str(text: &str) -> Result<Self, VirtualSubnetError> {
        let net = text.parse().map_err(|_| VirtualSubnetError::Syntax { given: text.to_owned() })?;
        Self::new(net)
    }
}

impl TryFrom<IpNet> for VirtualSubnet {
    type Error = VirtualSubnetError;

    fn try_from(net: IpNet) -> Result<Self, VirtualSubnetError> {
        Self::new(net)
    }
}

impl fmt::Display for VirtualSubnet {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.pad(&self.0.to_string())
    }
}

serde_as_text!(VirtualSubnet, "a subnet such as 192.0.2.0/24 or 2001:db8::/64");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_ranges_round_trip() {
        for text in ["192.0.2.0/24", "192.0.2.9/32", "2001:db8::/64", "2001:db8::1/128", "128.0.0.0/1"] {
            assert_eq!(text.parse::<VirtualSubnet>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refusals_name_the_remedy() {
        let table = [
            (
                "192.0.2.9/24",
                "192.0.2.9/24 has bits set behind its prefix: write 192.0.2.0/24 for the subnet or 192.0.2.9/32 for the one address",
            ),
            (
                "2001:db8::1/64",
                "2001:db8::1/64 has bits set behind its prefix: write 2001:db8::/64 for the subnet or 2001:db8::1/128 for the one address",
            ),
            (
                "192.0.2.9",
                "\"192.0.2.9\" is not a subnet: expected an address and a prefix length, such as 192.0.2.0/24 or 2001:db8::/64",
            ),
            (
                "0.0.0.0/0",
                "0.0.0.0/0 cannot be a virtual subnet: it would claim every address; write the range that is served",
            ),
            (
                "224.0.0.0/8",
                "224.0.0.0/8 cannot be a virtual subnet: a multicast address is no one host's; write a unicast range",
            ),
            (
                "::ffff:192.0.2.0/120",
                "::ffff:192.0.2.0/120 cannot be a virtual subnet: an IPv4-mapped address never appears in a packet; write the IPv4 range",
            ),
        ];
        for (given, message) in table {
            assert_eq!(given.parse::<VirtualSubnet>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn an_address_of_the_other_family_is_never_inside() {
        let v4: VirtualSubnet = "192.0.2.0/24".parse().unwrap();
        assert!(v4.contains("192.0.2.255".parse().unwrap()));
        assert!(!v4.contains("192.0.3.0".parse().unwrap()));
        assert!(!v4.contains("::ffff:192.0.2.1".parse().unwrap()));
        assert!(v4.is_ipv4());
    }
}
