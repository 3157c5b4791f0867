//! An overview for tests: two hosts, one of them down.

use std::collections::BTreeMap;

use super::{Host, OtherRouter, Overview, Reason, Service, Subnet, happenings::Happening};
use slr_model::{Loads, Role, Tier};
use slr_session::registry::ServiceState;

/// It.
pub fn sample() -> Overview {
    Overview {
        at_ms: 1_700_000_000_000,
        router: "slr1".parse().expect("a name"),
        tier: Tier::Site,
        software: "slr-router 1.2.3".to_owned(),
        flows: 1_200,
        routers: vec![OtherRouter {
            name: "slr2".parse().expect("a name"),
            relation: "peer".to_owned(),
            connected: true,
        }],
        hosts: vec![host("h1", ServiceState::Active), host("h2", ServiceState::Down)],
        subnets: vec![Subnet {
            name: "web".to_owned(),
            prefix: "192.0.2.0/24".parse().expect("a subnet"),
            packets: 5_000,
            bytes: 500_000,
            flows_placed: 120,
            active: 1,
            hosts: 2,
        }],
        reasons: vec![reason("fwd_established", "forward"), reason("drop_orphan", "drop")],
        recovered: BTreeMap::from([("chain".to_owned(), 30), ("echo".to_owned(), 7)]),
        alarms: Vec::new(),
        happenings: vec![Happening {
            at_ms: 1_699_999_999_000,
            whom: "h2".to_owned(),
            what: "tcp/80@192.0.2.0/24 active → down: not reached".to_owned(),
        }],
    }
}

fn host(name: &str, state: ServiceState) -> Host {
    let is_up = state == ServiceState::Active;
    Host {
        name: name.parse().expect("a name"),
        address: "10.1.11.2".parse().expect("an address"),
        role: Some(Role::Host),
        state,
        reason: "said by the host".to_owned(),
        for_s: Some(12.5),
        up: is_up,
        contact: Some("heard".to_owned()),
        rtt_us: is_up.then_some(850),
        loss: Some(0.0),
        packets: 2_500,
        bytes: 250_000,
        flows_placed: 60,
        flows: 600,
        share: if is_up { 100.0 } else { 0.0 },
        loads: Loads::new(),
        services: vec![Service {
            service: "tcp/80@192.0.2.0/24".parse().expect("a service"),
            state,
            reason: "said by the host".to_owned(),
            for_s: Some(12.5),
            flows: 600,
        }],
    }
}

fn reason(reason: &str, verdict: &str) -> Reason {
    Reason {
        reason: reason.to_owned(),
        verdict: verdict.to_owned(),
        packets: 7,
        bytes: 700,
        meaning: "what it means".to_owned(),
        remedy: None,
    }
}
