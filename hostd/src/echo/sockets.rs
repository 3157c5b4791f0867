//! Raw sockets: datagrams from virtual addresses out, answers to echoes in.

use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use slr_wire::FlowAdvert;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// IANA's "reserved"; to Linux: whole datagrams, with sources that are no addresses of this machine's interfaces.
const IPPROTO_RAW: i32 = 255;
/// Lengths of an IPv4 header: without options, and with as many as fit.
const IPV4_HEADER_LENS: std::ops::RangeInclusive<usize> = 20..=60;
/// Answers read in one turn: what the host may have asked in a second, and room.
const READ_MAX: usize = 4_096;

/// Both families'.
pub struct Sockets {
    out_v4: Socket,
    out_v6: Socket,
    in_v4: Socket,
    in_v6: Socket,
}

impl Sockets {
    /// In the network namespace of this thread. Needs CAP_NET_RAW.
    pub fn open() -> io::Result<Self> {
        let raw = |domain, protocol: i32| {
            let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(protocol)))?;
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>(socket)
        };
        let (in_v4, in_v6) = (raw(Domain::IPV4, libc::IPPROTO_ICMP)?, raw(Domain::IPV6, libc::IPPROTO_ICMPV6)?);
        // An IPv4 socket is given the IP header, an IPv6 socket is not.
        let longest = FlowAdvert::ECHO_LEN + IPV4_HEADER_LENS.end();
        in_v4.attach_filter(&of_length(FlowAdvert::ECHO_LEN + IPV4_HEADER_LENS.start(), longest))?;
        in_v6.attach_filter(&of_length(FlowAdvert::ECHO_LEN, FlowAdvert::ECHO_LEN))?;
        Ok(Self { out_v4: raw(Domain::IPV4, IPPROTO_RAW)?, out_v6: raw(Domain::IPV6, IPPROTO_RAW)?, in_v4, in_v6 })
    }

    /// What to wait on.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.in_v4.as_fd(), self.in_v6.as_fd()]
    }

    /// Sends a whole datagram.
    pub fn send(&self, to: IpAddr, datagram: &[u8]) -> io::Result<()> {
        let socket = if to.is_ipv4() { &self.out_v4 } else { &self.out_v6 };
        // The address is for the route; the header's counts. Raw IPv6 takes no port.
        socket.send_to(datagram, &SocketAddr::new(to, 0).into()).map(drop)
    }

    /// The advertisements in answers that have come.
    pub fn read(&self, mut take: impl FnMut(&[u8; FlowAdvert::LEN])) {
        let mut buffer = [0; FlowAdvert::ECHO_LEN + *IPV4_HEADER_LENS.end() + 1];
        for (mut socket, is_ipv4) in [(&self.in_v4, true), (&self.in_v6, false)] {
            for _ in 0..READ_MAX {
                let len = match socket.read(&mut buffer) {
                    Ok(len) => len,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(_) => break,
                };
                let header = if is_ipv4 { usize::from(buffer[0] & 0xf) * 4 } else { 0 };
                let message = buffer.get(header..len).unwrap_or_default();
                if let Some(advert) = FlowAdvert::in_reply(message, is_ipv4) {
                    take(advert);
                }
            }
        }
    }
}

/// A classic BPF program that passes messages of these lengths: what else the machine is sent by ICMP wakes nobody here.
fn of_length(least: usize, most: usize) -> [SockFilter; 5] {
    const LD_LEN: u16 = 0x80; // BPF_LD | BPF_W | BPF_LEN
    const JGE: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
    const JGT: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
    const RET: u16 = 0x06; // BPF_RET | BPF_K
    [
        SockFilter::new(LD_LEN, 0, 0, 0),
        SockFilter::new(JGE, 0, 2, least as u32),
        SockFilter::new(JGT, 1, 0, most as u32),
        SockFilter::new(RET, 0, 0, u32::MAX),
        SockFilter::new(RET, 0, 0, 0),
    ]
}
