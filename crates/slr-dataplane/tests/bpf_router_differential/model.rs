//! The router as plain Rust: what ARCHITECTURE says a packet's walk is, with ordered maps for memory and vectors for
//! packets. Rings come from `slr_policy`, which has tests of its own; nothing else is shared with the program.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use slr_dataplane::reason::RouterReason as R;
use slr_dataplane::router::{Desired, Host, Route, Subnet};
use slr_model::{HopId, HostState, KeyMask, OrphanPolicy, VirtualSubnet, Weight};
use slr_policy::{Member, Placement, Ring};

use crate::parse::{self, Datagram, Fragment, IN_IP, TCP, UDP, Unreadable};
use crate::{emit, routing};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// A flow from the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    pub client: SocketAddr,
    pub to: SocketAddr,
    pub protocol: u8,
}

/// Where a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    host: IpAddr,
    /// Which of the hosts that this address was given to.
    life: u64,
    entropy: u16,
    subnet: VirtualSubnet,
}

/// What is remembered of a datagram in fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Led {
    To(Path),
    /// The subnet does not serve it.
    ToKernel(VirtualSubnet),
}

#[derive(Clone, Debug)]
pub struct Hop {
    pub host: Host,
    life: u64,
    pub mtu: u16,
    pub link_mtu: u16,
}

/// What the model says of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub reason: R,
    /// What leaves, or goes to the kernel; nothing if it is dropped.
    pub packet: Option<Vec<u8>>,
}

/// A packet in the course of being decided: the frame as it is now.
pub struct Packet {
    pub frame: Vec<u8>,
    pub datagram: Datagram,
}

#[derive(Default)]
pub struct Model {
    pub desired: Desired,
    pub hops: BTreeMap<IpAddr, Hop>,
    lives: u64,
    rings: BTreeMap<VirtualSubnet, Vec<(Ring, Vec<IpAddr>)>>,
    pub pinned: BTreeMap<Flow, Path>,
    /// Of the pinned ones, those that the client has ended.
    closing: BTreeSet<Flow>,
    pub pending: BTreeMap<Flow, (Path, u32)>,
    fragments: BTreeMap<(IpAddr, IpAddr, u32, u8), Led>,
}

impl Model {
    pub fn apply(&mut self, desired: &Desired) {
        let mut before = std::mem::take(&mut self.hops);
        for host in &desired.hosts {
            let hop = self.renew(before.remove(&host.address), host, desired);
            self.hops.insert(host.address, hop);
        }
        let stays = |subnet: VirtualSubnet| desired.subnets.iter().any(|other| other.prefix == subnet);
        self.pinned.retain(|_, path| stays(path.subnet));
        self.pending.retain(|_, (path, _)| stays(path.subnet));
        self.fragments.retain(|_, led| match led {
            Led::To(path) => stays(path.subnet),
            Led::ToKernel(subnet) => stays(*subnet),
        });
        if self.desired.config.seed != desired.config.seed {
            self.pending.clear(); // they are kept under the seed's hash
        }
        self.rings = desired.subnets.iter().map(|subnet| (subnet.prefix, rings(subnet, desired))).collect();
        self.desired = desired.clone();
    }

    /// A host goes on, or begins: with another name, and each time it goes down, what was known of it ends.
    fn renew(&mut self, before: Option<Hop>, host: &Host, desired: &Desired) -> Hop {
        let link_mtu =
            if reachable(host, desired) { host.link.expect("a reachable host has one").mtu } else { u16::MAX };
        let fell = |old: &Host| host.state == HostState::Down && old.state != HostState::Down;
        let ends = before.as_ref().is_none_or(|old| old.host.name != host.name || fell(&old.host));
        self.lives += u64::from(ends);
        let life = if ends { self.lives } else { before.as_ref().expect("it goes on").life };
        let mtu = before.filter(|old| old.link_mtu == link_mtu).map_or(link_mtu, |old| old.mtu);
        Hop { host: host.clone(), life, mtu, link_mtu }
    }

    pub fn subnet(&self, address: IpAddr) -> Option<&Subnet> {
        let inside = self.desired.subnets.iter().filter(|subnet| subnet.prefix.contains(address));
        inside.max_by_key(|subnet| subnet.prefix.prefix_len())
    }

    pub fn alive(&self, path: Option<Path>) -> Option<Path> {
        path.filter(|path| self.hops.get(&path.host).is_some_and(|hop| hop.life == path.life))
    }

    /// Decide a packet.
    pub fn decide(&mut self, frame: &[u8]) -> Decision {
        match self.walk(frame) {
            Ok(decision) => decision,
            Err((reason, packet)) => {
                let passes = reason.verdict() == slr_dataplane::reason::Verdict::Pass;
                Decision { reason, packet: passes.then_some(packet) }
            }
        }
    }

    fn walk(&mut self, frame: &[u8]) -> Result<Decision, (R, Vec<u8>)> {
        let stop = |reason| (reason, frame.to_vec());
        let (l3, kind) = parse::link(frame).ok_or_else(|| stop(R::PassTruncated))?;
        if frame[0] & 1 != 0 {
            return Err(stop(R::PassGroup));
        }
        let datagram = parse::datagram(frame, l3, kind).map_err(|bad| stop(self.refuse(&bad)))?;
        let mut packet = Packet { frame: frame.to_vec(), datagram };
        if IN_IP.contains(&packet.datagram.protocol)
            && self.desired.tunnel_addresses.contains(&packet.datagram.destination)
        {
            packet = self.strip(&packet).map_err(stop)?;
            if self.subnet(packet.datagram.destination).is_none() {
                let answer = self.keepalive(&packet).map_err(stop)?;
                return Ok(Decision { reason: R::ReplyKeepalive, packet: Some(answer) });
            }
        }
        let stop = |reason| (reason, packet.frame.clone());
        let datagram = &packet.datagram;
        let (reason, path) = match (datagram.fragment, datagram.protocol) {
            (Fragment::Later(_), _) => (R::FwdFragment, self.follow_fragment(datagram).map_err(stop)?),
            (_, 1 | 58) => match self.icmp(&packet).map_err(stop)? {
                (R::ReplyEcho, _) => {
                    let answer = emit::echo_reply(&packet.frame, datagram);
                    return Ok(Decision { reason: R::ReplyEcho, packet: Some(answer) });
                }
                (reason, path) => (reason, path.expect("what is forwarded has a path")),
            },
            _ => self.transport(datagram).map_err(stop)?,
        };
        self.forward(&packet, reason, path).map_err(stop)
    }

    /// Malformed: ours to drop only if it was for us.
    fn refuse(&self, bad: &Unreadable) -> R {
        match (bad.destination, bad.reason) {
            (None, reason) => reason,
            (Some(to), reason) if self.subnet(to).is_some() => reason,
            _ => R::PassNotOurs,
        }
    }

    fn strip(&self, packet: &Packet) -> Result<Packet, R> {
        let outer = &packet.datagram;
        if !self.desired.upstreams.iter().any(|net| net.contains(&outer.source)) {
            return Err(R::DropTunnelStranger);
        }
        if outer.fragment != Fragment::No {
            return Err(R::DropTunnelFragment);
        }
        let kind: u16 = if outer.protocol == 4 { 0x0800 } else { 0x86dd };
        let mut frame = packet.frame[..outer.l3].to_vec();
        frame[outer.l3 - 2..].copy_from_slice(&kind.to_be_bytes());
        frame.extend(&packet.frame[outer.l4..]);
        emit::combine_congestion(&mut frame[outer.l3..], kind, outer.tos)?;
        let room = outer.l3 + outer.len - outer.l4;
        let read = parse::datagram(&frame, outer.l3, kind).and_then(|datagram| match datagram.len {
            len if len <= room => Ok(datagram),
            // What pads the frame is not content of the tunnel.
            _ => Err(Unreadable { reason: R::DropMalformedIp, destination: Some(datagram.destination) }),
        });
        let datagram = read.map_err(|bad| match self.refuse(&bad) {
            R::PassNotOurs | R::PassTruncated => R::DropTunnelInner,
            reason => reason,
        })?;
        if IN_IP.contains(&datagram.protocol) {
            return Err(R::DropTunnelNested);
        }
        Ok(Packet { frame, datagram })
    }

    /// What a tunnel may carry besides datagrams for virtual addresses (docs/wire.md, "Tunnel keepalive").
    fn keepalive(&self, packet: &Packet) -> Result<Vec<u8>, R> {
        let datagram = &packet.datagram;
        let header = if datagram.source.is_ipv4() { 20 } else { 40 };
        let for_us = self.desired.tunnel_addresses.contains(&datagram.destination);
        let to_port = datagram.ports.filter(|_| datagram.protocol == UDP).map(|(_, to)| to);
        if !for_us || to_port != Some(6101) || datagram.l4 != datagram.l3 + header || datagram.fragment != Fragment::No
        {
            return Err(R::DropTunnelInner);
        }
        // By UDP's own length, which the reading above found to fit.
        let udp = &packet.frame[datagram.l4..];
        let body = &udp[8..usize::from(parse::word(udp, 4))];
        match body {
            [b'S', b'L', b'R', b'K', 1, 1, ..] if body.len() >= 24 => {
                Ok(emit::keepalive_reply(&packet.frame, datagram, &body[..24]))
            }
            _ => Err(R::DropKeepalive),
        }
    }

    fn transport(&mut self, datagram: &Datagram) -> Result<(R, Path), R> {
        let flow = datagram.ports.map(|ports| flow_of(datagram, ports));
        if let Some(flow) = flow {
            match self.alive(self.pinned.get(&flow).copied()) {
                Some(path) => {
                    if let Some(found) = self.known(datagram, flow, path) {
                        return Ok(found);
                    }
                }
                None => drop(self.pinned.remove(&flow)),
            }
        }
        let subnet = self.subnet(datagram.destination).ok_or(R::PassNotOurs)?.clone();
        let Some(flow) = flow else {
            return Err(if subnet.listed_only { self.leave_to_kernel(datagram, &subnet) } else { R::DropProtocol });
        };
        if let Some(path) = self.alive(self.pending.get(&flow).map(|(path, _)| *path)) {
            return Ok((self.second_packet(datagram, flow, path), path));
        }
        if is_martian(datagram.source) {
            return Err(R::DropMartian);
        }
        if !routing::serves(&subnet, &flow) {
            return Err(self.leave_to_kernel(datagram, &subnet));
        }
        let opens = datagram.tcp_flags & (SYN | ACK | RST | FIN) == SYN;
        if datagram.protocol == TCP && !opens {
            let known = subnet.orphan == OrphanPolicy::Ring;
            return if known { Ok((R::FwdOrphanRing, self.place(&subnet, &flow)?)) } else { Err(R::DropOrphan) };
        }
        let path = self.place(&subnet, &flow)?;
        self.pending.insert(flow, (path, datagram.seq));
        Ok((R::FwdNew, path))
    }

    /// Not served here: the kernel's, with the fragments that follow.
    pub fn leave_to_kernel(&mut self, datagram: &Datagram, subnet: &Subnet) -> R {
        if let Fragment::First(_) = datagram.fragment {
            self.fragments.insert(fragment_key(datagram), Led::ToKernel(subnet.prefix));
        }
        R::PassNotServed
    }

    /// A packet of a pinned flow; none if it opens a connection where the client had ended one.
    fn known(&mut self, datagram: &Datagram, flow: Flow, path: Path) -> Option<(R, Path)> {
        if self.closing.contains(&flow) {
            if datagram.tcp_flags & (SYN | ACK | RST | FIN) == SYN {
                return None;
            }
            let pending = self.pending.get(&flow).copied();
            let again = pending.filter(|(path, isn)| self.alive(Some(*path)).is_some() && continues(datagram, *isn));
            if let Some((path, _)) = again {
                self.promote(flow, path);
                return Some((R::FwdPromoted, path));
            }
        }
        if datagram.tcp_flags & (FIN | RST) != 0 {
            self.closing.insert(flow);
        }
        Some((R::FwdEstablished, path))
    }

    fn promote(&mut self, flow: Flow, path: Path) {
        self.pending.remove(&flow);
        self.pinned.insert(flow, path);
        self.closing.remove(&flow);
    }

    /// A packet of a flow that has not shown two ends.
    fn second_packet(&mut self, datagram: &Datagram, flow: Flow, path: Path) -> R {
        let isn = &mut self.pending.get_mut(&flow).expect("the flow is pending").1;
        let flags = datagram.tcp_flags & (SYN | RST | ACK);
        if datagram.protocol == TCP && !continues(datagram, *isn) {
            if flags == SYN && datagram.tcp_flags & FIN == 0 {
                *isn = datagram.seq;
            }
            return R::FwdPending;
        }
        self.promote(flow, path);
        R::FwdPromoted
    }

    fn follow_fragment(&self, datagram: &Datagram) -> Result<Path, R> {
        match self.fragments.get(&fragment_key(datagram)) {
            Some(Led::ToKernel(_)) => return Err(R::PassNotServed),
            Some(Led::To(path)) if self.alive(Some(*path)).is_some() => return Ok(*path),
            _ => {}
        }
        Err(self.subnet(datagram.destination).map_or(R::PassNotOurs, |_| R::DropFragment))
    }

    pub fn place(&self, subnet: &Subnet, flow: &Flow) -> Result<Path, R> {
        let route = routing::route(subnet, flow).ok_or(R::DropNoActiveHost)?;
        let index = subnet.routes.iter().position(|other| other == route).expect("a route of the subnet");
        let (ring, hosts) = &self.rings[&subnet.prefix][index];
        let hash = emit::flow_hash(self.desired.config.seed, flow, route.key_mask);
        let slot = ring.slot_for((hash >> 32) as u32).ok_or(R::DropNoActiveHost)?;
        let host = hosts[slot.current().expect("a slot has a host").index() - 1];
        let entropy = emit::flow_hash(self.desired.config.seed, flow, KeyMask::ALL) as u16;
        Ok(Path { host, life: self.hops[&host].life, entropy, subnet: subnet.prefix })
    }

    fn forward(&mut self, packet: &Packet, reason: R, path: Path) -> Result<Decision, R> {
        let hop = self.hops.get(&path.host).expect("a path leads to a host");
        if !usable(&hop.host, &self.desired) {
            return Err(R::DropHopUnusable);
        }
        let datagram = &packet.datagram;
        let room = usize::from(hop.mtu) - if hop.host.address.is_ipv6() { 40 } else { 20 };
        if datagram.len > room {
            let v4_later = matches!(datagram.fragment, Fragment::Later(_)) && datagram.source.is_ipv4();
            let told = datagram.df && reason != R::FwdIcmpError && !v4_later;
            let message = told.then(|| emit::too_big(&packet.frame, datagram, room)).flatten().ok_or(R::DropTooBig)?;
            return Ok(Decision { reason: R::ReplyTooBig, packet: Some(message) });
        }
        if let Fragment::First(_) = datagram.fragment {
            self.fragments.insert(fragment_key(datagram), Led::To(path));
        }
        let source = source_for(path.host, &self.desired).expect("a usable host has a source");
        let out = emit::tunnel(&packet.frame, datagram, &hop.host, source, path.entropy);
        Ok(Decision { reason, packet: Some(out) })
    }
}

/// Is this the segment of a client that has heard from a server, after the SYN with this sequence number?
fn continues(datagram: &Datagram, isn: u32) -> bool {
    datagram.tcp_flags & (SYN | RST | ACK) == ACK && datagram.seq.wrapping_sub(isn.wrapping_add(1)) <= 0xffff
}

pub fn flow_of(datagram: &Datagram, ports: (u16, u16)) -> Flow {
    let (client, to) = ((datagram.source, ports.0).into(), (datagram.destination, ports.1).into());
    Flow { client, to, protocol: datagram.protocol }
}

/// In IPv4 the protocol is part of a datagram's identity.
fn fragment_key(datagram: &Datagram) -> (IpAddr, IpAddr, u32, u8) {
    let (Fragment::First(id) | Fragment::Later(id)) = datagram.fragment else { panic!("not a fragment") };
    (datagram.source, datagram.destination, id, if datagram.source.is_ipv4() { datagram.protocol } else { 0 })
}

pub fn source_for(host: IpAddr, desired: &Desired) -> Option<ipnet::IpNet> {
    desired.sources.iter().copied().find(|net| net.addr().is_ipv4() == host.is_ipv4())
}

/// A source that no client can have.
pub fn is_martian(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(a) => a.octets()[0] == 0 || a.is_loopback() || a.octets()[0] >= 224,
        IpAddr::V6(a) => a.is_unspecified() || a.is_loopback() || a.is_multicast(),
    }
}

fn usable(host: &Host, desired: &Desired) -> bool {
    host.state != HostState::Down && reachable(host, desired)
}

fn reachable(host: &Host, desired: &Desired) -> bool {
    host.link.is_some() && source_for(host.address, desired).is_some()
}

/// The rings of a subnet's routes, in their order, each with the hosts that the hops in it stand for.
fn rings(subnet: &Subnet, desired: &Desired) -> Vec<(Ring, Vec<IpAddr>)> {
    subnet.routes.iter().map(|route| ring(route, desired)).collect()
}

fn ring(route: &Route, desired: &Desired) -> (Ring, Vec<IpAddr>) {
    let hosts: Vec<IpAddr> = desired.hosts.iter().map(|host| host.address).collect();
    let member = |(name, weight): &(slr_model::NodeName, Weight)| {
        let index = desired.hosts.iter().position(|host| host.name == *name).expect("members are hosts");
        let takes = desired.hosts[index].state == HostState::Active && usable(&desired.hosts[index], desired);
        let hop = HopId::new(u16::try_from(index + 1).expect("few hosts")).expect("few hosts");
        Member { name: name.clone(), hop, weight: if takes { *weight } else { Weight::ZERO } }
    };
    let members: Vec<Member> = route.members.iter().map(member).collect();
    let placement = Placement::for_hosts(members.len(), desired.config.seed);
    (Ring::build(&members, placement).expect("a ring of these members"), hosts)
}
