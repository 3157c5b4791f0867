//! A snapshot in which nothing is missing, for tests here and against Prometheus.

use std::time::Duration;

use slr_model::{Loads, ServiceKey};

use super::*;

/// Two hosts, one of them lost, and a service of either family.
pub fn sample() -> Snapshot {
    let (web4, any6) = (key("tcp/80@192.0.2.0/24"), key("any@2001:db8:100::/48"));
    let flows = Flows { pinned: 1_200, pending: Some(30), capacity: 100_000 };
    Snapshot {
        reasons: [("fwd_established", "forward", 5_000), ("drop_no_active_host", "drop", 7)].map(reason).to_vec(),
        flows: Some([flows, Flows::default()]),
        hops: vec![hop("h1", true), hop("h2", false)],
        subnets: vec![subnet("192.0.2.0/24", 1), subnet("2001:db8:100::/48", 2)],
        rings: [web4, any6].map(ring).to_vec(),
        services: vec![service("h1", web4, "active"), service("h2", web4, "silent"), service("h1", any6, "active")],
        places: vec![place("h1", web4, Some(0.5)), place("h2", web4, None)],
        hosts: vec![host("h1", "heard"), host("h2", "silent")],
        routers: vec![("slr2".parse().expect("a name"), true)],
        handshakes_refused: vec![("expired", 2), ("revoked", 0)],
        messages_bad: vec![("misplaced", 1)],
        inputs_missing: vec![("queue_depth".into(), 3)],
        paths: vec![path("h1", "10.1.11.2", "alive"), path("h2", "fd00:1:12::2", "lost")],
        keepalives: KEEPALIVE_RESULTS.map(|result| (result, 9)).to_vec(),
        alarms: ALARMS.map(|kind| (kind, 0)).to_vec(),
        announced: [("192.0.2.0/24", "normal"), ("2001:db8:100::/48", "withdrawn")]
            .map(|(net, level)| (net.parse().expect("a prefix"), level))
            .to_vec(),
        announce_changes: ANNOUNCED_LEVELS.map(|level| (level, 2)).to_vec(),
        announce_failing: Some(false),
        config: Config {
            reloads_applied: 1,
            is_last_good: true,
            in_force_since_s: Some(1_700_000_000),
            ..Config::default()
        },
        control: Control {
            turns: 99,
            busy: Duration::from_millis(1_500),
            longest: Duration::from_millis(12),
            evaluation: Some(Duration::from_micros(800)),
        },
        recovered: vec![("mirror", 80), ("same-answer", 90), ("chain", 30), ("whohas", 7)],
        claims: vec![("pinned", 120), ("known", 3), ("owned", 1)],
        adverts: vec![("pinned", 1), ("owned", 1)],
        half_open: vec![("nudged", 2), ("refused", 0)],
        flow_epoch: Some(7),
        flow_epochs_refused: Some(1),
        mirrors: vec![Mirror {
            router: "slr2".parse().expect("a name"),
            told: "warm",
            heard: "lagging",
            lags: vec![
                ("p50", Duration::from_millis(21)),
                ("p99", Duration::from_millis(30)),
                ("max", Duration::from_millis(40)),
            ],
            queue: 3,
            flows: vec![("sent", 120), ("pinned", 80), ("owned", 1)],
            resyncs: 1,
        }],
        mirror_lost: Some(0),
        certificates: vec![("own", 4_000_000_000), ("ca", 4_100_000_000), ("crl", 4_000_000_000)],
    }
}

fn key(text: &str) -> ServiceKey {
    text.parse().expect("a service of a subnet")
}

fn loads(name: &str, value: f64) -> Loads {
    let mut loads = Loads::new();
    loads.set(name.parse().expect("a name of a load"), value).expect("a finite value");
    loads
}

fn reason((reason, verdict, packets): (&'static str, &'static str, u64)) -> Reason {
    Reason { reason, verdict, packets, bytes: packets * 100 }
}

fn hop(host: &str, is_up: bool) -> Hop {
    Hop { host: host.into(), packets: 2_500, bytes: 250_000, new_flows: 60, is_up, mtu: 1_500 }
}

fn subnet(subnet: &str, account: u32) -> Subnet {
    Subnet { subnet: subnet.parse().expect("a subnet"), account, packets: 5_007, bytes: 500_700, new_flows: 120 }
}

fn ring(key: ServiceKey) -> Ring {
    Ring { key, class: "default".into(), slots: 4_093, slots_moved: 17, clipped: 1 }
}

fn service(host: &str, key: ServiceKey, state: &'static str) -> HostService {
    HostService {
        host: host.parse().expect("a name"),
        key,
        state,
        state_age: Duration::from_secs(60),
        is_held: false,
        flows: 600,
        loads: loads("queue_depth", 4.0),
    }
}

fn place(host: &str, key: ServiceKey, cost: Option<f64>) -> Place {
    Place { host: host.parse().expect("a name"), key, class: "default".into(), cost, weight: 100, share: 0.5 }
}

fn host(host: &str, session: &'static str) -> Host {
    Host { host: host.parse().expect("a name"), session, loads: loads("cpu", 0.37) }
}

fn path(host: &str, address: &str, state: &'static str) -> Path {
    let rtt_us = (state == "alive").then_some(850);
    let loss = if state == "alive" { 0.0 } else { 1.0 };
    let (host, address) = (host.parse().expect("a name"), address.parse().expect("an address"));
    Path { host, address, state, rtt_us, rtt_us_min: rtt_us, loss }
}
