//! What an evaluation of 1,000 hosts costs: when nothing changed, when a load did, when all did.
//!
//! Run it with `cargo run --release --package slr-policy --example balance`. At the shipped interval of 400 ms, two per
//! cent of a core are 8,000 µs an evaluation.

use std::time::{Duration, Instant};

use slr_model::{Loads, NodeName, PlacementPolicy, Weight};
use slr_policy::{Balancer, HostInput, Placement, Policy, RingInput};

const HOSTS: usize = 1_000;
const ROUNDS: usize = 200;

fn main() {
    let names: Vec<NodeName> =
        (0..HOSTS).map(|host| format!("host-{host:04}.site-a").parse().expect("a name")).collect();
    println!(
        "{:<44} {:>10} {:>10} {:>10} {:>8} {:>8}",
        "1,000 hosts, 65,537 slots", "median_us", "p95_us", "max_us", "builds", "moved"
    );
    let quiet: fn(usize, usize) -> f64 = |_, _| 0.7;
    let one: fn(usize, usize) -> f64 = |host, round| if host == 7 { 0.5 + 0.3 * (round / 10 % 2) as f64 } else { 0.7 };
    let noise: fn(usize, usize) -> f64 =
        |host, round| 0.7 + 0.15 * (((host * 7_919 + round * 104_729) % 97) as f64 / 48.0 - 1.0);
    let all: fn(usize, usize) -> f64 = |host, round| if (host + round / 20).is_multiple_of(2) { 0.5 } else { 0.9 };
    for (what, load) in
        [("nothing changes", quiet), ("one host changes", one), ("noise of 15 %", noise), ("half against half", all)]
    {
        let (mut times, builds, moved) = measure(&names, load);
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
        println!("{what:<44} {:>10.0} {:>10.0} {:>10.0} {builds:>8.2} {moved:>8.0}", at(50), at(95), at(100));
    }
}

/// Times of the evaluations after the first, and means of rings built and slots moved.
fn measure(names: &[NodeName], load: fn(usize, usize) -> f64) -> (Vec<Duration>, f64, f64) {
    let policy = Policy::new(PlacementPolicy::Weighted);
    let (mut balancer, none, start) = (Balancer::new(), Loads::new(), Instant::now());
    let (mut times, mut builds, mut moved) = (Vec::new(), 0.0, 0.0);
    for round in 0..=ROUNDS {
        let loads: Vec<Loads> = (0..names.len())
            .map(|host| {
                let mut loads = Loads::new();
                loads.set("load".parse().expect("a name"), load(host, round)).expect("finite");
                loads
            })
            .collect();
        let input = |(name, loads)| HostInput {
            name,
            placed: true,
            node_loads: loads,
            loads: &none,
            rtt_ms: Some(0.3),
            loss: Some(0.0),
            weight: Weight::default(),
            flows: Some(100),
            routing_cost: 1.0,
            returned_at: None,
        };
        let hosts: Vec<HostInput> = names.iter().zip(&loads).map(input).collect();
        let ring = RingInput { placement: Placement::for_hosts(HOSTS, 1), hour: 12.0, hosts: &hosts };
        let now = start + policy.damping.interval * round as u32;
        let begun = Instant::now();
        let done = balancer.evaluate(&(), now, &policy, &ring).expect("names are distinct");
        if round > 0 {
            times.push(begun.elapsed());
            builds += f64::from(done.builds) / ROUNDS as f64;
            moved += f64::from(done.moved_by_cost) / ROUNDS as f64;
        }
    }
    (times, builds, moved)
}
