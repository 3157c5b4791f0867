//! The sockets: raw ones that send questions through tunnels, UDP ones that the answers return to.
//!
//! A raw socket of `IPPROTO_RAW` takes whole datagrams with their headers, of either family: a source address that is not
//! ours to the kernel, as the tunnels' are, can be sent no other way. Answers come without a tunnel and carry the time
//! at which the kernel got them, so that a late turn of the thread does not make a path look slow.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant, SystemTime};

use ipnet::IpNet;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use slr_daemon::route::source_toward;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use super::datagram::{self, BODY_LEN, DATAGRAM_MAX, Headers};
use super::prober::{BATCH, Probe, Reply};
use crate::tunnel;

/// IANA's "reserved"; to Linux: whole datagrams.
const IPPROTO_RAW: i32 = 255;
/// Answers of 8,192 targets wait here while the thread is away; the kernel accounts some 800 bytes for each.
const ANSWER_BUFFER_BYTES: usize = 8 << 20;
/// Answers read with one call.
const READ_BATCH: usize = 64;
/// Answers read in one turn: all that the buffers hold. Whoever floods the port is read no faster than turns come.
const READ_MAX: usize = 16_384;
/// Longer than an answer by one byte, so that a longer one shows.
const READ_LEN: usize = BODY_LEN + 1;

/// Where tunnels come from and answers go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Registered prefixes of outer sources, at most one a family.
    pub sources: Vec<IpNet>,
    /// Our own addresses, to be answered at, at most one a family. Without any, answers come to whatever address the
    /// route to a host starts from.
    pub tunnel_addresses: Vec<IpAddr>,
}

/// Why there are no sockets.
#[derive(Debug, Error)]
pub enum SocketError {
    /// No raw socket.
    #[error("cannot open a raw socket for keepalives: {0}; it needs CAP_NET_RAW")]
    Raw(#[source] io::Error),
    /// No socket for answers.
    #[error(
        "cannot take keepalive answers at {address}: {error}; `tunnel.addresses` must be addresses of this machine"
    )]
    Answers {
        /// Where.
        address: IpAddr,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// A family's sockets.
#[derive(Debug)]
struct Family {
    raw: Socket,
    /// Where answers arrive; none if we have no address of this family.
    answers: Option<(UdpSocket, SocketAddr)>,
}

/// Both families' sockets, and the addresses.
#[derive(Debug)]
pub struct Sockets {
    sources: Vec<IpNet>,
    v4: Family,
    v6: Family,
    /// Room for a batch of questions.
    datagrams: Vec<Vec<u8>>,
}

/// What was read in a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Datagrams that are no answers.
    pub malformed: u64,
    /// System calls that failed.
    pub failed: u64,
}

impl Sockets {
    /// In the network namespace of this thread.
    pub fn open(addresses: &Addresses) -> Result<Self, SocketError> {
        let family = |domain: Domain, any: IpAddr| {
            let raw = Socket::new(domain, Type::RAW, Some(Protocol::from(IPPROTO_RAW))).map_err(SocketError::Raw)?;
            raw.set_nonblocking(true).map_err(SocketError::Raw)?;
            let ours = &addresses.tunnel_addresses;
            let own = ours.iter().copied().find(|address| address.is_ipv4() == any.is_ipv4());
            let answers = match own.or(ours.is_empty().then_some(any)) {
                None => None,
                Some(address) => Some(open_answers(address).map_err(|error| SocketError::Answers { address, error })?),
            };
            Ok(Family { raw, answers })
        };
        Ok(Self {
            sources: addresses.sources.clone(),
            v4: family(Domain::IPV4, Ipv4Addr::UNSPECIFIED.into())?,
            v6: family(Domain::IPV6, Ipv6Addr::UNSPECIFIED.into())?,
            datagrams: (0..BATCH).map(|_| Vec::with_capacity(DATAGRAM_MAX)).collect(),
        })
    }

    /// What to wait on.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.v4, &self.v6].into_iter().filter_map(|family| Some(family.answers.as_ref()?.0.as_fd()))
    }

    /// Sends a batch of questions. Returns how many could not be sent: without a registered source or an address of
    /// ours that fits, without a route, or because the kernel had no room.
    pub fn send(&mut self, probes: &[Probe]) -> usize {
        let mut datagrams = std::mem::take(&mut self.datagrams);
        let mut batches: [Vec<(usize, SocketAddr)>; 2] = [Vec::new(), Vec::new()];
        for (index, probe) in probes.iter().enumerate().take(datagrams.len()) {
            if let Some(headers) = self.headers(probe) {
                datagram::write(&mut datagrams[index], &headers, probe);
                // The address is for the route; the header's counts. Raw IPv6 takes no port.
                batches[usize::from(probe.address.is_ipv6())].push((index, SocketAddr::new(probe.address, 0)));
            }
        }
        let mut sent = 0;
        for (batch, family) in batches.iter().zip([&self.v4, &self.v6]) {
            sent += send_batch(&family.raw, batch, &datagrams);
        }
        self.datagrams = datagrams;
        probes.len() - sent
    }

    /// A question's headers: the inside in the tunnel's family if we can be answered there, else in the other.
    fn headers(&self, probe: &Probe) -> Option<Headers> {
        let prefix = self.sources.iter().find(|net| net.addr().is_ipv4() == probe.address.is_ipv4())?;
        let outer = (tunnel::outer_source(*prefix, probe.entropy), probe.address);
        let inside = |to: IpAddr| {
            let family = if to.is_ipv4() { &self.v4 } else { &self.v6 };
            let (_, ours) = family.answers.as_ref()?;
            let from = if ours.ip().is_unspecified() { source_toward(to)? } else { ours.ip() };
            Some(Headers { outer, inner: (from, to), port: ours.port() })
        };
        inside(probe.address).or_else(|| inside(probe.other?))
    }

    /// Reads what has arrived, and hands over each answer with the time of its arrival.
    pub fn read(&mut self, mut take: impl FnMut(Reply, Instant)) -> Read {
        let mut read = Read::default();
        let clocks = (Instant::now(), SystemTime::now());
        for (socket, _) in [&self.v4, &self.v6].into_iter().filter_map(|family| family.answers.as_ref()) {
            let mut left = READ_MAX;
            while left > 0 {
                match read_batch(socket, clocks, &mut read, &mut take) {
                    Ok(got) if got < READ_BATCH => break,
                    Ok(got) => left = left.saturating_sub(got),
                    Err(nix::Error::EAGAIN) => break,
                    // One pending error of the socket, such as an ICMP error; it is gone now, and the turn is over.
                    Err(_) => {
                        read.failed += 1;
                        break;
                    }
                }
            }
        }
        read
    }
}

fn open_answers(address: IpAddr) -> io::Result<(UdpSocket, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(SocketAddr::new(address, 0)), Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Beyond the machine's limit with CAP_NET_ADMIN, else as far as that goes.
    if setsockopt(&socket, sockopt::RcvBufForce, &ANSWER_BUFFER_BYTES).is_err() {
        socket.set_recv_buffer_size(ANSWER_BUFFER_BYTES)?;
    }
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::new(address, 0).into())?;
    let socket = UdpSocket::from(socket);
    let local = socket.local_addr()?;
    Ok((socket, local))
}

/// Sends these datagrams; one that the kernel refuses is left out. Returns how many it took.
fn send_batch(raw: &Socket, batch: &[(usize, SocketAddr)], datagrams: &[Vec<u8>]) -> usize {
    let (mut taken, mut at) = (0, 0);
    while at < batch.len() {
        let slices: Vec<[IoSlice; 1]> = batch[at..].iter().map(|(i, _)| [IoSlice::new(&datagrams[*i])]).collect();
        let to: Vec<Option<SockaddrStorage>> = batch[at..].iter().map(|(_, to)| Some((*to).into())).collect();
        let mut headers = MultiHeaders::preallocate(slices.len(), None);
        match sendmmsg(raw.as_raw_fd(), &mut headers, &slices, &to, [], MsgFlags::empty()) {
            Ok(results) => {
                let count = results.count();
                taken += count;
                at += count.max(1);
            }
            // The first of them; the others may go.
            Err(_) => at += 1,
        }
    }
    taken
}

fn read_batch(
    socket: &UdpSocket,
    clocks: (Instant, SystemTime),
    read: &mut Read,
    take: &mut impl FnMut(Reply, Instant),
) -> nix::Result<usize> {
    let mut buffers = [[0_u8; READ_LEN]; READ_BATCH];
    let mut slices: Vec<[IoSliceMut; 1]> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(READ_BATCH, Some(nix::cmsg_space!(TimeSpec)));
    let received = recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), MsgFlags::empty(), None)?;
    let mut count = 0;
    for message in received {
        count += 1;
        let body = message.iovs().next().unwrap_or_default();
        let reply = message
            .address
            .as_ref()
            .and_then(port_and_address)
            .and_then(|(from, port)| datagram::read(from, body).filter(|_| port == datagram::PORT));
        let stamp = message.cmsgs().ok().and_then(|mut all| {
            all.find_map(|one| if let ControlMessageOwned::ScmTimestampns(time) = one { Some(time) } else { None })
        });
        match reply {
            Some(reply) => take(reply, arrival(clocks, stamp)),
            None => read.malformed += 1,
        }
    }
    Ok(count)
}

fn port_and_address(address: &SockaddrStorage) -> Option<(IpAddr, u16)> {
    let v4 = address.as_sockaddr_in().map(|v4| (IpAddr::V4(v4.ip()), v4.port()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| (IpAddr::V6(v6.ip()), v6.port())))
}

/// A kernel's time stamp is of the clock on the wall: taken back from what that says now. If it was set meanwhile, now.
fn arrival((now, wall): (Instant, SystemTime), stamp: Option<TimeSpec>) -> Instant {
    let stamp = stamp.map(|stamp| SystemTime::UNIX_EPOCH + Duration::from(stamp));
    let ago = stamp.and_then(|stamp| wall.duration_since(stamp).ok()).unwrap_or_default();
    now.checked_sub(ago).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_is_taken_back_from_the_clock_on_the_wall() {
        let clocks = (Instant::now(), SystemTime::now());
        let at = |wall: SystemTime| {
            let stamp = TimeSpec::from_duration(wall.duration_since(SystemTime::UNIX_EPOCH).unwrap());
            arrival(clocks, Some(stamp))
        };
        let before = Duration::from_millis(7);
        let difference = clocks.0 - at(clocks.1 - before);
        assert!(difference.abs_diff(before) < Duration::from_micros(1), "{difference:?}");
        assert_eq!(at(clocks.1 + before), clocks.0, "the clock was set back");
        assert_eq!(arrival(clocks, None), clocks.0);
    }
}
