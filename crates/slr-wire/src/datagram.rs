//! Bytes of what nodes send to clients from virtual addresses: the IP header, and the segment that draws an acknowledgement.

use std::net::{IpAddr, SocketAddr};

use slr_model::FlowKey;

const TTL: u8 = 64;
const PROTO_ICMP: u8 = 1;
const PROTO_TCP: u8 = 6;
const PROTO_ICMPV6: u8 = 58;
const TCP_HEADER_LEN: usize = 20;
/// Two NOPs and RFC 7323's option.
const TIMESTAMPS_LEN: usize = 12;
const TCP_ACK: u8 = 0x10;
/// What the segment says that we take: clients do not act upon the window of a segment that is too old to be accepted.
const WINDOW: u16 = 1_024;

/// A whole datagram around an ICMP message of the addresses' family.
pub fn icmp(from: IpAddr, to: IpAddr, message: &[u8]) -> Vec<u8> {
    let protocol = if to.is_ipv4() { PROTO_ICMP } else { PROTO_ICMPV6 };
    with_header(from, to, protocol, message)
}

/// A segment without data that is not acceptable (RFC 9293 3.10.7.4), so that the client must answer it with an acknowledgement at once,
/// which has both of its numbers. `sequence` is one that the client has acknowledged already: the one before what it waits for, as in
/// a keepalive (RFC 9293 3.8.4), or any that is likely out of its window. `None` for what is no TCP flow.
pub fn nudge(flow: FlowKey, sequence: u32, acknowledged: u32, timestamps: Option<(u32, u32)>) -> Option<Vec<u8>> {
    if flow.protocol() != slr_model::Protocol::Tcp {
        return None;
    }
    let (from, to) = (flow.virtual_host(), flow.client());
    let options = if timestamps.is_some() { TIMESTAMPS_LEN } else { 0 };
    let mut segment = Vec::with_capacity(TCP_HEADER_LEN + options);
    segment.extend(from.port().to_be_bytes());
    segment.extend(to.port().to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledged.to_be_bytes());
    segment.extend([((TCP_HEADER_LEN + options) / 4) as u8 * 16, TCP_ACK]);
    segment.extend(WINDOW.to_be_bytes());
    segment.extend([0; 4]); // checksum, urgent pointer
    if let Some((value, echo)) = timestamps {
        segment.extend([1, 1, 8, 10]);
        segment.extend(value.to_be_bytes());
        segment.extend(echo.to_be_bytes());
    }
    let sum = checksum(pseudo_header(from, to, segment.len()) + sum(&segment));
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    Some(with_header(from.ip(), to.ip(), PROTO_TCP, &segment))
}

/// IPv4's checksum and identification are the kernel's to fill in (raw(7)).
fn with_header(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(40 + payload.len());
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let len = ((20 + payload.len()) as u16).to_be_bytes();
            datagram.extend([0x45, 0, len[0], len[1], 0, 0, 0, 0, TTL, protocol, 0, 0]);
            datagram.extend(from.octets());
            datagram.extend(to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let len = (payload.len() as u16).to_be_bytes();
            datagram.extend([0x60, 0, 0, 0, len[0], len[1], protocol, TTL]);
            datagram.extend(from.octets());
            datagram.extend(to.octets());
        }
        _ => unreachable!("both ends of a flow are of one family"),
    }
    datagram.extend(payload);
    datagram
}

fn pseudo_header(from: SocketAddr, to: SocketAddr, len: usize) -> u32 {
    let address = |end: SocketAddr| match end.ip() {
        IpAddr::V4(v4) => sum(&v4.octets()),
        IpAddr::V6(v6) => sum(&v6.octets()),
    };
    address(from) + address(to) + len as u32 + u32::from(PROTO_TCP)
}

/// Of words in network order, RFC 1071; all that is summed here is of even length.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()
}

fn checksum(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use slr_testkit::packet::{ACK, pkt};

    use super::*;

    #[test]
    fn a_nudge_is_a_segment_without_data() {
        let flow: FlowKey = "tcp 198.51.100.7:40000 > 192.0.2.9:80".parse().unwrap();
        let datagram = nudge(flow, 999, 77, None).unwrap();
        let expected = pkt().ipv4("192.0.2.9", "198.51.100.7").tcp(80, 40000).seq(999).ack(77).flags(ACK).build();
        assert_eq!(datagram[20..34], expected[20..34]);
        assert_eq!(datagram.len(), 40);
        assert_eq!(checksum(pseudo_header(flow.virtual_host(), flow.client(), 20) + sum(&datagram[20..])), 0);
    }

    #[test]
    fn it_has_time_stamps_if_the_connection_has() {
        let flow: FlowKey = "tcp [2001:db8::7]:40000 > [2001:db8:1::9]:80".parse().unwrap();
        let datagram = nudge(flow, u32::MAX, 77, Some((0x0102_0304, 9))).unwrap();
        assert_eq!(datagram[40 + 4..40 + 8], u32::MAX.to_be_bytes());
        assert_eq!(datagram[40 + 20..], [1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 9]);
        assert_eq!(checksum(pseudo_header(flow.virtual_host(), flow.client(), 32) + sum(&datagram[40..])), 0);
        let udp: FlowKey = "udp [2001:db8::7]:40000 > [2001:db8:1::9]:80".parse().unwrap();
        assert_eq!(nudge(udp, 1, 1, None), None);
    }
}
