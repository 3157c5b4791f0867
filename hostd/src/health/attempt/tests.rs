//! Every kind of check against real sockets on the loopback addresses.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use slr_model::ServiceAdvert;

use super::super::Check;
use super::*;

const TIMEOUT: Duration = Duration::from_millis(300);
const LOOPBACK: [&str; 2] = ["127.0.0.1", "::1"];

fn checked(address: &str, kind: Kind) -> Checked {
    let address: IpAddr = address.parse().unwrap();
    let key = if address.is_ipv4() { "tcp/80@127.0.0.0/8" } else { "tcp/80@::1/128" };
    let check = Check { kind, address, interval: TIMEOUT, timeout: TIMEOUT, rise: 2, fall: 3 };
    Checked { key: key.parse().unwrap(), check }
}

fn try_once(address: &str, kind: Kind) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(attempt(&checked(address, kind)))
}

fn failure(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failure(why) => why,
        Outcome::Success => panic!("a failure was expected"),
    }
}

/// A port at which nobody listens: taken, and given back.
fn closed_port(address: &str) -> u16 {
    TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port()
}

/// Answers one connection with `answer` after reading the request, which is returned.
fn serve_once(address: &str, answer: &'static str) -> (u16, thread::JoinHandle<String>) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            request.extend(byte);
        }
        // The asker may close as soon as it has the status.
        let _ = stream.write_all(answer.as_bytes());
        String::from_utf8(request).unwrap()
    });
    (port, server)
}

fn http(port: u16, status: &[u16]) -> Kind {
    Kind::Http { port, host: None, path: "/health?deep=1".to_owned(), status: status.to_vec() }
}

#[test]
fn tcp_passes_where_somebody_listens() {
    for address in LOOPBACK {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(try_once(address, Kind::Tcp { port }), Outcome::Success);
        let (stream, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), address.parse::<IpAddr>().unwrap(), "it comes from the address that it goes to");
        // Reset, so that neither side keeps a TIME_WAIT.
        let error = (&stream).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let why = failure(try_once(address, Kind::Tcp { port: closed_port(address) }));
        assert!(why.starts_with("tcp: ") && why.contains("refused"), "{why}");
    }
}

#[test]
fn http_wants_an_expected_status_and_says_which_host() {
    for (address, host) in [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")] {
        let (port, server) = serve_once(address, "HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(try_once(address, http(port, &[200, 204])), Outcome::Success);
        let request = server.join().unwrap().to_lowercase();
        assert!(request.starts_with("get /health?deep=1 http/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("\r\nhost: {host}\r\n")), "{request}");
        let (port, _server) = serve_once(address, "HTTP/1.1 500 Oops\r\ncontent-length: 100\r\n\r\nhalf");
        assert_eq!(failure(try_once(address, http(port, &[200]))), "http: status 500");
        let (port, _server) = serve_once(address, "SSH-2.0-OpenSSH_9.2\r\n");
        let why = failure(try_once(address, http(port, &[200])));
        assert!(why.contains("no HTTP answer") && why.contains("invalid HTTP"), "{why}");
        let why = failure(try_once(address, http(closed_port(address), &[200])));
        assert!(why.contains("no connection") && why.contains("refused"), "{why}");
    }
}

#[test]
fn the_host_header_is_the_configured_one() {
    let (port, server) = serve_once("127.0.0.1", "HTTP/1.1 200 OK\r\n\r\n");
    let kind = Kind::Http { port, host: Some("www.example.com".to_owned()), path: "/".to_owned(), status: vec![200] };
    assert_eq!(try_once("127.0.0.1", kind), Outcome::Success);
    assert!(server.join().unwrap().to_lowercase().contains("\r\nhost: www.example.com\r\n"));
}

#[test]
fn a_frozen_server_accepts_and_never_answers() {
    // Nobody calls accept: the kernel completes the handshake, as it does for a stopped process.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(try_once("127.0.0.1", Kind::Tcp { port }), Outcome::Success);
    let start = Instant::now();
    assert_eq!(failure(try_once("127.0.0.1", http(port, &[200]))), "http: no answer from 127.0.0.1 within 300 ms");
    assert!(start.elapsed() >= TIMEOUT && start.elapsed() < 3 * TIMEOUT, "{:?}", start.elapsed());
}

#[test]
fn udp_wants_an_answer_that_begins_as_expected() {
    for address in LOOPBACK {
        let server = UdpSocket::bind((address, 0)).unwrap();
        let port = server.local_addr().unwrap().port();
        let echo = thread::spawn(move || {
            let mut datagram = [0; 100];
            for _ in 0..2 {
                let (len, from) = server.recv_from(&mut datagram).unwrap();
                assert_eq!(&datagram[..len], b"ping\x00");
                server.send_to(b"pong 1", from).unwrap();
            }
        });
        let kind = |expect: &[u8]| Kind::Udp { port, send: b"ping\x00".to_vec(), expect: expect.to_vec() };
        assert_eq!(try_once(address, kind(b"pong")), Outcome::Success);
        let why = failure(try_once(address, kind(b"\xff!")));
        assert!(why.contains("the answer begins with \"po\""), "{why}");
        echo.join().unwrap();
        let why = failure(try_once(address, kind(b"")));
        assert!(why.starts_with("udp: no answer from"), "nobody is there any more: {why}");
    }
}

#[test]
fn a_command_is_told_what_it_checks() {
    let command = |script: &str| Kind::Command { words: ["/bin/sh", "-c", script].map(str::to_owned).to_vec() };
    let good = "test \"$SLR_SUBNET $SLR_ADDRESS $SLR_PROTOCOL $SLR_PORT\" = '127.0.0.0/8 127.0.0.1 tcp 80'";
    assert_eq!(try_once("127.0.0.1", command(good)), Outcome::Success);
    let why = failure(try_once("127.0.0.1", command("echo disk full >&2; exit 1")));
    assert_eq!(why, "command: /bin/sh ended with exit status: 1: disk full");
    let why = failure(try_once("127.0.0.1", command("sleep 100")));
    assert_eq!(why, "command: /bin/sh took longer than 300 ms and was killed");
}

#[test]
fn reasons_fit_an_advert() {
    let long = "ä".repeat(200);
    let script = format!("echo {long} >&2; exit 1");
    let kind = Kind::Command { words: ["/bin/sh", "-c", &script].map(str::to_owned).to_vec() };
    let why = failure(try_once("127.0.0.1", kind));
    assert!(why.len() <= ServiceAdvert::REASON_MAX && why.len() >= ServiceAdvert::REASON_MAX - 1);
}
