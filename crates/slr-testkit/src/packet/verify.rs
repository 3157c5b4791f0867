//! Walks a packet as a receiver would and checks every length and checksum on the way, through nested tunnels.
//!
//! Deliberately independent of the builder (it reads offsets from the bytes alone), so that each checks the other.

use super::checksum::{fold, ones_complement_sum, pseudo_header_sum};
use super::layer::number;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// More nesting than any packet of ours has; a bound so that a hostile capture ends.
const MAX_HEADERS: usize = 32;

/// What is wrong with a packet, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPacket {
    /// What is wrong.
    pub what: String,
    /// Bytes from the start of the packet to the header concerned.
    pub at: usize,
}

impl std::fmt::Display for BadPacket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in the header at byte {}", self.what, self.at)
    }
}

impl std::error::Error for BadPacket {}

/// Checks an Ethernet frame: lengths within the frame, IPv4, TCP, UDP, ICMP and ICMPv6 checksums, also inside IP-in-IP.
///
/// Non-IP frames pass; the transport checksum of a fragment is not looked at (it covers bytes that are elsewhere); what an
/// ICMP error quotes is not descended into (it may be cut short).
pub fn verify_checksums(frame: &[u8]) -> Result<(), BadPacket> {
    let mut at = 12;
    loop {
        match word(frame, at)? {
            0x8100 | 0x88a8 => at += 4,
            0x0800 | 0x86dd => return Walk { bytes: frame, headers: 0 }.ip(at + 2),
            _ => return Ok(()),
        }
    }
}

/// The same for a packet that starts with its IP header.
pub fn verify_checksums_l3(packet: &[u8]) -> Result<(), BadPacket> {
    Walk { bytes: packet, headers: 0 }.ip(0)
}

struct Walk<'a> {
    bytes: &'a [u8],
    headers: usize,
}

impl Walk<'_> {
    fn ip(&mut self, at: usize) -> Result<(), BadPacket> {
        self.headers += 1;
        if self.headers > MAX_HEADERS {
            return bad(at, "nesting deeper than 32 headers");
        }
        match byte(self.bytes, at)? >> 4 {
            4 => self.ipv4(at),
            6 => self.ipv6(at),
            version => bad(at, &format!("IP version {version}")),
        }
    }

    fn ipv4(&mut self, at: usize) -> Result<(), BadPacket> {
        let header_len = usize::from(byte(self.bytes, at)? & 15) * 4;
        let total = usize::from(word(self.bytes, at + 2)?);
        if header_len < 20 || total < header_len {
            return bad(at, &format!("IPv4 header length {header_len} with total length {total}"));
        }
        let header = slice(self.bytes, at, header_len)?;
        let datagram = slice(self.bytes, at, total)?;
        if fold(ones_complement_sum(0, header)) != 0xffff {
            return bad(at, "wrong IPv4 header checksum");
        }
        let fragmented = word(header, 6)? & 0x3fff != 0;
        let source = IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(&header[12..16]).expect("four bytes")));
        let destination = IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(&header[16..20]).expect("four bytes")));
        let inner = Inner { at: at + header_len, end: at + datagram.len(), source, destination, fragmented };
        self.upper(header[9], inner)
    }

    fn ipv6(&mut self, at: usize) -> Result<(), BadPacket> {
        let header = slice(self.bytes, at, 40)?;
        let payload_len = usize::from(word(header, 4)?);
        slice(self.bytes, at + 40, payload_len)?;
        let source = IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(&header[8..24]).expect("sixteen bytes")));
        let destination = IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(&header[24..40]).expect("sixteen bytes")));
        let mut inner = Inner { at: at + 40, end: at + 40 + payload_len, source, destination, fragmented: false };
        let mut next = header[6];
        for _ in 0..MAX_HEADERS {
            let length = match next {
                number::HOP_BY_HOP | number::ROUTING | number::DESTINATION_OPTIONS => {
                    8 + 8 * usize::from(byte(self.bytes, inner.at + 1)?)
                }
                number::FRAGMENT => {
                    inner.fragmented |= word(self.bytes, inner.at + 2)? & 0xfff9 != 0;
                    8
                }
                upper => return self.upper(upper, inner),
            };
            next = byte(self.bytes, inner.at)?;
            inner.at += length;
            if inner.at > inner.end {
                return bad(at, "an extension header reaches past the payload");
            }
        }
        bad(at, "more than 32 extension headers")
    }

    fn upper(&mut self, protocol: u8, inner: Inner) -> Result<(), BadPacket> {
        if inner.fragmented {
            return Ok(());
        }
        let segment = slice(self.bytes, inner.at, inner.end - inner.at)?;
        let pseudo = pseudo_header_sum(inner.source, inner.destination, protocol, segment.len());
        let (name, minimum, start) = match protocol {
            number::IPV4 | number::IPV6 => return self.ip(inner.at),
            number::TCP => ("TCP", 20, pseudo),
            number::UDP => ("UDP", 8, pseudo),
            number::ICMP => ("ICMP", 8, 0),
            number::ICMPV6 => ("ICMPv6", 8, pseudo),
            _ => return Ok(()),
        };
        if segment.len() < minimum {
            return bad(inner.at, &format!("{name} header of {} bytes", segment.len()));
        }
        if protocol == number::UDP {
            if usize::from(word(segment, 4)?) != segment.len() {
                return bad(inner.at, "UDP length differs from the IP payload");
            }
            if word(segment, 6)? == 0 && inner.source.is_ipv4() {
                return Ok(());
            }
        }
        match fold(ones_complement_sum(start, segment)) {
            0xffff => Ok(()),
            _ => bad(inner.at, &format!("wrong {name} checksum")),
        }
    }
}

/// What an IP header says about its payload.
struct Inner {
    at: usize,
    end: usize,
    source: IpAddr,
    destination: IpAddr,
    fragmented: bool,
}

fn bad<T>(at: usize, what: &str) -> Result<T, BadPacket> {
    Err(BadPacket { what: what.to_owned(), at })
}

fn slice(bytes: &[u8], at: usize, len: usize) -> Result<&[u8], BadPacket> {
    match bytes.get(at..at + len) {
        Some(part) => Ok(part),
        None => bad(at, &format!("{len} bytes announced, {} present", bytes.len().saturating_sub(at))),
    }
}

fn byte(bytes: &[u8], at: usize) -> Result<u8, BadPacket> {
    slice(bytes, at, 1).map(|part| part[0])
}

fn word(bytes: &[u8], at: usize) -> Result<u16, BadPacket> {
    slice(bytes, at, 2).map(|part| u16::from_be_bytes([part[0], part[1]]))
}
