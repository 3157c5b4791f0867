//! A flood of TCP segments of connections that do not exist: an ACK each, from a random address and port of the client's own
//! prefixes, at a stated rate, for a stated time. It is sent from a node of a lab, so it cannot leave that lab.

use std::net::{IpAddr, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use slr_testkit::lab::Lab;
use slr_testkit::packet::{ACK, pkt};
use slr_testkit::seed::Rng;

use crate::raw::RawSender;

/// No lab forwards as many, on any machine so far.
const PER_S_MAX: u32 = 50_000;
/// Longer than any drill. A flood that nobody stops ends itself.
const LASTS_MAX: Duration = Duration::from_secs(300);
/// From one burst to the next: a wire's pace is finer, a sleep's is not.
const PACE: Duration = Duration::from_millis(1);
/// Segments at once, when the flood was late: half of what a veth pair queues, so that the queue is not what refuses them.
const BURST_MAX: u64 = 128;
/// Ports from here on, as clients choose them.
const PORT_MIN: u16 = 1024;

/// Which segments, how many and for how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where from: a prefix of each family that `to` has.
    pub from: Vec<IpNet>,
    /// Where to, in turns.
    pub to: Vec<SocketAddr>,
    /// Segments a second.
    pub per_s: u32,
    /// For so long.
    pub lasts: Duration,
    /// The same seed, the same segments.
    pub seed: u64,
}

/// What has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Segments.
    pub segments: u64,
    /// Their bytes, from the IP header on.
    pub bytes: u64,
    /// Further ones that the kernel did not take.
    pub refused: u64,
}

/// Sends it all from a node of a lab.
pub fn run(lab: &Lab, node: &str, plan: &Plan) -> Result<Sent> {
    let mut segments = Segments::new(plan)?;
    lab.with_netns(node, || {
        let sender = RawSender::open()?;
        let (begun, mut sent) = (Instant::now(), Sent::default());
        while begun.elapsed() < plan.lasts {
            let late = due(begun.elapsed(), plan.per_s).saturating_sub(sent.segments + sent.refused);
            for _ in 0..late.min(BURST_MAX) {
                let segment = segments.next();
                match sender.send(&segment) {
                    Ok(()) => (sent.segments, sent.bytes) = (sent.segments + 1, sent.bytes + segment.len() as u64),
                    Err(_) => sent.refused += 1,
                }
            }
            sleep(PACE);
        }
        Ok(sent)
    })?
}

/// How many have to have left by then. Who was late catches up: the rate is that of the whole flood.
fn due(elapsed: Duration, per_s: u32) -> u64 {
    u64::try_from(elapsed.as_micros() * u128::from(per_s) / 1_000_000).unwrap_or(u64::MAX)
}

/// The segments of a plan, one after the other.
struct Segments {
    ways: Vec<(IpNet, SocketAddr)>,
    turn: usize,
    rng: Rng,
}

impl Segments {
    fn new(plan: &Plan) -> Result<Self> {
        ensure!(plan.per_s <= PER_S_MAX, "{} segments a second are more than {PER_S_MAX}", plan.per_s);
        ensure!(plan.lasts <= LASTS_MAX, "{:?} is longer than {LASTS_MAX:?}", plan.lasts);
        ensure!(!plan.to.is_empty(), "a flood needs a target");
        let way = |to: &SocketAddr| {
            let from = plan.from.iter().find(|from| from.addr().is_ipv4() == to.is_ipv4());
            Ok((*from.with_context(|| format!("no prefix of {to}'s family to send from"))?, *to))
        };
        let ways = plan.to.iter().map(way).collect::<Result<_>>()?;
        Ok(Self { ways, turn: 0, rng: Rng::new(plan.seed) })
    }

    fn next(&mut self) -> Vec<u8> {
        let (from, to) = self.ways[self.turn];
        self.turn = (self.turn + 1) % self.ways.len();
        let source = self.address_in(from);
        let bits = self.rng.next_u64().to_be_bytes();
        let [seq, ack] = [&bits[..4], &bits[4..]].map(|word| u32::from_be_bytes(word.try_into().expect("four bytes")));
        let ports = u64::from(u16::MAX - PORT_MIN) + 1;
        let port = PORT_MIN + u16::try_from(self.rng.below(ports)).expect("below 65,536");
        pkt().ip(source, to.ip()).tcp(port, to.port()).flags(ACK).seq(seq).ack(ack).build()
    }

    fn address_in(&mut self, prefix: IpNet) -> IpAddr {
        let random = u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64());
        match prefix {
            IpNet::V4(net) => {
                let host_bits = u32::from(net.hostmask());
                (u32::from(net.network()) | random as u32 & host_bits).to_be_bytes().into()
            }
            IpNet::V6(net) => (u128::from(net.network()) | random & u128::from(net.hostmask())).to_be_bytes().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slr_testkit::packet::verify_checksums_l3;
    use std::collections::BTreeSet;

    fn plan() -> Plan {
        Plan {
            from: vec!["10.0.102.0/24".parse().unwrap(), "fd00:0:102::/120".parse().unwrap()],
            to: vec!["192.0.2.10:80".parse().unwrap(), "[2001:db8:100::10]:80".parse().unwrap()],
            per_s: 1_000,
            lasts: Duration::from_secs(1),
            seed: 7,
        }
    }

    #[test]
    fn segments_are_of_the_prefixes_differ_and_repeat_with_their_seed() {
        let all = || {
            let mut segments = Segments::new(&plan()).unwrap();
            (0..2_000).map(|_| segments.next()).collect::<Vec<_>>()
        };
        let first = all();
        assert_eq!(first, all());
        let mut tuples = BTreeSet::new();
        for (n, segment) in first.iter().enumerate() {
            verify_checksums_l3(segment).unwrap();
            let (source, ports) = match n % 2 {
                0 => (&segment[12..16], &segment[20..24]),
                _ => (&segment[8..24], &segment[40..44]),
            };
            let own: &[u8] = if n % 2 == 0 { &[10, 0, 102] } else { &[0xfd, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0] };
            assert!(source.starts_with(own), "{source:?}");
            assert!(u16::from_be_bytes([ports[0], ports[1]]) >= PORT_MIN);
            assert_eq!(ports[2..], [0, 80]);
            tuples.insert((source.to_vec(), ports.to_vec()));
        }
        assert!(tuples.len() > 1_990, "random tuples hardly repeat: {}", tuples.len());
    }

    #[test]
    fn what_is_due_is_the_rate_times_the_time() {
        assert_eq!(due(Duration::ZERO, 20_000), 0);
        assert_eq!(due(Duration::from_millis(1), 20_000), 20);
        assert_eq!(due(Duration::from_micros(149), 20_000), 2);
        assert_eq!(due(LASTS_MAX, PER_S_MAX), 15_000_000);
    }

    #[test]
    fn a_plan_out_of_bounds_is_refused() {
        let cases = [
            (Plan { per_s: PER_S_MAX + 1, ..plan() }, "more than"),
            (Plan { lasts: LASTS_MAX + PACE, ..plan() }, "longer than"),
            (Plan { to: Vec::new(), ..plan() }, "needs a target"),
            (Plan { from: vec!["10.0.102.0/24".parse().unwrap()], ..plan() }, "2001:db8:100::10"),
        ];
        for (plan, words) in cases {
            let error = Segments::new(&plan).err().unwrap().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
