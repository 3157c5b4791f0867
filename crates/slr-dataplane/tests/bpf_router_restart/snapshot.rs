//! What the kernel's tables say, in a form that can be compared across a restart.

use std::net::IpAddr;
use std::path::Path;

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use slr_dataplane::router::{FlowStatus, RouteStatus, Router};

use crate::common::site::site;

/// All that a restart must not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Address, index, generation, MTU now and of the link.
    pub hops: Vec<(IpAddr, u16, u16, u16, u16)>,
    /// Prefix, id, account, packets.
    pub subnets: Vec<(String, u16, u32, u64)>,
    /// Prefix; class, service, ring and slots of each of its routes.
    pub routes: Vec<(String, Vec<RouteStatus>)>,
    /// Flow, idle seconds, pinned, closing.
    pub flows: Vec<(String, u32, bool, bool)>,
    /// Packets by reason.
    pub reasons: Vec<(&'static str, u64)>,
    /// Ring index, offset, slots with their memory.
    pub rings: Vec<(u32, u32, Vec<u64>)>,
}

/// Read everything. `pins` is the directory of the version's tables.
pub fn take(router: &Router, pins: &Path) -> Snapshot {
    let hops = router.hops().expect("hops can be read");
    let subnets = router.subnets().expect("subnets can be read");
    let flows = router.flows(usize::MAX, |_| true).expect("flows can be read");
    let reasons = router.reasons().expect("counters can be read");
    let mut flows: Vec<_> = flows.iter().map(flow).collect();
    flows.sort();
    Snapshot {
        hops: hops.iter().map(|h| (h.address, h.hop, h.generation, h.mtu, h.link_mtu)).collect(),
        subnets: subnets.iter().map(|s| (s.prefix.to_string(), s.id, s.account, s.usage.packets)).collect(),
        routes: subnets.iter().map(|s| (s.prefix.to_string(), s.routes.iter().map(nameless).collect())).collect(),
        flows,
        reasons: reasons.iter().map(|(reason, counter)| (reason.name(), counter.packets)).collect(),
        rings: rings(pins),
    }
}

/// Names of hosts and classes are the configuration's: a router that was just loaded does not know them.
fn nameless(route: &RouteStatus) -> RouteStatus {
    RouteStatus { class: None, shares: Vec::new(), ..route.clone() }
}

fn flow(status: &FlowStatus) -> (String, u32, bool, bool) {
    (status.key.to_string(), status.idle_s, status.pinned, status.closing)
}

/// The rings as the program reads them: by the pinned tables, not by what the router believes.
fn rings(pins: &Path) -> Vec<(u32, u32, Vec<u64>)> {
    let open = |name: &str| MapHandle::from_pinned_path(pins.join(name)).expect("a pinned table");
    let (rings, slots) = (open("rings"), open("slots"));
    let word = |map: &MapHandle, index: u32| {
        let value = map.lookup(&index.to_ne_bytes(), MapFlags::ANY).expect("an array can be read");
        u64::from_ne_bytes(value.expect("an element of an array").try_into().expect("eight bytes"))
    };
    // Few rings: as many as the site has subnets with different members.
    let some = 0..4 * site().subnets.len() as u32;
    let found = some.map(|index| (index, word(&rings, index))).filter(|(_, ring)| *ring != 0);
    found
        .map(|(index, ring)| {
            let (offset, len) = ((ring >> 32) as u32, ring as u32);
            (index, offset, (offset..offset + len).map(|slot| word(&slots, slot)).collect())
        })
        .collect()
}
