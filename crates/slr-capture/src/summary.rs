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
        0x0800 => {
            let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?).into());
            let later = u16_at(ip, 6)? & 0x1fff != 0;
            let payload = ip.get(usize::from(ip[0] & 15) * 4..).unwrap_or_default();
            Some(transport(*ip.get(9)?, address(12)?, address(16)?, if later { &[] } else { payload }))
        }
        0x86dd => {
            let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(ip.get(at..at + 16)?).ok()?).into());
            Some(transport(*ip.get(6)?, address(8)?, address(24)?, ip.get(40..).unwrap_or_default()))
        }
        other => Some(format!("EtherType 0x{other:04x}, {} bytes", frame.len())),
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
    format!("{name} {} > {}", end(source, port(0)), end(destination, port(2)))
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
                "tunnel 10.1.255.7 > 10.1.11.2",
            ),
        ];
        for (packet, expected) in table {
            assert_eq!(summary(&packet.build()), expected);
        }
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
