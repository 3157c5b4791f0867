//! Servers that go wrong in one known way. Each runs on threads that end with the test's process.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

/// A TCP server that gives every connection, with its number from 0, to `talk`; its address.
pub fn tcp(
    address: IpAddr,
    talk: impl Fn(u32, TcpStream) -> std::io::Result<()> + Send + Sync + Clone + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).expect("loopback has free ports");
    let local = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for (number, stream) in (0..).zip(listener.incoming().flatten()) {
            let talk = talk.clone();
            // What a client does to a faulty server's connection is not the test's concern.
            thread::spawn(move || drop(talk(number, stream)));
        }
    });
    local
}

/// A UDP server that answers each datagram, with its number from 0, by what `answer` gives; its address.
pub fn udp(address: IpAddr, answer: impl Fn(u32, &[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind((address, 0)).expect("loopback has free ports");
    let local = socket.local_addr().expect("bound");
    thread::spawn(move || answer_all(&socket, &socket, answer));
    local
}

/// A UDP server whose answers leave from another port than the one asked; its address.
pub fn udp_from_elsewhere(address: IpAddr) -> SocketAddr {
    let socket = UdpSocket::bind((address, 0)).expect("loopback has free ports");
    let elsewhere = UdpSocket::bind((address, 0)).expect("loopback has free ports");
    let local = socket.local_addr().expect("bound");
    thread::spawn(move || answer_all(&socket, &elsewhere, |_, message| vec![message.to_vec()]));
    local
}

fn answer_all(from: &UdpSocket, to: &UdpSocket, answer: impl Fn(u32, &[u8]) -> Vec<Vec<u8>>) {
    let mut buffer = vec![0; 65_535];
    for number in 0.. {
        let (length, peer) = from.recv_from(&mut buffer).expect("loopback receives");
        for datagram in answer(number, &buffer[..length]) {
            to.send_to(&datagram, peer).expect("loopback sends");
        }
    }
}

/// Reads one request's head (or whatever comes up to an empty line).
pub fn read_head(stream: &mut impl Read) -> std::io::Result<()> {
    let mut reader = BufReader::with_capacity(1, stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    Ok(())
}

/// A whole response.
pub fn response(server: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nX-Slr-Server: {server}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Closes so that the peer gets a reset.
pub fn reset(stream: TcpStream) -> std::io::Result<()> {
    socket2::Socket::from(stream).set_linger(Some(Duration::ZERO))
}

/// Answers lines by what `answer` makes of them, until the client closes or `answer` gives nothing.
pub fn lines(stream: TcpStream, answer: impl Fn(u32, &str) -> Option<String>) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    for (number, line) in (0..).zip(BufReader::new(stream).lines()) {
        match answer(number, &line?) {
            Some(text) => writer.write_all(text.as_bytes())?,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// A loopback port on which nobody listens.
pub fn closed_port(address: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).expect("loopback has free ports");
    let udp = UdpSocket::bind(listener.local_addr().expect("bound")).expect("the port is free for UDP too");
    udp.local_addr().expect("bound")
}
