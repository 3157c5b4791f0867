//! The endpoint over loopback.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::super::listener::{CONNECTIONS_MAX, LIFETIME, REQUEST_BYTES_MAX};
use super::*;
use crate::metrics::{Family, Kind};

const NUMBER: Family = Family { name: "number", kind: Kind::Gauge, labels: &[], help: "A number." };

struct Figures(u64);

impl Snapshot for Figures {
    fn write(&self, text: &mut Text) {
        text.family(&NUMBER).add(&[], self.0);
    }
}

fn exporter() -> Exporter {
    Exporter::start(Some("127.0.0.1:0".parse().unwrap())).unwrap()
}

fn connect(exporter: &Exporter) -> TcpStream {
    let stream = TcpStream::connect(exporter.address().unwrap()).unwrap();
    stream.set_read_timeout(Some(LIFETIME * 2)).unwrap();
    stream
}

fn get(exporter: &Exporter, path: &str) -> String {
    let mut stream = connect(exporter);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_pages_say_what_was_handed_over_last() {
    let exporter = exporter();
    assert!(get(&exporter, "/healthz").starts_with("HTTP/1.1 200"));
    let starting = get(&exporter, "/readyz");
    assert!(starting.starts_with("HTTP/1.1 503") && starting.contains("no configuration is in force"), "{starting}");
    exporter.ready(Ok(()));
    assert!(get(&exporter, "/readyz").starts_with("HTTP/1.1 200"));
    for number in [7, 8] {
        exporter.publish(Figures(number));
        let page = get(&exporter, "/metrics");
        assert!(page.contains("text/plain; version=0.0.4") && page.contains(&format!("\nnumber {number}\n")), "{page}");
        assert!(page.contains("\nslr_daemon_ready 1\n") && page.to_lowercase().contains("connection: close"), "{page}");
    }
    assert!(get(&exporter, "/").starts_with("HTTP/1.1 404"));
}

#[test]
fn an_address_in_use_is_named_with_the_remedy_and_is_free_again_after_the_drop() {
    let first = exporter();
    let address = first.address();
    let error = Exporter::start(address).err().unwrap().to_string();
    assert!(error.contains(&address.unwrap().to_string()) && error.contains("metrics.listen"), "{error}");
    drop(first);
    assert_eq!(Exporter::start(address).unwrap().address(), address);
}

#[test]
fn switched_off_it_takes_everything_and_serves_nothing() {
    let exporter = Exporter::start(None).unwrap();
    exporter.turned();
    exporter.ready(Ok(()));
    exporter.publish(Figures(1));
    assert_eq!(exporter.address(), None);
}

#[test]
fn a_request_that_is_too_long_is_not_read_to_its_end() {
    let exporter = exporter();
    let mut stream = connect(&exporter);
    stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut sent = stream.write(b"GET /metrics HTTP/1.1\r\n").unwrap();
    // The endpoint closes: some write fails long before a megabyte is through.
    while sent < 1 << 20 {
        match stream.write(b"X-Header: and so on and so on\r\n") {
            Ok(more) => sent += more,
            Err(_) => break,
        }
    }
    assert!(sent < 1 << 20, "{sent} bytes taken, the bound is {REQUEST_BYTES_MAX}");
    assert!(get(&exporter, "/healthz").contains("ok"));
}

#[test]
fn idle_connections_have_their_time_and_then_make_room() {
    let exporter = exporter();
    let mut idle: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| connect(&exporter)).collect();
    let start = Instant::now();
    // All places are taken: this one waits until theirs is over.
    assert!(get(&exporter, "/healthz").contains("ok"));
    let waited = start.elapsed();
    assert!(waited > LIFETIME / 2 && waited < LIFETIME * 2, "{waited:?}");
    let mut rest = Vec::new();
    assert!(idle[0].read_to_end(&mut rest).is_ok() || rest.is_empty(), "closed");
}
