//! A trace says beforehand what the program then does, flow by flow, whatever state hosts and flows are in.

use slr_dataplane::reason::RouterReason as R;
use slr_dataplane::router::Step;
use slr_model::{FlowKey, HostState, OrphanPolicy};

use crate::common::{Bed, outer, site};
use crate::scene::{self, FAMILIES, OTHER, To, packets};

const TARGETS: [To; 7] = [To::Tcp(80), To::Tcp(81), To::Tcp(8080), To::Tcp(9), To::Udp(53), To::Udp(80), To::Udp(8080)];
const CLIENTS: u16 = 24;

fn flow((client, address, _): (&str, &str, &str), port: u16, to: To) -> FlowKey {
    let (protocol, vport) = match to {
        To::Tcp(vport) => ("tcp", vport),
        To::Udp(vport) => ("udp", vport),
    };
    let end = |ip: &str, port: u16| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
    format!("{protocol} {} > {}", end(client, port), end(address, vport)).parse().expect("a flow")
}

/// Sends it, and compares: the reason, and who gets it first.
fn assert_says(bed: &Bed, said: &Step, frame: &[u8], what: &str) {
    let outcome = bed.send(frame);
    // A flow that is pinned by its next packet is one that has shown two ends.
    let is_same = outcome.reason == said.reason || (said.reason, outcome.reason) == (R::FwdPending, R::FwdPromoted);
    assert!(is_same, "{what}: said {said:?}, became {:?}", outcome.reason);
    if !said.hosts.is_empty() {
        let (legs, _) = outer::legs(&outcome.packet, &bed.desired);
        let mut hosts: Vec<String> = legs.into_iter().map(|leg| leg.0).collect();
        if said.reason == R::FwdPending {
            // Beside its host, for a while: its slot's second choice behind it, or of UDP those that the slot had before it.
            hosts.retain(|host| said.hosts.iter().any(|said| said.as_str() == host));
        }
        assert_eq!(hosts, said.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(), "{what}: {said:?}");
    }
}

/// Every flow's first packet, a later one of the same, and one of a flow that nobody knows.
fn follow(bed: &Bed, from_port: u16) {
    for ends in FAMILIES.into_iter().chain(OTHER) {
        for to in TARGETS {
            for port in from_port..from_port + CLIENTS {
                let [first, later] = packets(ends, port, to);
                let orphan = flow(ends, port, to);
                let what = format!("{orphan}, a later packet");
                if port % 3 == 0 {
                    assert_says(bed, &bed.router.trace(&orphan).expect("a trace").later, &later, &what);
                    continue;
                }
                assert_says(bed, &bed.router.trace(&orphan).expect("a trace").first, &first, &orphan.to_string());
                assert_says(bed, &bed.router.trace(&orphan).expect("a trace").later, &later, &what);
            }
        }
    }
}

#[test]
fn a_trace_says_what_the_program_then_does() {
    for orphan in [OrphanPolicy::Ring, OrphanPolicy::Drop, OrphanPolicy::Chain, OrphanPolicy::ChainUdp] {
        let mut bed = Bed::new(scene::desired());
        bed.change(|desired| {
            desired.subnets.iter_mut().for_each(|subnet| subnet.orphan = orphan);
            // What b has is shared with a.
            for route in site::routes_mut(desired).filter(|r| r.service.is_some_and(|s| s.to_string() == "tcp/8080")) {
                *route = site::route(None, Some("tcp/8080"), &["a", "b"]);
            }
        });
        follow(&bed, 1000);
        let [a, b] = ["a", "b"].map(|host| site::host_mut(&mut bed.desired.clone(), host).address);
        bed.router.doubt(a, true).expect("it is doubted");
        follow(&bed, 2000);
        bed.router.doubt(b, true).expect("it is doubted");
        follow(&bed, 3000);
        bed.router.doubt(a, false).expect("no more");
        bed.change(|desired| site::host_mut(desired, "b").state = HostState::Down);
        follow(&bed, 1000);
        bed.change(|desired| site::host_mut(desired, "b").state = HostState::Active);
        follow(&bed, 2000);
        bed.change(|desired| {
            desired.subnets.pop();
        });
        follow(&bed, 4000);
    }
}
