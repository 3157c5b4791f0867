//! What a sequence is made of: plans instead of bytes, from small pools, so that flows meet again and a failing sequence
//! shrinks to something readable. And the frame that a plan describes.

use slr_testkit::packet::{Packet, pkt};

use crate::common::site::*;

#[derive(Clone, Debug)]
pub enum Event {
    Packet(Plan),
    Noise(Vec<u8>),
    Change(Change),
}

#[derive(Clone, Debug)]
pub enum Change {
    Weights([u16; 3]),
    State(usize, u8),
    Remove(usize),
    Rename(usize),
    Unlink,
    Mtu(usize, u16),
    Seed(u64),
    AddSubnet(u8),
    RemoveSubnet(usize),
    Routing(usize, Routing),
    Restore,
}

/// A change of a subnet's routes; services, classes, prefixes and hosts are those of small pools.
#[derive(Clone, Copy, Debug)]
pub enum Routing {
    /// Serve only what is listed, or everything.
    ListedOnly(bool),
    /// A route to these hosts, a bit each, in place of the one that is there.
    Route {
        class: Option<usize>,
        service: Option<usize>,
        hosts: u8,
        mask: u8,
    },
    NoRoute {
        class: Option<usize>,
        service: Option<usize>,
    },
    /// A class with these prefixes, a bit each.
    Class {
        class: usize,
        clients: u8,
    },
    NoClass(usize),
    EchoForward,
}

pub const SERVICES: [&str; 4] = ["tcp/80", "tcp/81", "udp/53", "udp/80"];
pub const CLASSES: [&str; 3] = ["near", "wide", "third"];
pub const CLIENTS: [&str; 8] = [
    "198.51.100.7/32",
    "198.51.100.0/24",
    "198.0.0.0/8",
    "0.0.0.0/0",
    "2001:db8:c::7/128",
    "2001:db8:c::/48",
    "2001:db8::/32",
    "::/0",
];

#[derive(Clone, Debug)]
pub struct Plan {
    /// Sent to a group address of the link.
    pub to_group: bool,
    pub tags: Vec<u16>,
    pub tunnels: Vec<Tunnel>,
    pub v6: bool,
    pub client: usize,
    pub to: usize,
    pub tos: u8,
    /// IPv4: bytes of options; IPv6: kinds of extension headers.
    pub headers: Vec<u8>,
    pub df: bool,
    pub fragment: FragmentPlan,
    pub body: Body,
    pub payload: usize,
    pub padding: usize,
    pub damage: Vec<Damage>,
}

#[derive(Clone, Debug)]
pub struct Tunnel {
    pub v6: bool,
    pub from: usize,
    pub to: usize,
    pub tos: u8,
    pub in_fragment: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum FragmentPlan {
    Whole,
    First(u16),
    Later(u16),
}

#[derive(Clone, Debug)]
pub enum Body {
    Tcp {
        port: u16,
        vport: u16,
        flags: u8,
        seq: u32,
    },
    Udp {
        port: u16,
        vport: u16,
    },
    Echo(u16),
    /// To a tunnel address of ours, or to what stands in the plan.
    Keepalive {
        for_us: bool,
        port: u16,
        kind: u8,
        cut: usize,
    },
    ReplyError {
        kind: usize,
        udp: bool,
        port: u16,
        vport: u16,
        same_address: bool,
        quoted: usize,
    },
    TunnelError {
        kind: usize,
        host: usize,
        source: usize,
        len: u16,
        mtu: u16,
    },
    Icmp(u8),
    Protocol(u8),
}

#[derive(Clone, Debug)]
pub enum Damage {
    Byte(usize, u8),
    Cut(usize),
}

const CLIENTS4: [&str; 6] = [C4, "198.51.100.8", "203.0.113.77", "127.0.0.9", "0.0.0.0", "255.255.255.255"];
const CLIENTS6: [&str; 6] = [C6, "2001:db8:c::8", "2001:db8:d::77", "::1", "::", "ff02::1"];
const TO4: [&str; 10] = [ANY4, A4, V4, LISTED4, MIXED4, STRICT4, ECHO4, EMPTY4, FOREIGN4, "192.0.2.77"];
const TO6: [&str; 10] = [ANY6, A6, V6, LISTED6, MIXED6, STRICT6, ECHO6, EMPTY6, FOREIGN6, "2001:db8:2::77"];
const FROM4: [&str; 3] = [UPSTREAM4, "10.9.0.77", STRANGER4];
const FROM6: [&str; 3] = [UPSTREAM6, "fd00:9::77", STRANGER6];
const OUTER_TO4: [&str; 2] = [TUNNEL4, "10.1.254.2"];
const OUTER_TO6: [&str; 2] = [TUNNEL6, "fd00:1:fe::2"];
/// Of a registered prefix, and of others that differ in any part.
const OUR_SOURCES4: [&str; 4] = ["10.1.255.7", "10.1.255.200", "10.1.254.7", "10.2.255.7"];
const OUR_SOURCES6: [&str; 4] = ["fd00:1:ff::7", "fd00:1:ff::a:ffff", "fd00:1:fe::7", "fd00:2:ff::7"];
/// Of every well-behaved SYN.
pub const ISN: u32 = 0x1000;

fn ip(start: Packet, source: &str, destination: &str) -> Packet {
    start.ip(source.parse().expect("an address"), destination.parse().expect("an address"))
}

impl Plan {
    /// The frame that it describes.
    pub fn frame(&self) -> Vec<u8> {
        let mut packet = pkt().eth(if self.to_group { "33:33:00:00:00:01" } else { OUR_MAC }, GATEWAY_MAC);
        for tpid in &self.tags {
            packet = packet.vlan(9).tpid(*tpid);
        }
        for tunnel in &self.tunnels {
            packet = tunnel.header(packet);
        }
        let mut frame = self.datagram(packet).build();
        frame.extend(vec![0xee; self.padding]);
        for damage in &self.damage {
            match damage {
                Damage::Byte(at, value) => {
                    let at = 14 + at % (frame.len() - 14);
                    frame[at] = *value;
                }
                Damage::Cut(at) => frame.truncate(*at),
            }
        }
        frame
    }

    fn client(&self) -> &'static str {
        if self.v6 { CLIENTS6[self.client] } else { CLIENTS4[self.client] }
    }

    fn to(&self) -> &'static str {
        match &self.body {
            // Where our outer source is.
            Body::TunnelError { source, .. } => {
                if self.v6 {
                    OUR_SOURCES6[*source]
                } else {
                    OUR_SOURCES4[*source]
                }
            }
            Body::Keepalive { for_us: true, .. } => {
                if self.v6 {
                    TUNNEL6
                } else {
                    TUNNEL4
                }
            }
            _ => {
                if self.v6 {
                    TO6[self.to]
                } else {
                    TO4[self.to]
                }
            }
        }
    }

    fn datagram(&self, packet: Packet) -> Packet {
        let mut packet = ip(packet, self.client(), self.to()).tos(self.tos);
        if self.v6 {
            packet = match self.fragment {
                FragmentPlan::Whole => packet,
                FragmentPlan::First(id) => packet.fragment_header(0, true, id.into()),
                FragmentPlan::Later(id) => packet.fragment_header(64, false, id.into()),
            };
            for kind in &self.headers {
                packet = match kind {
                    0 => packet.hop_by_hop(&[]),
                    1 => packet.routing(0, 1, &[0; 20]),
                    2 => packet.destination_options(&[5, 2, 0, 0]),
                    _ => packet.fragment_header(0, false, 1),
                };
            }
        } else {
            packet = match self.fragment {
                FragmentPlan::Whole => packet,
                FragmentPlan::First(id) => packet.id(id).fragment(0, true),
                FragmentPlan::Later(id) => packet.id(id).fragment(64, false),
            };
            packet = packet.options(&vec![1; self.headers.len() * 4]);
            packet = if self.df { packet.df() } else { packet };
        }
        self.body(packet)
    }

    fn body(&self, packet: Packet) -> Packet {
        match &self.body {
            Body::Tcp { port, vport, flags, seq } => {
                packet.tcp(*port, *vport).flags(*flags).seq(*seq).payload_len(self.payload)
            }
            Body::Udp { port, vport } => packet.udp(*port, *vport).payload_len(self.payload),
            Body::Keepalive { port, kind, cut, .. } => {
                let question = [&b"SLRK"[..], &[1, *kind, 0, 0], &[0x11; 16], &vec![0xee; self.payload]].concat();
                packet.udp(9000, *port).payload(&question[..question.len().saturating_sub(*cut)])
            }
            Body::Echo(id) => packet.echo_request(*id, 1).payload_len(self.payload),
            Body::Icmp(kind) => packet.icmp(*kind, 0, [0; 4]).payload_len(self.payload),
            Body::Protocol(number) => packet.next((*number).into()).payload_len(self.payload),
            Body::ReplyError { kind, udp, port, vport, same_address, quoted } => {
                let source = if *same_address { self.to() } else { TO_OTHER[usize::from(self.v6)] };
                let reply = ip(pkt(), source, self.client());
                let reply = if *udp { reply.udp(*vport, *port) } else { reply.tcp(*vport, *port) };
                let mut quote = reply.payload_len(self.payload).build();
                quote.truncate(*quoted + self.payload);
                self.error(packet, *kind, 1400, &quote)
            }
            Body::TunnelError { kind, host, len, mtu, .. } => {
                let (_, address, _) = HOSTS[*host];
                let v6 = address.contains(':');
                // A quote of the other family cannot be; the error then names the first host of its own.
                let address = if v6 == self.v6 {
                    address
                } else if self.v6 {
                    HOSTS[2].1
                } else {
                    HOSTS[0].1
                };
                let header = ip(pkt(), self.to(), address);
                let header = header.length(if self.v6 { len.saturating_sub(40) } else { *len });
                self.error(packet, *kind, *mtu, &header.next(4).payload_len(8).build())
            }
        }
    }

    fn error(&self, packet: Packet, kind: usize, mtu: u16, quote: &[u8]) -> Packet {
        let kinds = if self.v6 { [(2, 0), (1, 4), (3, 0), (4, 1)] } else { [(3, 4), (3, 3), (11, 0), (12, 0)] };
        let [high, low] = mtu.to_be_bytes();
        packet.icmp(kinds[kind].0, kinds[kind].1, [0, 0, high, low]).payload(quote)
    }
}

const TO_OTHER: [&str; 2] = ["192.0.2.200", "2001:db8:2::200"];

impl Tunnel {
    fn header(&self, packet: Packet) -> Packet {
        let (from, to) = if self.v6 { (FROM6, OUTER_TO6) } else { (FROM4, OUTER_TO4) };
        let packet = ip(packet, from[self.from], to[self.to]).tos(self.tos);
        match (self.in_fragment, self.v6) {
            (false, _) => packet,
            (true, false) => packet.id(3).fragment(0, true),
            (true, true) => packet.fragment_header(0, true, 3),
        }
    }
}
