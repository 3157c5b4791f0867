//! A snapshot in which nothing is missing, for tests here and against Prometheus.

use std::time::Duration;

use slr_model::{Loads, ServiceKey};

use super::*;

/// Two services, one of them down, and two routers.
pub fn sample() -> Snapshot {
    let (web4, dns6) = (key("tcp/80@192.0.2.0/24"), key("udp/53@2001:db8:100::/48"));
    Snapshot {
        reasons: [("deliver", "pass", 900), ("drop_stranger", "drop", 3)].map(reason).to_vec(),
        subnets: vec![subnet("192.0.2.0/24", Some(1)), subnet("2001:db8:100::/48", None)],
        services: vec![service(web4, "active"), service(dns6, "down")],
        checks: vec![check(web4, "http", true), check(dns6, "udp", false)],
        loads: loads("cpu", 0.37),
        load_failures: vec![("queue_depth".into(), 2)],
        sessions: vec![("slr1".parse().expect("a name"), "connected"), ("slr2".parse().expect("a name"), "waiting")],
        handshakes_failed: vec![("expired", 4)],
        messages_bad: vec![("misplaced", 1)],
        recovery: Recovery {
            stalls: vec![("stalled", 3), ("recovered", 2)],
            echoes: vec![("asked", 4), ("answered", 2)],
            watched: 12,
            swept_for: Duration::from_millis(40),
            key_epoch: 7,
        },
        is_draining: false,
        flows: 640,
        config: Config {
            reloads_applied: 1,
            is_last_good: true,
            in_force_since_s: Some(1_700_000_000),
            ..Config::default()
        },
        control: Control { turns: 99, busy: Duration::from_millis(1_500), longest: Duration::from_millis(12) },
        certificates: vec![("own", 4_000_000_000), ("ca", 4_100_000_000)],
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

fn subnet(subnet: &str, account: Option<u32>) -> Subnet {
    let subnet = subnet.parse().expect("a subnet");
    Subnet {
        subnet,
        account,
        received_packets: 900,
        received_bytes: 90_000,
        sent_packets: 1_800,
        sent_bytes: 2_600_000,
    }
}

fn service(key: ServiceKey, state: &'static str) -> Service {
    Service { key, state, state_age: Duration::from_secs(60), flows: 320, loads: loads("queue_depth", 4.0) }
}

fn check(key: ServiceKey, check: &'static str, is_healthy: bool) -> Check {
    Check { key, check, is_healthy, successes: 100, failures: 5, took: Some(Duration::from_millis(2)) }
}
