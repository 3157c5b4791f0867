//! What the kernel's routes say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// RFC 863. Nothing is sent there.
const DISCARD: u16 = 9;

/// The address of this machine that datagrams to `to` leave with; `None`: there is no route.
pub fn source_toward(to: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((to, DISCARD)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_says_where_an_answer_would_come_to() {
        assert_eq!(source_toward("127.0.0.1".parse().unwrap()), Some("127.0.0.1".parse().unwrap()));
        assert_eq!(source_toward("::1".parse().unwrap()), Some("::1".parse().unwrap()));
    }
}
