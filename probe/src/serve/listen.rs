//! Bound sockets of the server side.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};

/// Connections that may wait to be accepted; the kernel lowers it to `net.core.somaxconn`. A probe opens hundreds at once.
const BACKLOG: i32 = 4096;
/// Receive buffer asked for on UDP sockets: one burst of a thousand flows' datagrams, with the kernel's overhead.
const UDP_BUFFER_BYTES: usize = 4 << 20;

/// A listening TCP socket.
pub fn tcp(address: SocketAddr, only_v6: bool) -> Result<TcpListener> {
    let socket = bind(address, Type::STREAM, Protocol::TCP, only_v6)?;
    socket.listen(BACKLOG).with_context(|| format!("cannot listen on TCP {address}"))?;
    TcpListener::from_std(socket.into()).with_context(|| format!("cannot watch TCP {address}"))
}

/// A UDP socket; unless `naive`, it learns the address that each datagram was sent to.
pub fn udp(address: SocketAddr, only_v6: bool, naive: bool) -> Result<UdpSocket> {
    let socket = bind(address, Type::DGRAM, Protocol::UDP, only_v6)?;
    // The kernel grants up to net.core.rmem_max without complaint.
    let _ = socket.set_recv_buffer_size(UDP_BUFFER_BYTES);
    if !naive {
        let asked = match address {
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true),
            SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true),
        };
        asked.with_context(|| format!("cannot ask for destination addresses on UDP {address}"))?;
    }
    UdpSocket::from_std(socket.into()).with_context(|| format!("cannot watch UDP {address}"))
}

fn bind(address: SocketAddr, kind: Type, protocol: Protocol, only_v6: bool) -> Result<Socket> {
    let name = if protocol == Protocol::TCP { "TCP" } else { "UDP" };
    let make = || -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), Some(protocol))?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6)?;
        }
        if protocol == Protocol::TCP {
            // A restarted server must not wait for its predecessor's connections in TIME_WAIT.
            socket.set_reuse_address(true)?;
        }
        socket.bind(&address.into())?;
        Ok(socket)
    };
    make().with_context(|| format!("cannot bind {name} {address} (choose with --listen and the --…-port options)"))
}
