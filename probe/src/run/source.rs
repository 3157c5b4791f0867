//! Where clients bind: source addresses in turn, and sockets that do not waste ports.

use std::{
    cell::Cell,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::{Result, bail};
use ipnet::IpNet;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// Most addresses used of one range; more clients than this share addresses.
pub const MAX_ADDRESSES_PER_RANGE: u128 = 65_534;
/// Receive buffer asked for on UDP flows: any burst of answers that one flow can have outstanding.
const UDP_BUFFER_BYTES: usize = 256 << 10;

/// The source addresses that clients take in turn, per family.
pub struct Sources {
    v4: Turn,
    v6: Turn,
    freebind: bool,
}

/// The addresses of one family's ranges, and whose turn it is.
#[derive(Default)]
struct Turn {
    ranges: Vec<IpNet>,
    next: Cell<u128>,
}

impl Turn {
    fn total(&self) -> u128 {
        self.ranges.iter().map(usable).sum()
    }

    fn take(&self) -> Option<IpAddr> {
        if self.ranges.is_empty() {
            return None;
        }
        let mut index = self.next.get() % self.total();
        self.next.set(self.next.get() + 1);
        for range in &self.ranges {
            if index < usable(range) {
                return Some(nth(range, index));
            }
            index -= usable(range);
        }
        unreachable!("index is below the ranges' total")
    }
}

/// How many addresses of `range` are used: hosts only (not an IPv4 subnet's own and broadcast address, not the IPv6
/// subnet-router anycast address).
fn usable(range: &IpNet) -> u128 {
    let host_bits = u32::from(range.max_prefix_len() - range.prefix_len());
    let all = 1u128.checked_shl(host_bits).unwrap_or(u128::MAX);
    let hosts = match (range, host_bits) {
        (_, 0) => 1,
        (_, 1) => 2,
        (IpNet::V4(_), _) => all - 2,
        (IpNet::V6(_), _) => all - 1,
    };
    hosts.min(MAX_ADDRESSES_PER_RANGE)
}

/// The `index`-th host of `range`.
fn nth(range: &IpNet, index: u128) -> IpAddr {
    let first = u128::from(range.max_prefix_len() - range.prefix_len() > 1);
    match range {
        IpNet::V4(net) => Ipv4Addr::from(u32::from(net.network()) + (first + index) as u32).into(),
        IpNet::V6(net) => Ipv6Addr::from(u128::from(net.network()) + first + index).into(),
    }
}

impl Sources {
    /// Takes the ranges, and tries the first and the last address of each so that a range which is not this machine's
    /// is named before anything is measured.
    pub fn new(ranges: &[IpNet], freebind: bool) -> Result<Self> {
        let of_family = |v4: bool| Turn {
            ranges: ranges.iter().filter(|range| range.addr().is_ipv4() == v4).copied().collect(),
            next: Cell::new(0),
        };
        let sources = Self { v4: of_family(true), v6: of_family(false), freebind };
        for range in ranges {
            for address in [nth(range, 0), nth(range, usable(range) - 1)] {
                if let Err(error) = sources.tcp_socket(address.into(), Some(address)) {
                    bail!(
                        "cannot bind {address} of --source-range {range}: {error} (add the addresses, or the range with \
                         `ip route add local {range} dev lo`; for IPv6 by route, also --source-freebind)"
                    );
                }
            }
        }
        Ok(sources)
    }

    /// The next client's address towards `target`; `None` leaves the choice to the kernel.
    pub fn next_for(&self, target: IpAddr) -> Option<IpAddr> {
        if target.is_ipv4() { self.v4.take() } else { self.v6.take() }
    }

    /// A TCP socket of `target`'s family, bound to `source` but not yet to a port: with IP_BIND_ADDRESS_NO_PORT the
    /// kernel picks the port at connect, where one port serves any number of (source, target) pairs.
    pub fn tcp_socket(&self, target: Target, source: Option<IpAddr>) -> io::Result<Socket> {
        let socket = Socket::new(target.domain(), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        if let Some(source) = source {
            self.allow_foreign(&socket)?;
            setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        Ok(socket)
    }

    /// A UDP socket of `target`'s family, bound to `source` and a port, and *not* connected: a connected one would
    /// hide answers that come from a wrong address. ICMP errors are asked for, which otherwise only connected ones get.
    pub fn udp_socket(&self, target: Target, source: Option<IpAddr>, forbid_fragments: bool) -> io::Result<Socket> {
        let socket = Socket::new(target.domain(), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        // The kernel grants up to net.core.rmem_max without complaint.
        let _ = socket.set_recv_buffer_size(UDP_BUFFER_BYTES);
        let any: IpAddr = if target.0.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        if target.0.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
        }
        if forbid_fragments {
            forbid_fragmentation(&socket, target)?;
        }
        if source.is_some() {
            self.allow_foreign(&socket)?;
        }
        socket.bind(&SocketAddr::new(source.unwrap_or(any), 0).into())?;
        Ok(socket)
    }

    fn allow_foreign(&self, socket: &Socket) -> io::Result<()> {
        if self.freebind {
            setsockopt(socket, sockopt::IpFreebind, &true)?;
        }
        Ok(())
    }
}

/// An address that flows go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target(pub IpAddr);

impl From<IpAddr> for Target {
    fn from(address: IpAddr) -> Self {
        Self(address)
    }
}

impl Target {
    fn domain(self) -> Domain {
        if self.0.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 }
    }
}

/// Sets the "do" mode of path MTU discovery: DF on every datagram, EMSGSIZE for what does not fit.
#[expect(unsafe_code, reason = "neither socket2 nor nix knows IP_MTU_DISCOVER")]
fn forbid_fragmentation(socket: &Socket, target: Target) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let (level, name, value) = match target.0 {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO),
    };
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; the value is a c_int that outlives the call
    // and `length` is its size; the kernel copies it and keeps no pointer.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(ranges: &[&str], target: &str, count: usize) -> Vec<String> {
        let ranges: Vec<IpNet> = ranges.iter().map(|range| range.parse().expect("a range")).collect();
        let turn = |v4| Turn {
            ranges: ranges.iter().filter(|range| range.addr().is_ipv4() == v4).copied().collect(),
            next: Cell::new(0),
        };
        let sources = Sources { v4: turn(true), v6: turn(false), freebind: false };
        let target = target.parse().expect("an address");
        (0..count).filter_map(|_| sources.next_for(target)).map(|address| address.to_string()).collect()
    }

    #[test]
    fn addresses_come_in_turn_over_all_ranges_of_the_family() {
        assert_eq!(
            taken(&["198.51.100.0/30", "2001:db8::/127", "203.0.113.7/32"], "192.0.2.1", 5),
            ["198.51.100.1", "198.51.100.2", "203.0.113.7", "198.51.100.1", "198.51.100.2"]
        );
        assert_eq!(
            taken(&["198.51.100.0/30", "2001:db8::/127"], "2001:db8::9", 3),
            ["2001:db8::", "2001:db8::1", "2001:db8::"]
        );
        assert_eq!(taken(&["198.51.100.0/31"], "192.0.2.1", 2), ["198.51.100.0", "198.51.100.1"]);
        assert_eq!(taken(&["198.51.100.0/30"], "2001:db8::9", 3), Vec::<String>::new());
    }

    #[test]
    fn a_vast_range_is_used_up_to_its_bound() {
        for range in ["2001:db8::/64", "::/0", "10.0.0.0/8"] {
            let range: IpNet = range.parse().expect("a range");
            assert_eq!(usable(&range), MAX_ADDRESSES_PER_RANGE);
            assert!(range.contains(&nth(&range, MAX_ADDRESSES_PER_RANGE - 1)));
        }
        assert_eq!(usable(&"198.51.100.0/24".parse().expect("a range")), 254);
    }

    #[test]
    fn a_range_that_is_not_ours_is_named_at_the_start() {
        let Err(error) = Sources::new(&["192.0.2.0/24".parse().expect("a range")], false) else {
            panic!("192.0.2.0/24 must not be an address of the machine that runs tests");
        };
        assert!(error.to_string().contains("192.0.2.1 of --source-range 192.0.2.0/24"), "{error}");
    }
}
