//! What the programs know before the first shot: hosts, subnets, and flows established by their own packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use slr_dataplane::abi::{flow_key_v4, flow_key_v6};
use slr_dataplane::bench::{Fillers, Yardsticks};
use slr_dataplane::capture::{Capture, Filter};
use slr_dataplane::host::{Host as Server, HostDesired, HostOptions};
use slr_dataplane::router::{Config, Desired, Host, Link, Route, Router, RouterOptions, Subnet, XdpVerdict};
use slr_model::{HostState, NodeName, Weight};

use super::adverts;
use super::case::Program;
use super::packets::{GATEWAY_MAC, Ports, ROUTER_MAC, Service};

/// IPv4 clients of hosts with IPv4 tunnels.
pub const V4_IN_V4: Service = Service::V4(Ipv4Addr::new(192, 0, 2, 9));
/// IPv4 clients of hosts with IPv6 tunnels.
pub const V4_IN_V6: Service = Service::V4(Ipv4Addr::new(198, 51, 100, 9));
/// IPv6 clients of hosts with IPv6 tunnels.
pub const V6_IN_V6: Service = Service::V6(Ipv6Addr::new(0x2001, 0xdb8, 6, 0, 0, 0, 0, 9));
/// IPv6 clients of hosts with IPv4 tunnels.
pub const V6_IN_V4: Service = Service::V6(Ipv6Addr::new(0x2001, 0xdb8, 4, 0, 0, 0, 0, 9));
/// Served by the host that is measured, but no socket is there.
pub const V4_NO_SOCKET: Service = Service::V4(Ipv4Addr::new(192, 0, 2, 10));
/// The same, IPv6.
pub const V6_NO_SOCKET: Service = Service::V6(Ipv6Addr::new(0x2001, 0xdb8, 6, 0, 0, 0, 0, 10));
/// In no virtual subnet.
pub const ELSEWHERE_V4: Service = Service::V4(Ipv4Addr::new(203, 0, 113, 9));
/// In no virtual subnet.
pub const ELSEWHERE_V6: Service = Service::V6(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9));

/// The programs' flow tables: twice the cold flows fit, as in production, where they are not full.
const FLOWS_PER_FAMILY: u32 = 1 << 20;

/// So many places in memory: a filler takes 64 bytes or more, so these are a page and more.
const FILLERS: u32 = 64;

/// Tunnel addresses: of a router, of the host that is measured, and of the next host of a chain.
pub const TUNNEL_V4: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(10, 1, 255, 7)),
    IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2)),
];
/// The same, IPv6.
pub const TUNNEL_V6: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 7)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 2)),
];

/// The programs, loaded and filled.
pub struct Scene {
    /// The candidate.
    pub router: Router,
    /// Another instance of it, that knows no flows.
    pub idle_router: Router,
    /// The other candidate.
    pub host: Server,
    /// The programs that capture, over these two's tables.
    pub captures: Captures,
    /// What it is measured against.
    pub yardsticks: Yardsticks,
    _fillers: [Fillers; 2],
}

impl Scene {
    /// Load, configure, establish the flows. `place`: which of many places in memory the programs are put in.
    pub fn new(hosts: u16, flows: u32, place: u32) -> Result<Self> {
        let mut scene = Self::load(hosts, FLOWS_PER_FAMILY, place)?;
        for service in [V4_IN_V4, V6_IN_V6] {
            scene.establish(service, flows, |packet, flow| service.set_flow(packet, flow))?;
        }
        for service in [V4_IN_V6, V6_IN_V4] {
            scene.establish(service, 1, |_, _| ())?;
        }
        Ok(scene)
    }

    /// Programs with small tables and no flows yet.
    pub fn small() -> Result<Self> {
        Self::load(16, 1 << 16, 0)
    }

    fn load(hosts: u16, flows_per_family: u32, place: u32) -> Result<Self> {
        // Odd factors: all numbers of fillers come, in either place, and their pairs are spread.
        let fillers = |factor: u32| Fillers::load(place.wrapping_mul(factor) % FILLERS);
        let before_all = fillers(37)?;
        let options = RouterOptions { flows_per_family, ..RouterOptions::default() };
        let (mut router, _) = Router::load(&options)?;
        let (mut idle_router, _) = Router::load(&options)?;
        for router in [&mut router, &mut idle_router] {
            router.apply(&desired(hosts))?;
            adverts::accept(router)?;
        }
        let (mut host, _) = Server::load(&HostOptions::default())?;
        host.apply(&served())?;
        let before_captures = fillers(29)?;
        let captures = Captures::over(&router, &host)?;
        let yardsticks = Yardsticks::load(flows_per_family)?;
        Ok(Self { router, idle_router, host, captures, yardsticks, _fillers: [before_all, before_captures] })
    }

    /// Flows of the first client, one a port.
    pub fn establish_ports(&mut self, service: Service, ports: Ports) -> Result<()> {
        self.establish(service, ports.count.into(), |packet, flow| service.set_port(packet, ports.nth(flow)))
    }

    /// Flows 0 to `count` of a service, each by its SYN and ACK; the floor learns the same outer headers in the same order.
    fn establish(&mut self, service: Service, count: u32, set_flow: impl Fn(&mut [u8], u32)) -> Result<()> {
        let (mut syn, mut ack) = (service.syn(0), service.ack(0));
        for flow in 0..count {
            set_flow(&mut syn, flow);
            set_flow(&mut ack, flow);
            for packet in [&syn, &ack] {
                let run = self.router.test_run(packet)?;
                ensure!(
                    run.verdict == XdpVerdict::Tx,
                    "flow {flow} of {service:?} is not forwarded but {:?}",
                    run.verdict
                );
                self.teach_floor(service, packet, &run.packet)?;
            }
        }
        Ok(())
    }

    /// The floor shall write what the router wrote for this packet. It has no program for other tunnels than these two.
    fn teach_floor(&self, service: Service, packet: &[u8], forwarded: &[u8]) -> Result<()> {
        fn word<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
            bytes[at..at + N].try_into().expect("packets are longer")
        }
        let key_port = |at| u16::from_ne_bytes(word(packet, at));
        if service == V4_IN_V4 {
            let key = flow_key_v4 {
                client: u32::from_ne_bytes(word(packet, 26)),
                vaddr: u32::from_ne_bytes(word(packet, 30)),
                client_port: key_port(34),
                vport: key_port(36),
                proto: 6,
            };
            self.yardsticks.add_v4(&key, word(forwarded, 26), word(forwarded, 30))?;
        } else if service == V6_IN_V6 {
            let words = |at| std::array::from_fn(|i| u32::from_ne_bytes(word(packet, at + 4 * i)));
            let key = flow_key_v6 {
                client: words(22),
                vaddr: words(38),
                client_port: key_port(54),
                vport: key_port(56),
                proto: 6,
            };
            self.yardsticks.add_v6(&key, word(forwarded, 14), word(forwarded, 22), word(forwarded, 38))?;
        }
        Ok(())
    }

    /// The reason that a program gives for a packet: the one whose counter moves.
    pub fn reason(&self, program: Program, packet: &[u8]) -> Result<&'static str> {
        let before = self.counted(program)?;
        match program {
            Program::Host => self.host.test_run(packet)?,
            Program::CapturingHost => self.captures.host.test_run(packet)?,
            Program::CapturingTenth => self.captures.router_tenth.test_run(packet)?,
            Program::CapturingRouter => self.captures.router.test_run(packet)?,
            Program::IdleRouter => self.idle_router.test_run(packet)?,
            _ => self.router.test_run(packet)?,
        };
        let after = self.counted(program)?;
        let moved = before.iter().zip(&after).find(|((_, was), (_, is))| is > was);
        moved.map(|(_, (reason, _))| *reason).context("no reason was counted")
    }

    fn counted(&self, program: Program) -> Result<Vec<(&'static str, u64)>> {
        Ok(match program {
            Program::Host | Program::CapturingHost => {
                self.host.counters()?.iter().map(|(reason, c)| (reason.name(), c.packets)).collect()
            }
            Program::IdleRouter => {
                self.idle_router.reasons()?.iter().map(|(reason, c)| (reason.name(), c.packets)).collect()
            }
            _ => self.router.reasons()?.iter().map(|(reason, c)| (reason.name(), c.packets)).collect(),
        })
    }
}

/// One packet in a hundred at the rate and snap length that are usual, unless it says otherwise. Nobody reads: a full ring is the dearer case.
pub struct Captures {
    /// The router's.
    pub router: Capture,
    /// Another, of one packet in ten at any rate: what a captured packet costs.
    pub router_tenth: Capture,
    /// The host's.
    pub host: Capture,
}

impl Captures {
    fn over(router: &Router, host: &Server) -> Result<Self> {
        let captures = Self { router: router.capture()?, router_tenth: router.capture()?, host: host.capture()? };
        let usual = Filter::default().per_s;
        for (capture, share, per_s) in
            [(&captures.router, "1%", usual), (&captures.router_tenth, "10%", u32::MAX), (&captures.host, "1%", usual)]
        {
            let filter = Filter { share: share.parse().expect("a share"), per_s, ..Filter::default() };
            capture.set(&filter, Duration::from_secs(86_400))?;
        }
        Ok(captures)
    }
}

/// A host of the site: both tunnel families, a router prefix of each, two subnets.
fn served() -> HostDesired {
    let ([_, IpAddr::V4(tunnel_v4), next_v4], [_, IpAddr::V6(tunnel_v6), next_v6]) = (TUNNEL_V4, TUNNEL_V6) else {
        unreachable!("the constants are of these families");
    };
    HostDesired {
        tunnel_v4: Some(tunnel_v4),
        tunnel_v6: Some(tunnel_v6),
        routers: SOURCES.map(|prefix| prefix.parse().expect("a prefix")).to_vec(),
        site_hosts: vec![next_v4, next_v6],
        subnets: ["192.0.2.0/24", "2001:db8:6::/64"].map(|prefix| prefix.parse().expect("a prefix")).to_vec(),
        ..HostDesired::default()
    }
}

/// Where the router's outer source addresses come from.
const SOURCES: [&str; 2] = ["10.1.255.0/24", "2001:db8:ff::/64"];

/// `hosts` hosts of each tunnel family, and a subnet for each pair of families.
fn desired(hosts: u16) -> Desired {
    let link = Link {
        destination: GATEWAY_MAC.parse().expect("a MAC"),
        source: ROUTER_MAC.parse().expect("a MAC"),
        ifindex: 0,
        mtu: 1500,
    };
    let name = |family: u8, n: u16| -> NodeName { format!("host{family}-{n}").parse().expect("a name") };
    let address = |family: u8, n: u16| -> IpAddr {
        if family == 4 {
            Ipv4Addr::from_bits(Ipv4Addr::new(10, 1, 0, 0).to_bits() + u32::from(n)).into()
        } else {
            Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, n).into()
        }
    };
    let each = |family: u8| (1..=hosts).map(move |n| (family, n));
    let subnet = |prefix: &str, family: u8| Subnet {
        prefix: prefix.parse().expect("a prefix"),
        account: 1,
        listed_only: false,
        orphan: slr_model::OrphanPolicy::Ring,
        echo: Default::default(),
        classes: Vec::new(),
        routes: vec![Route::to(each(family).map(|(family, n)| (name(family, n), Weight::default())).collect())],
    };
    Desired {
        // Budgets far above what single shots reach: the paths behind a limit are not what is timed.
        config: Config {
            promote_per_s: 1_000_000_000,
            promote_burst: 1_000_000_000,
            icmp_per_s: 1_000_000_000,
            icmp_burst: 1_000_000_000,
            ..Config::default()
        },
        tunnel_addresses: vec!["10.1.254.1".parse().expect("an address")],
        sources: SOURCES.map(|prefix| prefix.parse().expect("a prefix")).to_vec(),
        hosts: each(4)
            .chain(each(6))
            .map(|(family, n)| Host {
                name: name(family, n),
                address: address(family, n),
                state: HostState::Active,
                link: Some(link),
            })
            .collect(),
        subnets: vec![
            subnet("192.0.2.0/24", 4),
            subnet("198.51.100.0/24", 6),
            subnet("2001:db8:4::/64", 4),
            subnet("2001:db8:6::/64", 6),
        ],
        ..Desired::default()
    }
}
