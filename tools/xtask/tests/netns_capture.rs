//! `capture` at a router and at a host of a running site: what is dropped there is in the file with its reason, what goes on is there
//! as it came and as it left; and whoever is killed leaves the plain program behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use slr_testkit::packet::{ACK, Packet, pkt};
use slr_testkit::{eventually, require_root};
use xtask::captures::{is_on, program};
use xtask::load::start_servers;
use xtask::raw::RawSender;
use xtask::site::{Site, SiteOptions, VIRTUAL};
use xtask::traffic;

const SOON: Duration = Duration::from_secs(20);
/// A lease of three seconds, and what a busy machine needs.
const GONE: Duration = Duration::from_secs(8);
const PACKETS: usize = 5;
const CLIENT: &str = "10.0.102.9";

/// A frame of a capture: its interface's name, its comment, the whole frame's length and what is kept.
#[derive(Debug)]
struct Frame {
    interface: String,
    comment: String,
    len: u32,
    bytes: Vec<u8>,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The text of an option.
fn option(mut options: &[u8], code: u16) -> String {
    while options.len() >= 4 {
        let [found, len] = [0, 2].map(|at| u16::from_be_bytes(options[at..at + 2].try_into().unwrap()));
        if found == code {
            return String::from_utf8(options[4..4 + usize::from(len)].to_vec()).unwrap();
        }
        options = &options[4 + usize::from(len).next_multiple_of(4)..];
    }
    String::new()
}

/// The frames of a file that is whole up to its end, and what its statistics say.
fn read(path: &Path) -> (Vec<Frame>, String) {
    let bytes = fs::read(path).unwrap();
    let (mut rest, mut interfaces, mut frames, mut missing) = (&bytes[..], Vec::new(), Vec::new(), String::new());
    while !rest.is_empty() {
        let (kind, len) = (u32_at(rest, 0), u32_at(rest, 4) as usize);
        let body = &rest[8..len - 4];
        match kind {
            1 => interfaces.push(option(&body[8..], 2)),
            5 if missing.is_empty() => missing = option(&body[12..], 1),
            6 => {
                let kept = u32_at(body, 12) as usize;
                frames.push(Frame {
                    interface: interfaces[u32_at(body, 0) as usize].clone(),
                    comment: option(&body[20 + kept.next_multiple_of(4)..], 1),
                    len: u32_at(body, 16),
                    bytes: body[20..20 + kept].to_vec(),
                });
            }
            _ => {}
        }
        rest = &rest[len..];
    }
    (frames, missing)
}

/// A capture under way.
struct Capturing<'a> {
    site: &'a Site,
    node: &'static str,
    file: PathBuf,
    child: Child,
}

impl<'a> Capturing<'a> {
    /// Returns once packets are captured.
    fn start(site: &'a Site, node: &'static str, words: &[&str]) -> Self {
        let file = site.lab().dir().join(format!("{node}.pcapng"));
        let mut command = site.command(node, program(node), &["capture"]).unwrap();
        command.arg("--out").arg(&file).args(words).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let capturing = Self { site, node, file, child };
        eventually(SOON, &format!("a capture at {node}"), || is_on(site, node).unwrap());
        capturing
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Ends it; what it has found.
    fn end(self) -> (Vec<Frame>, String) {
        self.signal(Signal::SIGINT);
        let output = self.child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(!is_on(self.site, self.node).unwrap(), "the plain program is back before the command has ended");
        let (frames, missing) = read(&self.file);
        assert!(said.contains(&missing) && missing.contains("0 for want of room"), "{said} {missing}");
        (frames, said)
    }
}

/// Sends a datagram some times from a client's namespace.
fn send(site: &Site, packet: &Packet) {
    let datagram = packet.build();
    let send = || {
        let sender = RawSender::open().unwrap();
        (0..PACKETS).for_each(|_| sender.send(&datagram).unwrap());
    };
    site.lab().with_netns("c2", send).unwrap();
}

/// Until so many packets more have ended by a reason.
fn send_until_counted(site: &Site, node: &str, reason: &str, packet: &Packet) {
    let before = site.reason(node, reason).unwrap();
    send(site, packet);
    eventually(SOON, reason, || site.reason(node, reason).unwrap() >= before + PACKETS as u64);
}

fn segment(outer: Packet, port: u16) -> Packet {
    outer.ipv4(CLIENT, VIRTUAL[0]).tcp(port, 80).flags(ACK).payload_len(300)
}

fn comments<'a>(frames: &'a [Frame], reason: &str) -> Vec<&'a Frame> {
    frames.iter().filter(|frame| frame.comment.starts_with(&format!("{reason}: "))).collect()
}

#[test]
fn what_is_dropped_at_a_router_and_at_a_host_is_in_the_file_with_its_reason() {
    require_root();
    let site = Site::up("capture", SiteOptions::default()).unwrap();
    start_servers(site.lab()).unwrap();

    // A router: a port that no flow has; what is forwarded meanwhile is not asked for.
    let capturing = Capturing::start(&site, "slr1", &["--dropped", "--client", "10.0.102.0/24"]);
    let mut second = site.command("slr1", "slr-router", &["capture", "--count", "1", "--out", "/dev/null"]).unwrap();
    let refused = second.output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains(&capturing.child.id().to_string()), "{said}");
    send_until_counted(&site, "slr1", "drop_port_zero", &segment(pkt(), 0));
    let (frames, _) = capturing.end();
    assert_eq!(comments(&frames, "drop_port_zero").len(), PACKETS, "{frames:?}");
    assert_eq!(frames.len(), PACKETS, "nothing else was dropped: {frames:?}");
    for frame in &frames {
        assert!(frame.interface.ends_with(" before"), "{frame:?}");
        assert_eq!((frame.len, frame.bytes.len()), (14 + 20 + 20 + 300, 256));
    }

    // What goes on is there twice: as it came, and in its tunnel header.
    let words =
        format!("--target {} --flow keepalive=4 --think 50ms --path /who --http-port 8080 --duration 3s", VIRTUAL[0]);
    let virtual_host = format!("{}:8080", VIRTUAL[0]);
    let capturing = Capturing::start(&site, "slr1", &["--virtual-host", &virtual_host, "--reason", "fwd_established"]);
    let report = traffic::run(site.lab(), "c2", &words).unwrap();
    report.assert_clean("flows while packets are captured");
    let (frames, _) = capturing.end();
    assert!(frames.len() > 20, "{} frames", frames.len());
    for pair in frames.chunks(2) {
        let [before, after] = pair else { panic!("a frame without its other: {pair:?}") };
        assert!(before.interface.ends_with(" before") && after.interface.ends_with(" after"), "{pair:?}");
        assert!(before.comment.starts_with("fwd_established: to h"), "{}", before.comment);
        assert_eq!(after.len, before.len + 20, "an IPv4 header more");
        let inner = before.bytes.len().min(after.bytes.len() - 20);
        assert_eq!(before.bytes[14..inner], after.bytes[34..inner + 20], "the datagram as it came");
    }

    // A host: a tunnel of who is no router.
    let capturing = Capturing::start(&site, "h1", &["--reason", "drop_stranger", "--snap", "1600"]);
    send_until_counted(&site, "h1", "drop_stranger", &segment(pkt().ipv4("10.0.2.2", "10.1.11.2"), 40_000));
    let (frames, _) = capturing.end();
    assert_eq!(comments(&frames, "drop_stranger").len(), PACKETS, "{frames:?}");
    for frame in &frames {
        assert_eq!((frame.len as usize, frame.bytes.len()), (14 + 20 + 20 + 20 + 300, 14 + 20 + 20 + 20 + 300));
    }
}

#[test]
fn whoever_is_killed_leaves_the_plain_program_behind() {
    require_root();
    let mut site = Site::up("captured", SiteOptions::default()).unwrap();
    for node in ["slr1", "h1"] {
        let mut capturing = Capturing::start(&site, node, &[]);
        capturing.signal(Signal::SIGKILL);
        capturing.child.wait().unwrap();
        eventually(GONE, "the plain program", || !is_on(&site, node).unwrap());
        // Somebody else can.
        Capturing::start(&site, node, &[]).end();
    }
    // A daemon that starts puts the plain program on, and whoever captured is told.
    let mut capturing = Capturing::start(&site, "slr1", &[]).child;
    site.router().unwrap().kill().unwrap();
    site.start_router().unwrap();
    assert!(!is_on(&site, "slr1").unwrap(), "a daemon that starts puts the plain program on");
    let mut status = None;
    eventually(GONE, "the command's end", || {
        status = capturing.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(1));
}
