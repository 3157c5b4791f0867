//! Datagrams that are sent as they are, whatever their IP header says: what attackers send.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

/// IPPROTO_RAW: a socket that sends and hears nothing. raw(7): the header is the sender's, of both families.
const RAW: i32 = 255;

/// A raw socket of each family, in the namespace of the thread that opened them.
#[derive(Debug)]
pub struct RawSender {
    v4: Socket,
    v6: Socket,
}

impl RawSender {
    /// Needs CAP_NET_RAW.
    pub fn open() -> Result<Self> {
        let open = |domain| Socket::new(domain, Type::RAW, Some(Protocol::from(RAW))).context("open a raw socket");
        Ok(Self { v4: open(Domain::IPV4)?, v6: open(Domain::IPV6)? })
    }

    /// Sends a datagram on its way to the destination that its header has. (Of IPv4 the kernel writes the header's checksum, and an
    /// identification where there is none.)
    pub fn send(&self, datagram: &[u8]) -> io::Result<()> {
        let to = destination(datagram).ok_or(io::ErrorKind::InvalidInput)?;
        let socket = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        socket.send_to(datagram, &SocketAddr::new(to, 0).into()).map(drop)
    }
}

fn destination(datagram: &[u8]) -> Option<IpAddr> {
    match datagram.first()? >> 4 {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(datagram.get(16..20)?).ok()?).into()),
        6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(datagram.get(24..40)?).ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slr_testkit::packet::pkt;

    #[test]
    fn the_destination_is_that_of_the_first_header() {
        let inner = |p: slr_testkit::packet::Packet| p.ipv4("10.0.1.2", "192.0.2.10").tcp(1, 80).build();
        let of = |datagram: &[u8]| destination(datagram).map(|to| to.to_string());
        assert_eq!(of(&inner(pkt().ipv4("10.0.1.2", "10.1.11.2"))).as_deref(), Some("10.1.11.2"));
        assert_eq!(of(&inner(pkt().ipv6("fd00::2", "fd00:1:11::2"))).as_deref(), Some("fd00:1:11::2"));
        assert_eq!((of(&[0x45; 19]), of(&[0x60; 39]), of(&[0x50; 40]), of(&[])), (None, None, None, None));
    }
}
