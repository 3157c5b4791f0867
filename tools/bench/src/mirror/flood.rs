//! New flows at a rate: live frames into the first router's interface, each flow's SYN and, as much later as a client's is, the ACK
//! that continues it.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use slr_dataplane::bench::{Load, load_flows};
use slr_dataplane::router::XdpMode;
use slr_dataplane::xdp::{self, Attachment};
use slr_model::{FlowKey, Protocol};
use slr_testkit::netns::NetNs;
use slr_testkit::packet::{ACK, SYN, pkt};

use super::pair::{FAR_MAC, GENERATOR, WAN_MAC};

/// Frames are sent in bursts, so often.
const TICK: Duration = Duration::from_millis(2);
/// A burst makes up for a late one up to this: what a router's queue would hold.
const LATE_MAX: Duration = Duration::from_millis(20);
/// From SYN to ACK: a short round trip, and longer than a first packet has a second chance.
const ANSWER_AFTER: Duration = Duration::from_millis(30);
/// Each flow that speaks does so as often as the daemon tells of those.
const SPEAK_EVERY: Duration = Duration::from_secs(10);
const SERVER_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xaa, 0, 0, 0, 0, 9);
const CLIENT_V6: u128 = 0x2001_0db8_000c_0000_0000_0000_0000_0000;
/// The generator's (`bpf/load.bpf.c`): clients, and their flows.
const FIRST_CLIENT: u32 = 0x6440_0000;
const FLOWS_PER_CLIENT: u32 = 64;
const FIRST_PORT: u16 = 32_768;
const ISN: u32 = 1;

/// What is sent in a second.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    new_per_s: u32,
}

impl Rates {
    /// So many new flows.
    pub fn new(new_per_s: u32) -> Self {
        Self { new_per_s }
    }
}

/// What a rate comes to, whole flows at a time.
#[derive(Default)]
struct Owed(f64);

impl Owed {
    fn take(&mut self, per_s: f64, time: Duration) -> u32 {
        self.0 += per_s * time.as_secs_f64();
        let whole = self.0 as u32;
        self.0 -= f64::from(whole);
        whole
    }
}

/// The generator.
pub struct Flood {
    ns: NetNs,
    load: Load,
    _attached: [Attachment; 2],
    ifindex: u32,
    eth: [u8; 14],
    packet: Vec<u8>,
    is_v6: bool,
    /// Flows that were begun; the first ones were answered, too.
    begun: u32,
    answered: u32,
    /// When flows were begun, up to which number.
    waiting: VecDeque<(Instant, u32)>,
    /// The first flows, which speak all the time.
    speaking: u32,
    spoke: u32,
}

/// What a run has sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Flows that were answered, and are pinned by now.
    pub flows: u32,
    /// From the first frame to the last.
    pub time: Duration,
}

impl Flood {
    /// From this namespace.
    pub fn new(ns: &NetNs, is_v6: bool) -> Result<Self> {
        let load = Load::new()?;
        let (attached, ifindex) = ns.with(|| {
            let sink = xdp::attach(load.sink(), GENERATOR, XdpMode::Native, None, &[])?;
            // Where no packet ever is, so that bursts cost what their frames do.
            let idle = xdp::attach(load.flow_generator(), "lo", XdpMode::Generic, None, &[])?;
            anyhow::Ok(([sink, idle], if_nametoindex(GENERATOR).context("the cable was just made")?))
        })?;
        let frame = pkt().eth(WAN_MAC, FAR_MAC);
        let frame = if is_v6 {
            frame.ipv6(Ipv6Addr::from_bits(CLIENT_V6), SERVER_V6)
        } else {
            frame.ipv4(Ipv4Addr::from_bits(FIRST_CLIENT), SERVER_V4).df()
        };
        let packet = frame.tcp(FIRST_PORT, 80).flags(ACK).seq(ISN + 1).ack(1).payload_len(10).build();
        let eth = packet[..14].try_into().expect("a frame is longer");
        let (begun, answered, waiting, speaking, spoke) = Default::default();
        let ns = ns.clone();
        Ok(Self {
            ns,
            load,
            _attached: attached,
            ifindex,
            eth,
            packet,
            is_v6,
            begun,
            answered,
            waiting,
            speaking,
            spoke,
        })
    }

    /// From now on the first `flows` speak all the time.
    pub fn speak(&mut self, flows: u32) {
        self.speaking = flows.min(self.answered);
    }

    /// Flows that are pinned by now: all below.
    pub fn answered(&self) -> u32 {
        self.answered
    }

    /// A flow by its number.
    pub fn flow(is_v6: bool, number: u32) -> FlowKey {
        let word = FIRST_CLIENT + number / FLOWS_PER_CLIENT;
        let port = FIRST_PORT + (number % FLOWS_PER_CLIENT) as u16;
        let (client, server): (IpAddr, IpAddr) = if is_v6 {
            (Ipv6Addr::from_bits(CLIENT_V6 | u128::from(word)).into(), SERVER_V6.into())
        } else {
            (Ipv4Addr::from_bits(word).into(), SERVER_V4.into())
        };
        FlowKey::new(SocketAddr::new(client, port), SocketAddr::new(server, 80), Protocol::Tcp)
            .expect("both of a family")
    }

    /// Whether flows are of IPv6.
    pub fn is_v6(&self) -> bool {
        self.is_v6
    }

    /// Sends for so long; each time that flows were pinned, `pinned` hears up to which number, and when.
    pub fn run(&mut self, rates: Rates, time: Duration, pinned: impl FnMut(u32, Instant) + Send) -> Result<Sent> {
        let ns = self.ns.clone();
        ns.with(|| self.send_for(rates, time, pinned))
    }

    fn send_for(&mut self, rates: Rates, time: Duration, mut pinned: impl FnMut(u32, Instant)) -> Result<Sent> {
        let (start, before) = (Instant::now(), self.answered);
        let (mut new_owed, mut old_owed) = (Owed::default(), Owed::default());
        let (mut done, mut turn) = (Duration::ZERO, start);
        // What was begun is answered before the end.
        while done < time || !self.waiting.is_empty() {
            let passed = turn.elapsed();
            turn = Instant::now();
            let step = passed.min(LATE_MAX).min(time - done);
            done = (done + passed).min(time);
            let new = new_owed.take(rates.new_per_s.into(), step);
            if new > 0 {
                self.send(SYN, ISN, self.begun, new)?;
                self.begun += new;
                self.waiting.push_back((Instant::now() + ANSWER_AFTER, self.begun));
            }
            let until = self.answered;
            while let Some((_, number)) = self.waiting.front().copied().filter(|(at, _)| *at <= turn) {
                self.waiting.pop_front();
                self.send(ACK, ISN + 1, self.answered, number - self.answered)?;
                self.answered = number;
            }
            if self.answered > until {
                pinned(self.answered, Instant::now());
            }
            self.let_speak(old_owed.take(f64::from(self.speaking) / SPEAK_EVERY.as_secs_f64(), step))?;
            std::thread::sleep(TICK.saturating_sub(turn.elapsed()));
        }
        Ok(Sent { flows: self.answered - before, time: start.elapsed() })
    }

    fn let_speak(&mut self, flows: u32) -> Result<()> {
        let mut left = flows.min(self.speaking);
        while left > 0 {
            let now = left.min(self.speaking - self.spoke);
            self.send(ACK, ISN + 2, self.spoke, now)?;
            self.spoke = (self.spoke + now) % self.speaking;
            left -= now;
        }
        Ok(())
    }

    /// One frame of each flow.
    fn send(&self, tcp_flags: u8, seq: u32, first: u32, flows: u32) -> Result<()> {
        if flows == 0 {
            return Ok(());
        }
        let settings =
            load_flows { eth: self.eth, tcp_flags, seq, ifindex: self.ifindex, next: first, ..load_flows::default() };
        self.load.send_flows(&settings, &self.packet, flows).context("live frames")
    }
}
