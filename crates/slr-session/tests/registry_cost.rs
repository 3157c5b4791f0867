//! What the registry costs: 1,000 hosts must leave a router's core nearly all of its time.

mod registry_support;

use std::time::{Duration, Instant};

use registry_support::{Bench, advert, key, ms};
use slr_model::{HostState, LoadName, ServiceKey};
use slr_session::registry::Settings;

const HOSTS: u16 = 1_000;
const SERVICES: u16 = 4;
const ROUNDS: u64 = 20;

/// Far more than it takes, so that a busy machine does not fail it: a per-advert scan of all hosts would.
const SERVICE_COST_MAX: Duration = Duration::from_micros(10);

fn services() -> Vec<(ServiceKey, HostState)> {
    (0..SERVICES).map(|n| (key(&format!("tcp/{}@192.0.2.0/24", 80 + n)), HostState::Active)).collect()
}

#[test]
fn an_advert_that_changes_nothing_is_cheap_and_moves_nothing() {
    let mut bench = Bench::new(Settings::default());
    for n in 1..=HOSTS {
        bench.start(n);
        bench.advertise_all(n, &services());
    }
    bench.events();
    let generation = bench.registry.generation();
    let (cpu, load): (LoadName, LoadName) = ("cpu".parse().unwrap(), "load".parse().unwrap());
    let mut spent = Duration::ZERO;
    for round in 0..ROUNDS {
        for n in 1..=HOSTS {
            let mut said = advert(&services());
            said.loads.set(load.clone(), round as f64 / 20.0).unwrap();
            said.services[0].loads.set(cpu.clone(), round as f64 / 40.0).unwrap();
            said.services[0].flows = round;
            let sequence = bench.number();
            let start = Instant::now();
            bench.registry.advert(bench.connections[&n], sequence, false, said, bench.now).unwrap();
            spent += start.elapsed();
        }
        let start = Instant::now();
        bench.wait(ms(400));
        spent += start.elapsed();
    }
    let each = spent / (u32::from(HOSTS) * u32::from(SERVICES) * ROUNDS as u32);
    println!("{} ns for each service of an advert, timers included", each.as_nanos());
    assert!(each < SERVICE_COST_MAX, "{each:?} for each service of an advert");
    assert_eq!((bench.registry.generation(), bench.events()), (generation, vec![]));
}

#[test]
fn a_thousand_hosts_vanish_and_return_in_a_blink() {
    let mut bench = Bench::new(Settings::default());
    for n in 1..=HOSTS {
        bench.start(n);
        bench.advertise_all(n, &services());
    }
    bench.deaf.extend(1..=HOSTS);
    let start = Instant::now();
    bench.wait(ms(5_000));
    assert_eq!(bench.registry.alarms().count(), usize::from(SERVICES));
    for n in 1..=HOSTS {
        bench.advertise_all(n, &services());
    }
    assert_eq!(bench.registry.alarms().count(), 0);
    let spent = start.elapsed();
    println!("{} ms", spent.as_millis());
    assert!(spent < Duration::from_secs(2), "{spent:?}");
}
