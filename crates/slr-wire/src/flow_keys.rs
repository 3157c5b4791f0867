//! Keys of the augmented echo (docs/wire.md): from a trust domain's secret to the key that one host has for one subnet.
//!
//! ```text
//! FlowSecret ── epoch ──► EpochMaster ── node, tunnel address, subnet ──► AdvertKey ── bytes ──► MAC
//!   routers                 routers                                         routers, and that host
//! ```
//!
//! All three steps are SipHash-2-4 with 128 bits: a MAC for short messages, which the kernel's programs can compute. Nobody learns
//! another host's key from its own, nor another epoch's. No type here shows what it holds.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use siphasher::sip128::SipHasher24;
use slr_model::NodeName;
use thiserror::Error;

/// Bytes of a MAC and of every key that is made of the secret.
pub const KEY_LEN: usize = 16;
/// Bytes of a name in what is signed: the longest, and a zero.
pub(crate) const NODE_LEN: usize = NodeName::MAX_LEN + 1;

/// What the routers of a trust domain share, and no host has.
#[derive(Clone)]
pub struct FlowSecret([u8; FlowSecret::LEN]);

/// Text that is no secret.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FlowSecretError {
    /// Too short or too long.
    #[error("{found} characters, not {} hex digits; make one with slr-ca flow-secret", 2 * FlowSecret::LEN)]
    Length {
        /// How many characters there are.
        found: usize,
    },
    /// Something else than hex digits.
    #[error("character {position} is no hex digit; make one with slr-ca flow-secret")]
    Digit {
        /// Which, from 1.
        position: usize,
    },
}

/// A router's key of one epoch, of which it makes every host's.
#[derive(Clone)]
pub struct EpochMaster([u8; KEY_LEN]);

/// The key of one host for one virtual subnet, in one epoch.
#[derive(Clone)]
pub struct AdvertKey([u8; KEY_LEN]);

/// SipHash-2-4-128; the bytes as the reference implementation writes them.
fn siphash(key: &[u8; KEY_LEN], bytes: &[u8]) -> [u8; KEY_LEN] {
    SipHasher24::new_with_key(key).hash(bytes).as_bytes()
}

/// Whether both are the same, in a time that does not tell where they differ.
fn same(left: &[u8; KEY_LEN], right: &[u8; KEY_LEN]) -> bool {
    let differ = left.iter().zip(right).fold(0, |bits, (left, right)| bits | (left ^ right));
    std::hint::black_box(differ) == 0
}

/// An address of either family in 16 bytes; IPv4 is mapped (RFC 4291 2.5.5.2).
pub(crate) fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address in these 16 bytes.
pub(crate) fn unmapped(bytes: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
}

/// A name, padded with zeros.
pub(crate) fn padded(node: &NodeName) -> [u8; NODE_LEN] {
    let mut bytes = [0; NODE_LEN];
    bytes[..node.len()].copy_from_slice(node.as_bytes());
    bytes
}

impl FlowSecret {
    /// Its bytes.
    pub const LEN: usize = 32;

    /// The secret of these bytes, which must come from a source of random numbers.
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The key of an epoch.
    pub fn master(&self, epoch: u32) -> EpochMaster {
        let (key, rest) = self.0.split_at(KEY_LEN);
        let mut input = [0; 24];
        input[..4].copy_from_slice(&epoch.to_be_bytes());
        input[4..20].copy_from_slice(rest);
        EpochMaster(siphash(key.try_into().expect("half of it"), &input))
    }
}

impl FromStr for FlowSecret {
    type Err = FlowSecretError;

    /// Reads hex digits, as `slr-ca flow-secret` writes them; white space around them counts for nothing.
    fn from_str(text: &str) -> Result<Self, FlowSecretError> {
        let text = text.trim_ascii();
        let found = text.chars().count();
        if found != 2 * Self::LEN {
            return Err(FlowSecretError::Length { found });
        }
        let mut bytes = [0; Self::LEN];
        for (index, digit) in text.chars().enumerate() {
            let digit = digit.to_digit(16).ok_or(FlowSecretError::Digit { position: index + 1 })?;
            bytes[index / 2] = bytes[index / 2] << 4 | digit as u8;
        }
        Ok(Self(bytes))
    }
}

impl EpochMaster {
    /// The key of a host, by its name and the tunnel address that it is reached at, for a virtual subnet.
    pub fn key(&self, node: &NodeName, server: IpAddr, subnet: IpNet) -> AdvertKey {
        let mut input = [0; NODE_LEN + 16 + 16 + 8];
        input[..NODE_LEN].copy_from_slice(&padded(node));
        input[NODE_LEN..NODE_LEN + 16].copy_from_slice(&mapped(server));
        input[NODE_LEN + 16..NODE_LEN + 32].copy_from_slice(&mapped(subnet.network()));
        input[NODE_LEN + 32] = subnet.prefix_len();
        input[NODE_LEN + 33] = if subnet.network().is_ipv4() { 4 } else { 6 };
        AdvertKey(siphash(&self.0, &input))
    }

    /// Its bytes, for the kernel's table.
    pub const fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl AdvertKey {
    /// A key as a router granted it.
    pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes, to be granted.
    pub const fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// The MAC of these bytes.
    pub fn mac(&self, bytes: &[u8]) -> [u8; KEY_LEN] {
        siphash(&self.0, bytes)
    }

    /// Whether that is the MAC of these bytes.
    pub fn is_mac(&self, bytes: &[u8], mac: &[u8; KEY_LEN]) -> bool {
        same(&self.mac(bytes), mac)
    }
}

impl PartialEq for FlowSecret {
    fn eq(&self, other: &Self) -> bool {
        let ((a, b), (c, d)) = (self.0.split_at(KEY_LEN), other.0.split_at(KEY_LEN));
        let half = |bytes: &[u8]| <[u8; KEY_LEN]>::try_from(bytes).expect("half of it");
        same(&half(a), &half(c)) & same(&half(b), &half(d))
    }
}

impl PartialEq for EpochMaster {
    fn eq(&self, other: &Self) -> bool {
        same(&self.0, &other.0)
    }
}

impl PartialEq for AdvertKey {
    fn eq(&self, other: &Self) -> bool {
        same(&self.0, &other.0)
    }
}

impl Eq for FlowSecret {}
impl Eq for EpochMaster {}
impl Eq for AdvertKey {}

impl fmt::Debug for FlowSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("FlowSecret(..)")
    }
}

impl fmt::Debug for EpochMaster {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("EpochMaster(..)")
    }
}

impl fmt::Debug for AdvertKey {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("AdvertKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_hash_is_that_of_the_reference_implementation() {
        // Entries 0, 1 and 63 of vectors_sip128 in its repository.
        let key = std::array::from_fn(|n| n as u8);
        let message: Vec<u8> = (0..63).collect();
        for (len, digest) in [
            (0, "a3817f04ba25a8e66df67214c7550293"),
            (1, "da87c1d86b99af44347659119b22fc45"),
            (63, "5150d1772f50834a503e069a973fbd7c"),
        ] {
            assert_eq!(hex(&siphash(&key, &message[..len])), digest, "{len}");
        }
    }

    #[test]
    fn every_part_of_what_a_key_is_for_makes_another_key() {
        let secret = FlowSecret::new(std::array::from_fn(|n| n as u8));
        let key = |epoch, node: &str, server: &str, subnet: &str| {
            let subnet = subnet.parse().unwrap();
            secret.master(epoch).key(&node.parse().unwrap(), server.parse().unwrap(), subnet)
        };
        let one = key(7, "h1", "10.1.11.2", "192.0.2.0/24");
        assert_eq!(hex(one.bytes()), "103d61fcf04342533d0cde0bc918dc13");
        assert_eq!(one, key(7, "h1", "10.1.11.2", "192.0.2.77/24"), "bits behind the prefix are none of it");
        for other in [
            key(8, "h1", "10.1.11.2", "192.0.2.0/24"),
            key(7, "h2", "10.1.11.2", "192.0.2.0/24"),
            key(7, "h1", "10.1.11.3", "192.0.2.0/24"),
            key(7, "h1", "10.1.11.2", "192.0.2.0/25"),
            key(7, "h1", "10.1.11.2", "::ffff:192.0.2.0/120"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn secrets_are_read_and_not_shown() {
        let text = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F\n";
        let secret: FlowSecret = text.parse().unwrap();
        assert_eq!(secret, FlowSecret::new(std::array::from_fn(|n| n as u8)));
        let (master, key) = (secret.master(1), AdvertKey::new([7; KEY_LEN]));
        assert_eq!(format!("{secret:?} {master:?} {key:?}"), "FlowSecret(..) EpochMaster(..) AdvertKey(..)");
        assert_eq!("00".parse::<FlowSecret>(), Err(FlowSecretError::Length { found: 2 }));
        assert_eq!(text.replace('A', "g").parse::<FlowSecret>(), Err(FlowSecretError::Digit { position: 54 }));
    }
}
