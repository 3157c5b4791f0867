//! A keepalive's bytes: docs/wire.md, "Tunnel keepalive".

use std::net::IpAddr;

use super::prober::{Probe, Reply};
use crate::tunnel::{self, Label, fold, sum};

/// The host's port, inside the tunnel.
pub const PORT: u16 = 6101;
/// Bytes of a question or an answer.
pub const BODY_LEN: usize = 24;
/// The longest question: two IPv6 headers, UDP, the body.
pub const DATAGRAM_MAX: usize = 40 + 40 + 8 + BODY_LEN;

const MAGIC: [u8; 4] = *b"SLRK";
const VERSION: u8 = 1;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

const UDP: u8 = 17;

/// What a question's headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The tunnel's, from and to.
    pub outer: (IpAddr, IpAddr),
    /// Those inside, from and to.
    pub inner: (IpAddr, IpAddr),
    /// The port that the answer returns to.
    pub port: u16,
}

/// Writes the whole question over `datagram`, which keeps its room.
pub fn write(datagram: &mut Vec<u8>, headers: &Headers, probe: &Probe) {
    datagram.clear();
    let udp_len = 8 + BODY_LEN;
    let inner_len = tunnel::header_len(headers.inner.1) + udp_len;
    let around = tunnel::protocol_of(headers.inner.1.is_ipv4());
    tunnel::put_header(datagram, headers.outer, around, inner_len, Label { entropy: probe.entropy, mark: 0 });
    tunnel::put_header(datagram, headers.inner, UDP, udp_len, Label::default());
    let udp = datagram.len();
    for word in [headers.port, PORT, udp_len as u16, 0] {
        datagram.extend(word.to_be_bytes());
    }
    datagram.extend(MAGIC);
    datagram.extend([VERSION, REQUEST, 0, 0]);
    datagram.extend(probe.nonce.to_be_bytes());
    datagram.extend(probe.clock_ns.to_be_bytes());
    let sum = sum(&datagram[udp..]) + pseudo_header(headers.inner, udp_len);
    // RFC 768: a sum of zero is sent as all ones; RFC 8200 8.1 forbids "none".
    let checksum = Some(fold(sum)).filter(|sum| *sum != 0).unwrap_or(0xffff);
    datagram[udp + 6..udp + 8].copy_from_slice(&checksum.to_be_bytes());
}

/// Reads an answer; `None` if it is something else.
pub fn read(from: IpAddr, body: &[u8]) -> Option<Reply> {
    let body: &[u8; BODY_LEN] = body.try_into().ok()?;
    if body[..4] != MAGIC || body[4] != VERSION || body[5] != REPLY {
        return None;
    }
    let word = |at: usize| u64::from_be_bytes(body[at..at + 8].try_into().expect("eight of twenty-four"));
    Some(Reply { from, nonce: word(8), clock_ns: word(16) })
}

fn pseudo_header(ends: (IpAddr, IpAddr), udp_len: usize) -> u32 {
    let address = |address: IpAddr| match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    };
    address(ends.0) + address(ends.1) + u32::from(UDP) + udp_len as u32
}

#[cfg(test)]
mod tests {
    use slr_testkit::packet::{pkt, verify_checksums};

    use super::*;

    fn probe() -> Probe {
        let address = "10.1.11.2".parse().unwrap();
        let (nonce, clock_ns) = (0x1122_3344_5566_7788, 0x99aa_bbcc_ddee_ff00);
        Probe { address, other: None, nonce, clock_ns, entropy: 0xabcd }
    }

    #[test]
    fn a_question_is_as_the_wire_format_has_it_in_all_four_combinations() {
        let body = b"SLRK\x01\x01\0\0\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\0";
        let ends = [("10.1.255.9", "10.1.11.2"), ("fd00:1:ff::9", "fd00:1:11::2")];
        for outer in ends {
            for inner in ends {
                let parsed =
                    |ends: (&str, &str)| (ends.0.parse::<IpAddr>().unwrap(), ends.1.parse::<IpAddr>().unwrap());
                let headers = Headers { outer: parsed(outer), inner: parsed(inner), port: 9000 };
                let mut datagram = Vec::with_capacity(DATAGRAM_MAX);
                write(&mut datagram, &headers, &probe());
                assert!(datagram.len() <= DATAGRAM_MAX);
                let (o, i) = (headers.outer, headers.inner);
                let mut layers = pkt().ip(o.0, o.1);
                layers = if outer.1.contains(':') { layers.flow_label(0xabcd) } else { layers.df() };
                let mut layers = layers.ip(i.0, i.1);
                if !inner.1.contains(':') {
                    layers = layers.df();
                }
                assert_eq!(datagram, layers.udp(9000, PORT).payload(body).build(), "{outer:?} {inner:?}");
                let framed = [&[0; 12][..], if o.0.is_ipv4() { &[8, 0] } else { &[0x86, 0xdd] }, &datagram].concat();
                verify_checksums(&framed).unwrap();
            }
        }
    }

    #[test]
    fn only_a_whole_answer_of_our_version_is_one() {
        let from = "10.1.11.2".parse().unwrap();
        let mut body = *b"SLRK\x01\x02\0\0\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\0";
        let Probe { nonce, clock_ns, .. } = probe();
        assert_eq!(read(from, &body), Some(Reply { from, nonce, clock_ns }));
        assert_eq!(read(from, &body[..23]), None);
        assert_eq!(read(from, &[&body[..], &[0]].concat()), None);
        for (at, value) in [(0, b'X'), (4, 2), (5, REQUEST)] {
            let good = std::mem::replace(&mut body[at], value);
            assert_eq!(read(from, &body), None, "byte {at}");
            body[at] = good;
        }
    }
}
