//! `slr-router replay`: where did my packet go?
//!
//! Loads the real program without pinning or attaching it, fills its tables from configuration and hosts file, and runs
//! each packet of a capture through it in order. Flows are recorded as they would be in service, so a capture can be
//! followed from its first SYN on. What depends on time (rate limits, ages) runs on this machine's clock, not on the
//! capture's. Frames are numbered from 1, as Wireshark numbers them.

mod capture;
mod report;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use slr_dataplane::reason::{RouterReason, Verdict};
use slr_dataplane::router::{Counter, Link, Router, RouterOptions, XdpVerdict};
use slr_model::{MacAddr, NodeName};

use crate::config::Settings;
use crate::desired::desired;
use crate::fleet::{Fleet, Hop};
use crate::hosts::Host;
use capture::{Frame, Sink, Source};
use report::{Outcome, Report, Row};

/// What to replay, and into what.
#[derive(Debug, Args)]
pub struct Options {
    /// The router's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A hosts file in place of the one that the configuration names. A host without `mac` is sent to
    /// 02:53:4c:52:00:01; frames come from 02:53:4c:52:00:00.
    #[arg(long, value_name = "FILE")]
    hosts: Option<PathBuf>,
    /// The capture: pcap, Ethernet.
    #[arg(long = "in", value_name = "PCAP")]
    input: PathBuf,
    /// Where the packets go that would be sent: forwarded and answered ones, with their time stamps.
    #[arg(long = "out", value_name = "PCAP")]
    output: Option<PathBuf>,
    /// One JSON object per packet, in order: {"n", "verdict": "tx|redirect|pass|drop", "reason", "host"}. n counts from 1,
    /// as Wireshark does; host is null where nothing was tunnelled.
    #[arg(long)]
    json: bool,
    /// Largest datagram that the links to the hosts take, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 1500, value_parser = clap::value_parser!(u16).range(576..))]
    mtu: u16,
}

/// Stands for a host without `mac` in the hosts file, and for the router itself: locally administered addresses that no
/// device has.
pub const HOST_MAC: MacAddr = MacAddr([0x02, 0x53, 0x4c, 0x52, 0x00, 0x01]);
/// Source address of every frame that the replay sends.
pub const ROUTER_MAC: MacAddr = MacAddr([0x02, 0x53, 0x4c, 0x52, 0x00, 0x00]);

/// Ethernet's header: the kernel runs no program on less.
const FRAME_LEN_MIN: usize = 14;

/// Replays a capture.
pub fn run(options: &Options) -> Result<()> {
    let settings = Settings::load(&options.config)?;
    let hosts = settings.load_hosts(options.hosts.as_deref())?;
    let mut source = Source::open(&options.input)?;
    let mut sink = options.output.as_deref().map(|path| Sink::create(path, &source)).transpose()?;
    let mut trial = Trial::new(&settings, &hosts, options.mtu)?;
    let mut report = Report::new(options.json);
    while let Some(frame) = source.next_frame()? {
        let (outcome, packet) = trial.run(&frame.data).with_context(|| in_frame(&frame))?;
        if let (true, Some(sink)) = (outcome.is_sent(), &mut sink) {
            sink.write(&frame, packet)?;
        }
        report.add(&Row { n: frame.n, outcome, summary: &|| slr_capture::summary(&frame.data) })?;
    }
    if let Some(sink) = sink {
        sink.finish()?;
    }
    report.finish()?;
    if source.cut() > 0 {
        eprintln!(
            "slr-router: {} frames were cut by the capture's snap length, so the program saw them malformed; capture with \
             tcpdump --snapshot-length=0",
            source.cut()
        );
    }
    Ok(())
}

fn in_frame(frame: &Frame) -> String {
    format!("frame {} ({} bytes)", frame.n, frame.data.len())
}

/// The program under question.
struct Trial {
    router: Router,
    names: BTreeMap<IpAddr, NodeName>,
    counted: Vec<(RouterReason, Counter)>,
}

impl Trial {
    fn new(settings: &Settings, hosts: &[Host], mtu: u16) -> Result<Self> {
        let (mut router, _) = Router::load(&RouterOptions {
            pin_dir: None,
            flows_per_family: settings.dataplane.flows_per_family,
            new_flows_per_family: settings.dataplane.new_flows_per_family,
        })
        .context("cannot load the data plane; it needs root")?;
        let link = |hop: &Hop| Link { destination: hop.mac.unwrap_or(HOST_MAC), source: ROUTER_MAC, ifindex: 0, mtu };
        let mut fleet = Fleet::default();
        fleet.evaluate(settings, hosts, None, None, Instant::now(), 0.0);
        let hops = fleet.hops(settings, hosts);
        router.apply(&desired(settings, &hops, fleet.routes(), |hop| Some(link(hop))))?;
        let counted = router.reasons()?;
        let names = hosts.iter().map(|host| (host.address, host.name.clone())).collect();
        Ok(Self { router, names, counted })
    }

    /// Runs one frame; returns what became of it, and the frame afterwards.
    fn run(&mut self, frame: &[u8]) -> Result<(Outcome, Vec<u8>)> {
        if frame.len() < FRAME_LEN_MIN {
            // No Ethernet device delivers this and the kernel refuses to run it; the program's word for it is known.
            let reason = RouterReason::PassTruncated.name();
            return Ok((Outcome { verdict: "pass", reason, host: None }, frame.to_vec()));
        }
        let done = self.router.test_run(frame).with_context(|| {
            "the kernel does not run the program on a frame of this length; capture as the wire has it: \
             ethtool --offload DEV gro off gso off tso off"
        })?;
        let counted = self.router.reasons()?;
        let reason = single_increment(&self.counted, &counted)?;
        self.counted = counted;
        let verdict = match done.verdict {
            XdpVerdict::Tx => "tx",
            XdpVerdict::Redirect => "redirect",
            XdpVerdict::Pass => "pass",
            XdpVerdict::Drop => "drop",
            XdpVerdict::Aborted => bail!("the program failed on it ({}): a bug", reason.name()),
        };
        let host = match reason.verdict() {
            Verdict::Forward => outer_destination(&done.packet).and_then(|address| self.names.get(&address).cloned()),
            Verdict::Drop | Verdict::Pass | Verdict::Reply => None,
        };
        Ok((Outcome { verdict, reason: reason.name(), host }, done.packet))
    }
}

/// The one reason that counted one packet more: every packet has exactly one.
fn single_increment(before: &[(RouterReason, Counter)], after: &[(RouterReason, Counter)]) -> Result<RouterReason> {
    ensure!(before.len() == after.len(), "the list of reasons changed while the program ran: a bug");
    let grown =
        |(before, after): &(&(RouterReason, Counter), &(RouterReason, Counter))| after.1.packets > before.1.packets;
    let mut grown = before.iter().zip(after).filter(grown);
    match (grown.next(), grown.next()) {
        (Some((_, (reason, _))), None) => Ok(*reason),
        (None, _) => bail!("no reason was counted: a bug in the program"),
        (Some((_, (one, _))), Some((_, (other, _)))) => {
            bail!("two reasons were counted, {} and {}: a bug in the program", one.name(), other.name())
        }
    }
}

/// Destination of the outermost IP header. A forwarded frame has the hop's template in front: Ethernet without tags.
fn outer_destination(frame: &[u8]) -> Option<IpAddr> {
    match frame.get(12..14)? {
        [0x08, 0x00] => <[u8; 4]>::try_from(frame.get(30..34)?).ok().map(|octets| Ipv4Addr::from(octets).into()),
        [0x86, 0xdd] => <[u8; 16]>::try_from(frame.get(38..54)?).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slr_testkit::packet::{SYN, pkt};

    fn counters(counts: [u64; 2]) -> Vec<(RouterReason, Counter)> {
        let counter = |packets| Counter { packets, bytes: 0 };
        vec![(RouterReason::FwdNew, counter(counts[0])), (RouterReason::PassNotOurs, counter(counts[1]))]
    }

    #[test]
    fn the_reason_is_the_counter_that_moved() {
        let zero = counters([4, 4]);
        assert_eq!(single_increment(&zero, &counters([5, 4])).unwrap(), RouterReason::FwdNew);
        assert!(single_increment(&zero, &zero).unwrap_err().to_string().contains("no reason"));
        assert!(single_increment(&zero, &counters([5, 5])).unwrap_err().to_string().contains("two reasons"));
    }

    #[test]
    fn the_host_is_where_the_outer_header_leads() {
        let inner =
            |outer: slr_testkit::packet::Packet| outer.ipv4("10.0.1.2", "192.0.2.10").tcp(40000, 80).flags(SYN).build();
        let eth = || pkt().eth("02:00:00:00:00:01", "02:00:00:00:00:02");
        let v4 = inner(eth().ipv4("10.1.255.7", "10.1.11.2"));
        assert_eq!(outer_destination(&v4), Some("10.1.11.2".parse().unwrap()));
        let v6 = inner(eth().ipv6("fd00:1:ff::7", "fd00:1:11::2"));
        assert_eq!(outer_destination(&v6), Some("fd00:1:11::2".parse().unwrap()));
        assert_eq!(outer_destination(&v4[..33]), None);
        assert_eq!(outer_destination(&[0; 60]), None);
    }
}
