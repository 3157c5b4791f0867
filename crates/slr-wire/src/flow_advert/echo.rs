//! The echo around an advertisement: RFC 792, RFC 4443 4.1.

use std::net::IpAddr;

use super::{FlowAdvert, FlowAdvertError};
use crate::flow_keys::AdvertKey;

/// Header of an echo: type, code, checksum, identifier, sequence.
const HEADER_LEN: usize = 8;
/// Data of an ordinary echo, as ping sends it, before the advertisement begins.
const ORDINARY_LEN: usize = 56;
/// The first of these bytes; each is greater by one than that before it.
const ORDINARY_FROM: u8 = 0x10;
/// Types, by family.
const REQUEST_V4: u8 = 8;
const REPLY_V4: u8 = 0;
const REQUEST_V6: u8 = 128;
const REPLY_V6: u8 = 129;
/// Next header of ICMPv6, in the pseudo header of its checksum.
const ICMPV6: u8 = 58;

/// RFC 1071, of an even number of bytes.
fn checksum<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 2] {
    let words = parts.into_iter().flat_map(|part| part.chunks_exact(2));
    let mut sum: u32 = words.map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

impl FlowAdvert {
    /// Bytes of the ICMP or ICMPv6 message that carries an advertisement, header included.
    pub const ECHO_LEN: usize = HEADER_LEN + ORDINARY_LEN + Self::LEN;

    /// The data of the echo: what follows its header. For sockets that write the header themselves.
    pub fn echo_data(&self, key: &AdvertKey) -> Result<[u8; Self::ECHO_LEN - HEADER_LEN], FlowAdvertError> {
        let mut data = [0; Self::ECHO_LEN - HEADER_LEN];
        let (ordinary, advert) = data.split_at_mut(ORDINARY_LEN);
        ordinary.iter_mut().zip(ORDINARY_FROM..).for_each(|(byte, value)| *byte = value);
        advert.copy_from_slice(&self.encode(key)?);
        Ok(data)
    }

    /// The echo request from the virtual address to the client: the whole ICMP or ICMPv6 message, its checksum included.
    pub fn echo_request(
        &self,
        key: &AdvertKey,
        identifier: u16,
        sequence: u16,
    ) -> Result<[u8; Self::ECHO_LEN], FlowAdvertError> {
        self.echo_request_from(self.virtual_address, key, identifier, sequence)
    }

    /// The same from another address of the family, which its checksum is for: the answer to it comes by no router.
    pub fn echo_request_from(
        &self,
        from: IpAddr,
        key: &AdvertKey,
        identifier: u16,
        sequence: u16,
    ) -> Result<[u8; Self::ECHO_LEN], FlowAdvertError> {
        let mut message = [0; Self::ECHO_LEN];
        message[HEADER_LEN..].copy_from_slice(&self.echo_data(key)?);
        message[4..6].copy_from_slice(&identifier.to_be_bytes());
        message[6..8].copy_from_slice(&sequence.to_be_bytes());
        let sum = match (from, self.client) {
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                message[0] = REQUEST_V6;
                let len = (Self::ECHO_LEN as u32).to_be_bytes();
                checksum([&from.octets()[..], &to.octets(), &len, &[0, 0, 0, ICMPV6], &message])
            }
            _ => {
                message[0] = REQUEST_V4;
                checksum([&message[..]])
            }
        };
        message[2..4].copy_from_slice(&sum);
        Ok(message)
    }

    /// The advertisement in a client's answer, which is a whole ICMP message of `is_ipv4`'s family; `None` if it is another message.
    /// Nothing of it is checked but the length and type: [`FlowAdvert::decode`] and [`FlowAdvert::is_authentic`] come next.
    pub fn in_reply(message: &[u8], is_ipv4: bool) -> Option<&[u8; Self::LEN]> {
        let message: &[u8; Self::ECHO_LEN] = message.try_into().ok()?;
        let reply = if is_ipv4 { REPLY_V4 } else { REPLY_V6 };
        (message[..2] == [reply, 0]).then_some(())?;
        message.last_chunk()
    }
}
