//! What a fixture may write for an address: text, bytes, or the standard library's types.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Something that names an Ethernet address.
pub trait ToMac {
    /// The six bytes, in wire order.
    fn to_mac(&self) -> [u8; 6];
}

/// Something that names an IPv4 address.
pub trait ToIpv4 {
    /// The address.
    fn to_ipv4(&self) -> Ipv4Addr;
}

/// Something that names an IPv6 address.
pub trait ToIpv6 {
    /// The address.
    fn to_ipv6(&self) -> Ipv6Addr;
}

impl ToMac for [u8; 6] {
    fn to_mac(&self) -> [u8; 6] {
        *self
    }
}

impl ToMac for &str {
    fn to_mac(&self) -> [u8; 6] {
        let bytes: Option<Vec<u8>> = self.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
        bytes
            .and_then(|b| b.try_into().ok())
            .unwrap_or_else(|| panic!("packet fixture: {self:?} is not an Ethernet address such as 02:00:00:00:00:01"))
    }
}

impl ToIpv4 for Ipv4Addr {
    fn to_ipv4(&self) -> Ipv4Addr {
        *self
    }
}

impl ToIpv4 for [u8; 4] {
    fn to_ipv4(&self) -> Ipv4Addr {
        Ipv4Addr::from(*self)
    }
}

impl ToIpv4 for &str {
    fn to_ipv4(&self) -> Ipv4Addr {
        self.parse().unwrap_or_else(|_| panic!("packet fixture: {self:?} is not an IPv4 address"))
    }
}

impl ToIpv6 for Ipv6Addr {
    fn to_ipv6(&self) -> Ipv6Addr {
        *self
    }
}

impl ToIpv6 for [u8; 16] {
    fn to_ipv6(&self) -> Ipv6Addr {
        Ipv6Addr::from(*self)
    }
}

impl ToIpv6 for &str {
    fn to_ipv6(&self) -> Ipv6Addr {
        self.parse().unwrap_or_else(|_| panic!("packet fixture: {self:?} is not an IPv6 address"))
    }
}
