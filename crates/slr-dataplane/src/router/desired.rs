//! What the kernel's tables shall say, in the words of the configuration. [`super::Router::apply`] makes it so.

use std::net::IpAddr;

use ipnet::IpNet;
use slr_model::{
    ClassName, EchoPolicy, HostState, KeyMask, MacAddr, NodeName, OrphanPolicy, Service, VirtualSubnet, Weight,
};

/// The whole desired state of a router's data plane.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// Limits and the placement seed.
    pub config: Config,
    /// Addresses at which upstream routers reach us with tunnels.
    pub tunnel_addresses: Vec<IpAddr>,
    /// Prefixes that registered upstreams send tunnels from.
    pub upstreams: Vec<IpNet>,
    /// Prefixes that neighbours, SLRs of other clusters, send tunnels from. They may be upstreams as well: what comes from them is
    /// a neighbour's then.
    pub neighbour_sources: Vec<IpNet>,
    /// Where chains end that found no host: tunnel addresses of this router, or of another member of the cluster; one a family at
    /// most. None: the last host of a chain delivers.
    pub chain_ends: Vec<IpAddr>,
    /// Likewise chains of UDP flows that other routers are asked about: tunnel addresses of this router. None: nobody is asked.
    pub search_ends: Vec<IpAddr>,
    /// Prefixes that outer source addresses are taken from, spread per flow. At most one a family; a hop whose address
    /// family has none cannot be used.
    pub sources: Vec<IpNet>,
    /// Every known next hop.
    pub hosts: Vec<Host>,
    /// Which of these are neighbours. What one of them has sent goes to none of them.
    pub neighbours: Vec<NodeName>,
    /// Every virtual subnet.
    pub subnets: Vec<Subnet>,
}

/// Limits that may change while packets flow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Seed of the placement hash; the same in every member of a cluster. Another seed places everything anew that is not
    /// pinned.
    pub seed: u64,
    /// Flows that one client prefix (IPv4 /24, IPv6 /48) may pin per second, and at once.
    pub promote_per_s: u32,
    /// Burst of the same.
    pub promote_burst: u32,
    /// ICMP answers per second and CPU, and at once.
    pub icmp_per_s: u32,
    /// Burst of the same.
    pub icmp_burst: u32,
    /// How long a path MTU learned from a frag-needed is believed.
    pub pmtu_expiry_s: u32,
    /// No frag-needed lowers a path MTU below this many bytes.
    pub pmtu_floor: u16,
    /// Whether the program tells of new pins: there are other members of the cluster that mirror them.
    pub tell_pins: bool,
    /// Whether a packet of a flow that nobody searches for ([`OrphanPolicy::Drop`]) is held a while: its host may tell of it by way of its
    /// client.
    pub hold_orphans: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 0,
            promote_per_s: 2_000,
            promote_burst: 20_000,
            icmp_per_s: 1_000,
            icmp_burst: 200,
            pmtu_expiry_s: 600, // RFC 1191 6.3: ten minutes
            pmtu_floor: 596,    // 576 for the client's datagram (RFC 791) and an IPv4 header
            tell_pins: false,
            hold_orphans: false,
        }
    }
}

/// A next hop: a host, or the router of the next tier.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Its name; rings are keyed on it.
    pub name: NodeName,
    /// Its tunnel address.
    pub address: IpAddr,
    /// `Active` and `Draining` keep their flows; `Down` un-pins them.
    pub state: HostState,
    /// How to reach it; `None` while no neighbour is resolved.
    pub link: Option<Link>,
}

impl Host {
    /// Can packets be sent to it: is its link known, and is there an outer source of its family?
    pub fn is_reachable(&self, sources: &[IpNet]) -> bool {
        self.link.is_some() && sources.iter().any(|source| source.addr().is_ipv4() == self.address.is_ipv4())
    }
}

/// The layer below a hop's outer header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Destination MAC: the hop's, or its gateway's.
    pub destination: MacAddr,
    /// Source MAC: our interface's.
    pub source: MacAddr,
    /// Outgoing interface; 0 means the one the packet came in on.
    pub ifindex: u32,
    /// Largest datagram that the link and the route take, in bytes.
    pub mtu: u16,
}

/// A virtual subnet and who serves it.
#[derive(Clone, Debug, PartialEq)]
pub struct Subnet {
    /// The range of virtual addresses.
    pub prefix: VirtualSubnet,
    /// Whom its traffic is charged to.
    pub account: u32,
    /// Serves only the (protocol, port) pairs that a route names, each by the routes that name it; the others pass to the
    /// kernel. Otherwise everything is served.
    pub listed_only: bool,
    /// What happens to a mid-flow packet that nobody knows.
    pub orphan: OrphanPolicy,
    /// What happens to an echo request.
    pub echo: EchoPolicy,
    /// Clients that may have routes of their own.
    pub classes: Vec<Class>,
    /// Where new flows go, each (class, service) at most once; see [`Route`].
    pub routes: Vec<Route>,
}

/// Clients by their prefixes. A client is of the class that has the longest prefix it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its name; unique in its subnet.
    pub name: ClassName,
    /// Its clients. Prefixes of the other family than the subnet's match nobody and are left out.
    pub clients: Vec<IpNet>,
}

/// Where new flows of some clients to some service go. Of several routes that fit a packet the first in this order
/// decides, also if it has nobody to send to:
///
/// 1. the client's class, the service;
/// 2. no class, the service;
/// 3. the client's class, no service;
/// 4. no class, no service.
///
/// The service comes before the class: it says who can answer at all, a class only who shall. So who sends a class
/// elsewhere gives it a route for each service that has one. ICMP is no service: it takes 3 or 4, also in a subnet that
/// [serves listed services only](Subnet::listed_only). Without any route that fits, new flows are dropped as
/// `drop_no_active_host`.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Whose flows; `None`: of clients whose class has no route of its own for this.
    pub class: Option<ClassName>,
    /// To what; `None`: whatever no route names.
    pub service: Option<Service>,
    /// Which fields take part in placement.
    pub key_mask: KeyMask,
    /// Hosts that take new flows, with their weights. Weight 0, or absence: no new flows. The number of members, those of
    /// weight 0 too, decides the ring's size: who keeps silent members keeps the slots where they are.
    pub members: Vec<(NodeName, Weight)>,
}

impl Subnet {
    /// Whether some route names this service.
    pub fn names(&self, service: Service) -> bool {
        self.routes.iter().any(|route| route.service == Some(service))
    }
}

impl Route {
    /// The route of whatever no other names, placed by the whole key.
    pub fn to(members: Vec<(NodeName, Weight)>) -> Self {
        Self { class: None, service: None, key_mask: KeyMask::ALL, members }
    }
}
