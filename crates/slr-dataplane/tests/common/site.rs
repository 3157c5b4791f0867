//! The site of the fixtures: two hosts behind IPv4 tunnels, one behind an IPv6 tunnel, a virtual subnet for each question.

use slr_dataplane::router::{Class, Config, Desired, Host, Link, Route, Subnet};
use slr_model::{EchoPolicy, HostState, KeyField, KeyMask, NodeName, OrphanPolicy, Weight};

/// The router as its neighbours see it, and the router that hands it the clients' packets.
pub const OUR_MAC: &str = "02:00:00:00:00:fe";
pub const GATEWAY_MAC: &str = "02:00:00:00:00:01";

/// Clients.
pub const C4: &str = "198.51.100.7";
pub const C6: &str = "2001:db8:c::7";

/// Virtual addresses: served by all three hosts.
pub const ANY4: &str = "192.0.2.9";
pub const ANY6: &str = "2001:db8:2::9";
/// Served by `a` (IPv4 tunnel) alone, by `v` (IPv6 tunnel) alone.
pub const A4: &str = "192.0.3.9";
pub const A6: &str = "2001:db8:3::9";
pub const V4: &str = "192.0.4.9";
pub const V6: &str = "2001:db8:4::9";
/// Serves TCP 80 and UDP 53 only.
pub const LISTED4: &str = "192.0.5.9";
pub const LISTED6: &str = "2001:db8:5::9";
/// Orphans and echo requests are dropped.
pub const STRICT4: &str = "192.0.6.9";
pub const STRICT6: &str = "2001:db8:6::9";
/// Echo requests are forwarded.
pub const ECHO4: &str = "192.0.7.9";
pub const ECHO6: &str = "2001:db8:7::9";
/// Has no host at all.
pub const EMPTY4: &str = "192.0.8.9";
pub const EMPTY6: &str = "2001:db8:8::9";
/// Has routes by service and by class of clients: see [`mixed`].
pub const MIXED4: &str = "192.0.9.9";
pub const MIXED6: &str = "2001:db8:9::9";
/// In no virtual subnet.
pub const FOREIGN4: &str = "203.0.113.9";
pub const FOREIGN6: &str = "2001:db8:ff::9";

/// Where upstream routers reach us, one of them, and a stranger.
pub const TUNNEL4: &str = "10.1.254.1";
pub const TUNNEL6: &str = "fd00:1:fe::1";
pub const UPSTREAM4: &str = "10.9.0.5";
pub const UPSTREAM6: &str = "fd00:9::5";
pub const STRANGER4: &str = "10.8.0.5";
pub const STRANGER6: &str = "fd00:8::5";

/// What outer sources are taken from.
pub const SOURCES: [&str; 2] = ["10.1.255.0/24", "fd00:1:ff::/64"];

/// Name, tunnel address, last byte of the MAC.
pub const HOSTS: [(&str, &str, u8); 3] = [("a", "10.1.0.1", 0xa1), ("b", "10.1.0.2", 0xb2), ("v", "fd00:1::3", 0x03)];

/// A hop reached over an Ethernet link of 1,500 bytes.
pub fn host(name: &str, address: &str, mac: u8) -> Host {
    Host {
        name: name.parse().expect("a name"),
        address: address.parse().expect("an address"),
        state: HostState::Active,
        link: Some(Link {
            destination: format!("02:00:00:00:01:{mac:02x}").parse().expect("a MAC"),
            source: OUR_MAC.parse().expect("a MAC"),
            ifindex: 0,
            mtu: 1500,
        }),
    }
}

/// A subnet whose orphans go where the ring points, otherwise with default policies, served by these hosts with equal
/// weights.
pub fn subnet(prefix: &str, members: &[&str]) -> Subnet {
    Subnet {
        prefix: prefix.parse().expect("a subnet"),
        account: 1,
        listed_only: false,
        orphan: OrphanPolicy::Ring,
        echo: EchoPolicy::default(),
        classes: Vec::new(),
        routes: vec![route(None, None, members)],
    }
}

/// A route to these hosts with equal weights.
pub fn route(class: Option<&str>, service: Option<&str>, members: &[&str]) -> Route {
    Route {
        class: class.map(|name| name.parse().expect("the name of a class")),
        service: service.map(|service| service.parse().expect("a service")),
        ..Route::to(members.iter().map(|name| (name.parse().expect("a name"), Weight::default())).collect())
    }
}

/// Members of all routes of all subnets.
pub fn members_mut(desired: &mut Desired) -> impl Iterator<Item = &mut (NodeName, Weight)> {
    routes_mut(desired).flat_map(|route| &mut route.members)
}

/// All routes of all subnets.
pub fn routes_mut(desired: &mut Desired) -> impl Iterator<Item = &mut Route> {
    desired.subnets.iter_mut().flat_map(|subnet| &mut subnet.routes)
}

/// Both families of a subnet, by its number.
fn pair(number: u8, members: &[&str], change: impl Fn(&mut Subnet)) -> Vec<Subnet> {
    let prefixes = [format!("192.0.{number}.0/24"), format!("2001:db8:{number}::/64")];
    let build = |prefix: &String| {
        let mut subnet = subnet(prefix, members);
        change(&mut subnet);
        subnet
    };
    prefixes.iter().map(build).collect()
}

/// Of every route there can be, one. [`C4`] and [`C6`] are in the class `near`, their neighbours in `wide`.
pub fn mixed(subnet: &mut Subnet) {
    let class = |name: &str, clients: [&str; 2]| Class {
        name: name.parse().expect("the name of a class"),
        clients: clients.map(|client| client.parse().expect("a prefix")).into(),
    };
    subnet.classes = vec![
        class("near", ["198.51.100.7/32", "2001:db8:c::7/128"]),
        class("wide", ["198.51.100.0/24", "2001:db8:c::/48"]),
    ];
    subnet.routes.extend([
        route(None, Some("tcp/80"), &["b"]),
        route(Some("near"), None, &["a"]),
        route(Some("near"), Some("tcp/80"), &["v"]),
        Route {
            key_mask: KeyMask::new(&[KeyField::ClientAddress]).expect("a mask"),
            ..route(Some("wide"), None, &["a", "b", "v"])
        },
        route(Some("wide"), Some("udp/53"), &["v"]),
    ]);
}

/// The whole site, with limits that no fixture reaches unless it lowers them.
pub fn site() -> Desired {
    let all = HOSTS.map(|(name, ..)| name);
    Desired {
        config: Config { seed: 7, icmp_burst: 1 << 20, promote_burst: 1 << 20, ..Config::default() },
        tunnel_addresses: [TUNNEL4, TUNNEL6].map(|a| a.parse().expect("an address")).into(),
        upstreams: ["10.9.0.0/24", "fd00:9::/64"].map(|net| net.parse().expect("a prefix")).into(),
        sources: SOURCES.map(|net| net.parse().expect("a prefix")).into(),
        hosts: HOSTS.iter().map(|(name, address, mac)| host(name, address, *mac)).collect(),
        subnets: [
            pair(2, &all, |_| {}),
            pair(3, &["a"], |_| {}),
            pair(4, &["v"], |_| {}),
            pair(5, &["a"], |s| {
                s.listed_only = true;
                s.routes.extend(["tcp/80", "udp/53"].map(|service| route(None, Some(service), &["a"])));
            }),
            pair(6, &["a"], |s| (s.orphan, s.echo) = (OrphanPolicy::Drop, EchoPolicy::Drop)),
            pair(7, &all, |s| s.echo = EchoPolicy::Forward),
            pair(8, &[], |_| {}),
            pair(9, &all, mixed),
        ]
        .concat(),
        ..Desired::default()
    }
}

/// The host of this name in a desired state.
pub fn host_mut<'a>(desired: &'a mut Desired, name: &str) -> &'a mut Host {
    desired.hosts.iter_mut().find(|host| &*host.name == name).expect("a host of the site")
}

/// Its link.
pub fn link_mut<'a>(desired: &'a mut Desired, name: &str) -> &'a mut Link {
    host_mut(desired, name).link.as_mut().expect("a host with a link")
}

/// Take a host out, with its memberships.
pub fn remove_host(desired: &mut Desired, name: &str) {
    desired.hosts.retain(|host| &*host.name != name);
    for route in routes_mut(desired) {
        route.members.retain(|(member, _)| &**member != name);
    }
}
