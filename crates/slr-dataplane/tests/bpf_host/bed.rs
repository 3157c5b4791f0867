//! A loaded host program with a small site around it, run one packet at a time.

use std::cell::RefCell;

use slr_dataplane::host::{Counter, Host, HostDesired, HostOptions, XdpVerdict};
use slr_dataplane::reason::{HostReason, Verdict};
use slr_testkit::packet::{Packet, pkt};

pub const OUR_MAC: &str = "02:00:00:00:00:aa";
pub const GATEWAY_MAC: &str = "02:00:00:00:00:01";

/// This host, a router's source, two other hosts of the site, somebody else.
pub const US4: &str = "10.1.11.2";
pub const US6: &str = "fd00:1:11::2";
pub const ROUTER4: &str = "10.1.255.7";
pub const ROUTER6: &str = "fd00:1:ff::7";
pub const OTHER4: &str = "10.1.12.2";
pub const OTHER6: &str = "fd00:1:12::2";
pub const THIRD4: &str = "10.1.13.2";
pub const THIRD6: &str = "fd00:1:13::2";
pub const STRANGER4: &str = "10.8.0.5";
pub const STRANGER6: &str = "fd00:8::5";

/// A client and its virtual addresses; an address that is served elsewhere.
pub const C4: &str = "203.0.113.7";
pub const C6: &str = "2001:db8:c::7";
pub const V4: &str = "192.0.2.10";
pub const V6: &str = "2001:db8:100::10";
pub const ELSEWHERE4: &str = "198.51.100.1";
pub const ELSEWHERE6: &str = "2001:db8:eee::1";

pub const MSS_V4: u16 = 1340;
pub const MSS_V6: u16 = 1320;

pub fn desired() -> HostDesired {
    HostDesired {
        tunnel_v4: Some(US4.parse().unwrap()),
        tunnel_v6: Some(US6.parse().unwrap()),
        routers: ["10.1.255.0/24", "fd00:1:ff::/64"].map(|net| net.parse().unwrap()).into(),
        site_hosts: [OTHER4, OTHER6, THIRD4, THIRD6].map(|host| host.parse().unwrap()).into(),
        subnets: ["192.0.2.0/24", "2001:db8:100::/48"].map(|net| net.parse().unwrap()).into(),
        mss_v4: Some(MSS_V4),
        mss_v6: Some(MSS_V6),
        ..HostDesired::default()
    }
}

pub struct Bed {
    pub host: Host,
    counters: RefCell<Vec<(HostReason, Counter)>>,
}

impl Bed {
    pub fn new() -> Self {
        Self::with(&desired())
    }

    pub fn with(desired: &HostDesired) -> Self {
        slr_testkit::require_root();
        let (mut host, _) = Host::load(&HostOptions::default()).expect("the programs load");
        host.apply(desired).expect("the desired state fits");
        let counters = RefCell::new(host.counters().expect("counters can be read"));
        Self { host, counters }
    }

    /// Runs one packet. Exactly one reason counts exactly one packet, and the verdict is that reason's.
    pub fn send(&self, frame: &[u8]) -> (HostReason, Vec<u8>) {
        let run = self.host.test_run(frame).expect("the program runs");
        let grown = self.grown();
        let [(reason, 1)] = grown[..] else {
            panic!("one packet, one reason; counted were {grown:?} for {frame:02x?}, {:?}", run.verdict)
        };
        let expected = match reason.verdict() {
            Verdict::Drop => XdpVerdict::Drop,
            Verdict::Pass => XdpVerdict::Pass,
            Verdict::Reply | Verdict::Forward => XdpVerdict::Tx,
        };
        assert_eq!(run.verdict, expected, "{reason:?} for {frame:02x?}");
        assert_ne!(reason, HostReason::Unset);
        if reason.name().starts_with("pass_") {
            assert_eq!(run.packet, frame, "{reason:?}: what is not ours is untouched");
        }
        (reason, run.packet)
    }

    /// Reasons that counted since last asked.
    pub fn grown(&self) -> Vec<(HostReason, u64)> {
        let after = self.host.counters().expect("counters can be read");
        let before = self.counters.replace(after.clone());
        let pairs = after.iter().zip(before.iter()).filter(|((_, new), (_, old))| new.packets != old.packets);
        pairs.map(|((reason, new), (_, old))| (*reason, new.packets - old.packets)).collect()
    }
}

/// A frame to this host.
pub fn frame() -> Packet {
    pkt().eth(OUR_MAC, GATEWAY_MAC)
}

/// A frame that left this host, as a relay or an answer.
pub fn returned() -> Packet {
    pkt().eth(GATEWAY_MAC, OUR_MAC)
}

/// An IP header of the addresses' family.
pub fn ip(packet: Packet, source: &str, destination: &str) -> Packet {
    packet.ip(source.parse().unwrap(), destination.parse().unwrap())
}
