//! Every kind of source, against the real thing.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Instant as Clock;

use super::*;

fn source(name: &str, kind: Kind, interval_ms: u64) -> Source {
    let (interval, timeout) = (Duration::from_millis(interval_ms), Duration::from_millis(500));
    Source { name: name.parse().unwrap(), kind, interval, timeout, stale_after: Duration::from_secs(5) }
}

fn command(script: &str) -> Kind {
    Kind::Command { words: ["/bin/sh", "-c", script].map(str::to_owned).to_vec() }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// The first value that a source gives.
fn first(kind: Kind) -> Result<f64, String> {
    block_on(async {
        let mut sampling = Sampling::new();
        sampling.set(&[source("x", kind, 60_000)]);
        tokio::time::timeout(Duration::from_secs(10), sampling.next()).await.expect("a reading").value
    })
}

/// Answers each connection with this.
fn serve(answer: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

fn document(status: &str, body: &str) -> Kind {
    let to = serve(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    let get = Get { to, own_source: false, host: to.to_string(), path: "/status".to_owned() };
    Kind::Http { get, pointer: Some("/queue".to_owned()) }
}

#[test]
fn the_machine_has_a_cpu_load_without_waiting_for_the_interval() {
    let start = Clock::now();
    let value = first(Kind::Cpu { cgroup: None, cpus: None }).unwrap();
    assert!((0.0..=1.0).contains(&value), "{value}");
    assert!(start.elapsed() < Duration::from_secs(5), "long before the interval is over");
}

#[test]
fn a_busy_process_shows_in_its_cgroup() {
    // The counters of a cgroup without the privilege to make one: files that grow as the kernel's do.
    let folder = tempfile::tempdir().unwrap();
    let stat = folder.path().join("cpu.stat");
    std::fs::write(&stat, "usage_usec 0\n").unwrap();
    let kind = Kind::Cpu { cgroup: Some(folder.path().to_owned()), cpus: Some(0.5) };
    let value = block_on(async {
        let mut memory = Memory::default();
        assert_eq!(read(&source("x", kind.clone(), 1_000), &mut memory).await, None, "one look tells nothing");
        let then = Clock::now();
        sleep(Duration::from_millis(50)).await;
        std::fs::write(&stat, format!("usage_usec {}\n", then.elapsed().as_micros() / 4)).unwrap();
        read(&source("x", kind, 1_000), &mut memory).await.unwrap().unwrap()
    });
    assert!((0.3..=0.5).contains(&value), "a quarter of a CPU is half of its share, less what reading took: {value}");
}

#[test]
fn pressure_is_read_or_its_absence_named() {
    match first(Kind::Pressure { resource: Resource::Cpu, share: Share::Some, cgroup: None }) {
        Ok(value) => assert!((0.0..=1.0).contains(&value), "{value}"),
        Err(error) => assert!(error.contains("CONFIG_PSI"), "{error}"),
    }
    let nowhere = Some("/nonexistent".into());
    let error = first(Kind::Pressure { resource: Resource::Io, share: Share::Full, cgroup: nowhere }).unwrap_err();
    assert!(error.contains("/nonexistent/io.pressure"), "{error}");
}

#[test]
fn commands_and_documents_give_numbers_or_say_what_is_wrong() {
    assert_eq!(first(command("echo 0.75")), Ok(0.75));
    assert_eq!(first(command("echo many")), Err("\"many\" is no number".to_owned()));
    assert_eq!(first(command("exit 9")), Err("/bin/sh ended with exit status: 9".to_owned()));
    assert_eq!(first(command("sleep 100")), Err("/bin/sh took longer than 500 ms and was killed".to_owned()));
    assert_eq!(first(document("200 OK", "{\"queue\": 12}")), Ok(12.0));
    assert_eq!(first(document("503 Busy", "{\"queue\": 12}")), Err("status 503".to_owned()));
    let error = first(document("200 OK", &"x".repeat(DOCUMENT_LEN_MAX + 1))).unwrap_err();
    assert!(error.contains("more than 65536 bytes"), "{error}");
}

#[test]
fn an_application_that_does_not_answer_is_given_up() {
    // Nobody accepts; the kernel takes the connection.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let get = Get { to, own_source: false, host: "x".to_owned(), path: "/".to_owned() };
    assert_eq!(first(Kind::Http { get, pointer: None }), Err("no answer within 500 ms".to_owned()));
}

#[test]
fn a_slow_source_holds_up_nobody_and_a_changed_one_starts_anew() {
    block_on(async {
        let mut sampling = Sampling::new();
        let slow = source("slow", command("sleep 0.4; echo 1"), 10);
        sampling.set(&[slow.clone(), source("fast", command("echo 2"), 10)]);
        let mut seen = BTreeMap::<String, u32>::new();
        while !seen.contains_key("slow") {
            *seen.entry(sampling.next().await.name.to_string()).or_default() += 1;
        }
        assert!(seen["fast"] >= 3, "{seen:?}");
        sampling.set(&[slow, source("fast", command("echo 3"), 10)]);
        let patience = Clock::now() + Duration::from_secs(10);
        loop {
            let reading = sampling.next().await;
            if reading.value == Ok(3.0) {
                break;
            }
            assert!(Clock::now() < patience, "the new command runs");
        }
    });
}
