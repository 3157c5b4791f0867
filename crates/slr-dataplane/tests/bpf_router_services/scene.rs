//! Hosts with several services, and flows to them in every stage.

use slr_dataplane::reason::RouterReason as R;
use slr_dataplane::router::{Class, Desired, Subnet};
use slr_model::{NodeName, ServiceKey};
use slr_testkit::packet::{SYN, pkt};

use crate::common::{Bed, site};

/// (client, virtual address, its subnet) of each family.
pub const FAMILIES: [(&str, &str, &str); 2] =
    [(site::C4, "192.0.20.9", "192.0.20.0/24"), (site::C6, "2001:db8:20::9", "2001:db8:20::/64")];

/// A second subnet with the same services and hosts.
pub const OTHER: [(&str, &str, &str); 2] =
    [(site::C4, "192.0.21.9", "192.0.21.0/24"), (site::C6, "2001:db8:21::9", "2001:db8:21::/64")];

/// Every service goes to `a`, whose flows are looked at; port 8080 to `b`.
fn subnet(prefix: &str) -> Subnet {
    let mut subnet = site::subnet(prefix, &["a"]);
    subnet.classes = vec![Class {
        name: "near".parse().expect("the name of a class"),
        clients: ["198.51.100.0/24", "2001:db8:c::/48"].map(|net| net.parse().expect("a prefix")).into(),
    }];
    subnet.routes.extend([
        site::route(None, Some("tcp/80"), &["a"]),
        site::route(Some("near"), Some("tcp/80"), &["a"]),
        site::route(Some("near"), Some("udp/53"), &["a"]),
        site::route(None, Some("tcp/8080"), &["b"]),
    ]);
    subnet
}

pub fn desired() -> Desired {
    let prefixes = FAMILIES.iter().chain(&OTHER).map(|(_, _, prefix)| *prefix);
    Desired { subnets: prefixes.map(subnet).collect(), ..site::site() }
}

pub fn name(host: &str) -> NodeName {
    host.parse().expect("a name")
}

/// Such as `tcp/80`, or `any`.
pub fn key(service: &str, prefix: &str) -> ServiceKey {
    format!("{service}@{prefix}").parse().expect("a service of a subnet")
}

/// What a flow is to: a protocol and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Tcp(u16),
    Udp(u16),
}

/// A flow's first packet and its second.
pub fn packets((client, address, _): (&str, &str, &str), port: u16, to: To) -> [Vec<u8>; 2] {
    let start = || {
        let parse = |text: &str| text.parse().expect("an address");
        pkt().eth(site::OUR_MAC, site::GATEWAY_MAC).ip(parse(client), parse(address))
    };
    match to {
        To::Tcp(vport) => [start().tcp(port, vport).flags(SYN).seq(7).build(), start().tcp(port, vport).seq(8).build()],
        To::Udp(vport) => [0; 2].map(|_| start().udp(port, vport).payload_len(8).build()),
    }
}

/// Pin a flow.
pub fn pin(bed: &Bed, ends: (&str, &str, &str), port: u16, to: To) {
    let [first, second] = packets(ends, port, to);
    assert_eq!(bed.send(&first).reason, R::FwdNew, "{ends:?} {port} {to:?}");
    assert_eq!(bed.send(&second).reason, R::FwdPromoted, "{ends:?} {port} {to:?}");
}

/// Begin a flow.
pub fn begin(bed: &Bed, ends: (&str, &str, &str), port: u16, to: To) {
    assert_eq!(bed.send(&packets(ends, port, to)[0]).reason, R::FwdNew, "{ends:?} {port} {to:?}");
}

/// What this thread has run so far, told to a tick's precision.
pub fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel keeps account");
    text.split(' ').next().and_then(|first| first.parse().ok()).expect("nanoseconds first")
}
