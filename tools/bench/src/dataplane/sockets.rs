//! A TCP connection in this namespace between the addresses of the benchmark's first flows, so that a host's socket check
//! finds what it looks for.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use slr_testkit::holds_within;
use slr_testkit::netns::NetNs;
use socket2::{Domain, Socket, Type};

use super::packets::Service;

/// Both ends, held open.
pub struct Connection {
    _listener: TcpListener,
    _client: TcpStream,
    _server: TcpStream,
}

/// Connect flow 0 of a service through the loopback of `ns`, which the calling thread is in.
pub fn connect(ns: &NetNs, service: Service) -> Result<Connection> {
    let (client, server) = service.endpoints(0);
    for address in [client.ip(), server.ip()] {
        match address {
            IpAddr::V4(address) => ns.ip(&format!("address add {address}/32 dev lo"))?,
            IpAddr::V6(address) => ns.ip(&format!("address add {address}/128 dev lo nodad"))?,
        }
    }
    let listener = TcpListener::bind(server).with_context(|| format!("listen on {server}"))?;
    // The kernel makes the routes of IPv6 addresses in its own time.
    let mut connected = connect_from(client, server);
    let unreachable = |tried: &std::io::Result<TcpStream>| {
        tried.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NetworkUnreachable)
    };
    let _ = holds_within(Duration::from_secs(5), || {
        if unreachable(&connected) {
            connected = connect_from(client, server);
        }
        !unreachable(&connected)
    });
    let client = connected.with_context(|| format!("connect {client} to {server}"))?;
    let (server, _) = listener.accept().context("accept")?;
    Ok(Connection { _listener: listener, _client: client, _server: server })
}

fn connect_from(client: SocketAddr, server: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    socket.bind(&client.into())?;
    socket.connect(&server.into())?;
    Ok(socket.into())
}
