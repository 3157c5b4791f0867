//! What is dropped of a client is found by its address alone, with one command: for each reason to drop of a router and of a host, a
//! client's packets that draw it, or why none of a client's does. A reason that is new is in neither table until somebody decides.

mod host;
mod router;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use slr_testkit::eventually;
use slr_testkit::packet::Packet;
use xtask::captures::{is_on, program};
use xtask::raw::RawSender;
use xtask::site::Site;

const SOON: Duration = Duration::from_secs(20);
/// Of each packet.
const TIMES: usize = 3;
const CLIENT: &str = "10.0.102.9";
const CLIENT6: &str = "fd00:0:102::9";

/// Packets that are dropped for a reason.
struct Drawn {
    reason: &'static str,
    /// By whose address they are found.
    client: &'static str,
    /// Where they come from. What an honest router between would not forward comes from the last one.
    from: &'static str,
    /// And are dropped.
    at: &'static str,
    /// What has to come before, and may be dropped for the same reason.
    first: Vec<Vec<u8>>,
    datagrams: Vec<Vec<u8>>,
}

impl Drawn {
    fn by(reason: &'static str, packet: &Packet) -> Self {
        let datagrams = vec![packet.build(); TIMES];
        Self { reason, client: CLIENT, from: "c2", at: "slr1", first: Vec::new(), datagrams }
    }

    fn of(self, client: &'static str) -> Self {
        Self { client, ..self }
    }

    fn from(self, from: &'static str) -> Self {
        Self { from, ..self }
    }

    fn at(self, at: &'static str) -> Self {
        Self { at, ..self }
    }

    fn after(self, first: Vec<Vec<u8>>) -> Self {
        Self { first, ..self }
    }

    /// Sends them, and waits until they are dropped.
    fn draw(&self, site: &Site) {
        let before = site.reason(self.at, self.reason).unwrap();
        let send = || {
            let sender = RawSender::open().unwrap();
            self.first.iter().chain(&self.datagrams).for_each(|datagram| sender.send(datagram).expect(self.reason));
        };
        site.lab().with_netns(self.from, send).unwrap();
        let dropped = || site.reason(self.at, self.reason).unwrap() - before;
        eventually(SOON, self.reason, || dropped() >= self.datagrams.len() as u64);
    }
}

/// Each reason is drawn or left out.
fn assert_all_are_placed<'a>(
    drops: impl Iterator<Item = &'a str>,
    drawn: impl Iterator<Item = &'a Drawn>,
    left_out: &'a [(&str, &str)],
) {
    let drops: BTreeSet<&str> = drops.collect();
    let drawn: BTreeSet<&str> = drawn.map(|drawn| drawn.reason).collect();
    let left_out: BTreeSet<&str> = left_out.iter().map(|(reason, _)| *reason).collect();
    assert!(drawn.is_disjoint(&left_out), "drawn and left out: {drawn:?} {left_out:?}");
    let placed: BTreeSet<&str> = drawn.union(&left_out).copied().collect();
    assert_eq!(drops, placed, "each drop has a packet that draws it, or a reason why no client's does");
}

fn start(site: &Site, at: &str, client: &str) -> Child {
    let words = ["capture", "--client", client, "--dropped", "--text"];
    let mut command = site.command(at, program(at), &words).unwrap();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually(SOON, &format!("a capture at {at}"), || is_on(site, at).unwrap());
    child
}

/// What a capture has told, by reason: each packet with its lines.
fn end(child: Child) -> BTreeMap<String, Vec<String>> {
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    let (said, problems) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{problems}");
    let mut packets: Vec<String> = Vec::new();
    for line in said.lines() {
        match packets.last_mut() {
            Some(packet) if line.starts_with(' ') => *packet += &format!("\n{line}"),
            _ => packets.push(line.to_owned()),
        }
    }
    let mut by_reason = BTreeMap::<String, Vec<String>>::new();
    for packet in packets {
        let reason = packet.lines().nth(1).and_then(|line| line.trim().split(':').next()).unwrap_or_default();
        by_reason.entry(reason.to_owned()).or_default().push(packet);
    }
    by_reason
}

/// A capture for each client at each node, by its address alone, while its packets are dropped; another for what needs more before it.
fn assert_all_are_found(site: &Site, drawn: &[Drawn]) {
    let key = |drawn: &Drawn| (!drawn.first.is_empty(), drawn.at, drawn.client);
    let captures: BTreeSet<_> = drawn.iter().map(key).collect();
    for capture in captures {
        let (needs_more, at, client) = capture;
        let child = start(site, at, client);
        let here: Vec<_> = drawn.iter().filter(|drawn| key(drawn) == capture).collect();
        here.iter().for_each(|drawn| drawn.draw(site));
        let found = end(child);
        for packet in found.values().flatten() {
            assert!(packet.lines().next().unwrap().contains(client), "not {client}'s: {packet}");
            assert!(packet.contains("\n    what helps: "), "{packet}");
        }
        found.values().for_each(|packets| println!("{}", packets[0]));
        let mut expected = BTreeMap::<&str, usize>::new();
        here.iter().for_each(|drawn| *expected.entry(drawn.reason).or_default() += drawn.datagrams.len());
        let found: BTreeMap<&str, usize> =
            found.iter().map(|(reason, packets)| (reason.as_str(), packets.len())).collect();
        if needs_more {
            // Of a flood, as many as the capture's rate lets through.
            let is_found = |reason: &&str| found.contains_key(reason);
            assert!(expected.keys().all(is_found), "of {client} at {at}: {found:?}, not {expected:?}");
        } else {
            assert_eq!(found, expected, "all that was dropped of {client} at {at}, and nothing else");
        }
    }
}
