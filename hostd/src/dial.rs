//! Sockets towards this host's own services.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

/// Connects to `to`. With `own_source` the connection comes from that address as well, which is then one of this host's:
/// so it is told apart from clients' connections, and IPv6 needs no other address of this host.
///
/// Closing resets the connection: nothing of it stays in TIME_WAIT, whichever side closes first.
pub async fn tcp(to: SocketAddr, own_source: bool) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_linger(Some(Duration::ZERO))?;
    if own_source {
        bind(&socket, to.ip())?;
    }
    TcpSocket::from_std_stream(socket.into()).connect(to).await
}

/// A UDP socket at `address`, which is one of this host's.
pub fn udp(address: IpAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(SocketAddr::new(address, 0)), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    bind(&socket, address)?;
    UdpSocket::from_std(socket.into())
}

fn bind(socket: &Socket, address: IpAddr) -> io::Result<()> {
    // An address that is local by a route alone: IPv4 takes it as it is, IPv6 wants to be told.
    if address.is_ipv6() {
        socket.set_freebind_v6(true)?;
    }
    socket.bind(&SocketAddr::new(address, 0).into())
}
