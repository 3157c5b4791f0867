//! Layer-2 addresses.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::text::serde_as_text;

/// An Ethernet address, in the order of the wire. Written `02:00:00:00:00:01`; read in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

/// Text that is not an Ethernet address.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("\"{given}\" is not a MAC address: expected six pairs of hexadecimal digits, such as 02:00:00:00:00:01")]
pub struct MacAddrError {
    /// The text as it was given.
    pub given: String,
}

impl MacAddr {
    /// The address in the order of the wire.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Whether the address is that of a group: such an address cannot be a host's own.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// Whether all octets are zero, which neighbour tables use for "not known".
    pub fn is_zero(self) -> bool {
        self.0 == [0; 6]
    }
}

impl FromStr for MacAddr {
    type Err = MacAddrError;

    fn from_str(text: &str) -> Result<Self, MacAddrError> {
        parse_octets(text).map(Self).ok_or_else(|| MacAddrError { given: text.to_owned() })
    }
}

fn parse_octets(text: &str) -> Option<[u8; 6]> {
    let mut octets = [0; 6];
    let mut pairs = text.split(':');
    for octet in &mut octets {
        let pair = pairs.next()?;
        // `from_str_radix` alone would also take "+1" and "1".
        if pair.len() != 2 || !pair.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        *octet = u8::from_str_radix(pair, 16).ok()?;
    }
    pairs.next().is_none().then_some(octets)
}

impl fmt::Display for MacAddr {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        formatter.pad(&format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"))
    }
}

serde_as_text!(MacAddr, "a MAC address");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_case_is_read_and_lower_case_is_written() {
        let mac: MacAddr = "02:00:5E:aB:00:ff".parse().unwrap();
        assert_eq!(mac, MacAddr([2, 0, 0x5e, 0xab, 0, 255]));
        assert_eq!(mac.to_string(), "02:00:5e:ab:00:ff");
        assert!(!mac.is_multicast() && !mac.is_zero());
    }

    #[test]
    fn anything_else_is_refused() {
        for given in
            ["", "02:00:00:00:00", "02:00:00:00:00:00:00", "2:0:0:0:0:1", "02-00-00-00-00-01", "02:00:00:00:00:+1"]
        {
            assert_eq!(given.parse::<MacAddr>(), Err(MacAddrError { given: given.to_owned() }));
        }
    }
}
