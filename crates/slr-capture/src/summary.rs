//! A packet in a few words, for people. Reads what is easily read and says less of the rest: the program decides, not this.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Such as `tcp 10.0.1.2:40000 > 192.0.2.10:80`.
pub fn summary(frame: &[u8]) -> String {
    describe(frame).unwrap_or_else(|| format!("{} bytes", frame.len()))
}

fn describe(frame: &[u8]) -> Option<String> {
    let mut at = 12;
    let mut kind = u16_at(frame, at)?;
    for _ in 0..2 {
        if matches!(kind, 0x8100 | 0x88a8) {
            at += 4;
            kind = u16_at(frame, at)?;
        }
    }
    let ip = frame.get(at + 2..)?;
    match kind {
        0x0800 => datagram_v4(ip),
        0x86dd => datagram_v6(ip),
        other => Some(format!("EtherType 0x{other:04x}, {} bytes", frame.len())),
    }
}

fn datagram_v4(ip: &[u8]) -> Option<String> {
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?).into());
    let later = u16_at(ip, 6)? & 0x1fff != 0;
    let payload = ip.get(usize::from(ip[0] & 15).max(5) * 4..).unwrap_or_default();
    Some(transport(*ip.get(9)?, address(12)?, address(16)?, if later { &[] } else { payload }))
}

fn datagram_v6(ip: &[u8]) -> Option<String> {
    let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(ip.get(at..at + 16)?).ok()?).into());
    let (mut protocol, mut rest) = (*ip.get(6)?, ip.get(40..).unwrap_or_default());
    // Extension headers (RFC 8200 4.1); behind a later fragment's there is no other.
    while let (0 | 43 | 44 | 60, [next, len, fragment @ ..]) = (protocol, rest) {
        let is_fragment = protocol == 44;
        let later = is_fragment && u16_at(fragment, 0).is_none_or(|offset| offset & 0xfff8 != 0);
        let header = if is_fragment { 8 } else { (usize::from(*len) + 1) * 8 };
        protocol = *next;
        rest = if later { &[] } else { rest.get(header..).unwrap_or_default() };
    }
    Some(transport(protocol, address(8)?, address(24)?, rest))
}

/// What a tunnel header carries, if it is what the header says.
fn content(protocol: u8, payload: &[u8]) -> Option<String> {
    match (protocol, payload.first()? >> 4) {
        (4, 4) => datagram_v4(payload),
        (41, 6) => datagram_v6(payload),
        _ => None,
    }
}

fn transport(protocol: u8, source: IpAddr, destination: IpAddr, payload: &[u8]) -> String {
    let name = match protocol {
        1 | 58 => "icmp".to_owned(),
        4 | 41 => "tunnel".to_owned(),
        6 => format!("tcp{}", payload.get(13).map_or(String::new(), |&flags| tcp_flags(flags))),
        17 => "udp".to_owned(),
        other => format!("protocol {other}"),
    };
    let port = |at| u16_at(payload, at).filter(|_| matches!(protocol, 6 | 17));
    let end = |address: IpAddr, port: Option<u16>| match port {
        None => address.to_string(),
        Some(port) => std::net::SocketAddr::new(address, port).to_string(),
    };
    let carries = content(protocol, payload).map(|inner| format!(": {inner}")).unwrap_or_default();
    format!("{name} {} > {}{carries}", end(source, port(0)), end(destination, port(2)))
}

fn tcp_flags(flags: u8) -> String {
    let words: Vec<&str> = [(2, "syn"), (16, "ack"), (1, "fin"), (4, "rst")]
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, w)| *w)
        .collect();
    if words.is_empty() { String::new() } else { format!("[{}]", words.join(",")) }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use slr_testkit::packet::{ACK, SYN, pkt};

    #[test]
    fn packets_read_as_people_write_them() {
        let eth = || pkt().eth("02:00:00:00:00:01", "02:00:00:00:00:02");
        let table = [
            (eth().ipv4("10.0.1.2", "192.0.2.10").tcp(4000, 80).flags(SYN), "tcp[syn] 10.0.1.2:4000 > 192.0.2.10:80"),
            (
                eth().vlan(7).ipv6("fd00::2", "2001:db8::9").tcp(4000, 80).flags(SYN | ACK),
                "tcp[syn,ack] [fd00::2]:4000 > [2001:db8::9]:80",
            ),
            (eth().ipv4("10.0.1.2", "192.0.2.10").udp(5, 7), "udp 10.0.1.2:5 > 192.0.2.10:7"),
            (
                eth().ipv4("10.1.255.7", "10.1.11.2").ipv4("10.0.1.2", "192.0.2.10").udp(5, 7),
                "tunnel 10.1.255.7 > 10.1.11.2: udp 10.0.1.2:5 > 192.0.2.10:7",
            ),
            (
                eth()
                    .ipv6("fd00::2", "fd00::3")
                    .ipv4("10.1.255.7", "10.1.11.2")
                    .ipv6("fd00::9", "2001:db8::9")
                    .udp(5, 7),
                "tunnel fd00::2 > fd00::3: tunnel 10.1.255.7 > 10.1.11.2: udp [fd00::9]:5 > [2001:db8::9]:7",
            ),
            (
                eth()
                    .ipv6("fd00::2", "fd00::3")
                    .destination_options(&[4, 1, 4])
                    .fragment_header(0, true, 1)
                    .ipv4("10.0.1.2", "192.0.2.10")
                    .udp(5, 7),
                "tunnel fd00::2 > fd00::3: udp 10.0.1.2:5 > 192.0.2.10:7",
            ),
            (eth().ipv6("fd00::2", "fd00::3").fragment_header(1_480, false, 1).udp(5, 7), "udp fd00::2 > fd00::3"),
            (eth().ipv4("10.1.255.7", "10.1.11.2").next(4).payload([0; 40]), "tunnel 10.1.255.7 > 10.1.11.2"),
        ];
        for (packet, expected) in table {
            assert_eq!(summary(&packet.build()), expected);
        }
    }

    #[test]
    fn a_tunnel_header_without_a_length_carries_nothing() {
        let eth = pkt().eth("02:00:00:00:00:01", "02:00:00:00:00:02");
        let frame = eth.ipv4("10.1.255.7", "10.1.11.2").header_words(0).next(4).payload([]);
        assert_eq!(summary(&frame.build()), "tunnel 10.1.255.7 > 10.1.11.2");
    }

    #[test]
    fn any_prefix_of_a_packet_is_described() {
        let frame =
            pkt().eth("02:00:00:00:00:01", "02:00:00:00:00:02").ipv4("10.0.1.2", "192.0.2.10").tcp(1, 2).build();
        for len in 0..frame.len() {
            assert!(!summary(&frame[..len]).is_empty());
        }
    }
}
