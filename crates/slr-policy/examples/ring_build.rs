//! How long a ring takes to build: 65,537 slots over 1,000 hosts, fresh, and with one host gone and history merged.
//!
//! Run it with `cargo run --release --package slr-policy --example ring_build`; a number as argument sets the rounds.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use slr_model::{HopId, Weight};
use slr_policy::{HopSet, Member, Placement, Ring, RingBuilder, RingSize};

const HOSTS: u16 = 1_000;

fn main() {
    let rounds = std::env::args().nth(1).map_or(200, |text| text.parse().expect("the argument is a number of rounds"));
    let placement = Placement { size: RingSize::MAX, seed: 1 };
    let removed: HopSet = [HopId::new(HOSTS).expect("in range")].into_iter().collect();
    println!("{:<44} {:>10} {:>10} {:>10}", "65,537 slots, 1,000 hosts", "median_us", "p95_us", "min_us");
    for (what, weight) in [("equal weights", (|_| 100) as fn(u16) -> u16), ("weights 1 to 1,000", |host| host)] {
        let members: Vec<Member> = (1..=HOSTS).map(|host| member(host, weight(host))).collect();
        let fewer = &members[..members.len() - 1];
        let mut builder = RingBuilder::new();
        let before = builder.build(&members, placement).expect("members are distinct");
        let smaller = builder.build(&members, Placement { size: RingSize::STEPS[2], seed: 1 }).expect("as before");
        let mut report = |case: &str, previous: &Ring, members: &[Member], removed: &HopSet| {
            let times = measure(rounds, || {
                black_box(builder.advance(previous, members, placement, removed).expect("members are distinct"));
            });
            print_row(&format!("{what}, {case}"), times);
        };
        report("fresh", &Ring::EMPTY, &members, &HopSet::new());
        report("one host drains", &before, fewer, &HopSet::new());
        report("one host removed", &before, fewer, &removed);
        report("grown from 16,411", &smaller, &members, &HopSet::new());
    }
}

fn member(host: u16, weight: u16) -> Member {
    Member {
        name: format!("host-{host}.site-a").parse().expect("a valid name"),
        hop: HopId::new(host).expect("in range"),
        weight: Weight::new(weight).expect("in range"),
    }
}

fn measure(rounds: usize, mut build: impl FnMut()) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            build();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times
}

fn print_row(what: &str, times: Vec<Duration>) {
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    println!("{what:<44} {:>10.0} {:>10.0} {:>10.0}", at(50), at(95), at(0));
}
