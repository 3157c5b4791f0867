//! The router program loads, places, pins and forwards.

use slr_dataplane::reason::RouterReason;
use slr_dataplane::router::{Desired, Host, Link, Router, RouterOptions, Subnet, XdpVerdict};
use slr_model::{HostState, Weight};

#[test]
fn loads_and_forwards() {
    let (mut router, adoption) =
        Router::load(&RouterOptions { flows_per_family: 1000, ..RouterOptions::default() }).unwrap();
    println!("{adoption:?}");
    let link = Link {
        destination: "02:00:00:00:00:01".parse().unwrap(),
        source: "02:00:00:00:00:02".parse().unwrap(),
        ifindex: 0,
        mtu: 1500,
    };
    let host = |n: u8| Host {
        name: format!("h{n}").parse().unwrap(),
        address: format!("10.1.0.{n}").parse().unwrap(),
        state: HostState::Active,
        link: Some(link),
    };
    let desired = Desired {
        sources: vec!["10.1.255.0/24".parse().unwrap()],
        hosts: (1..=3).map(host).collect(),
        subnets: vec![Subnet {
            prefix: "192.0.2.0/24".parse().unwrap(),
            account: 1,
            services: None,
            orphan: Default::default(),
            echo: Default::default(),
            key_mask: Default::default(),
            members: (1..=3).map(|n| (format!("h{n}").parse().unwrap(), Weight::default())).collect(),
        }],
        ..Desired::default()
    };
    println!("{:?}", router.apply(&desired).unwrap());
    println!("{:?}", router.apply(&desired).unwrap());
    let mut frame = vec![0u8; 54];
    frame[12] = 8;
    frame[14] = 0x45;
    frame[17] = 40;
    frame[22] = 64;
    frame[23] = 6;
    frame[26..30].copy_from_slice(&[198, 51, 100, 7]);
    frame[30..34].copy_from_slice(&[192, 0, 2, 9]);
    frame[34..38].copy_from_slice(&[0x9c, 0x40, 0, 80]);
    frame[46] = 0x50;
    frame[47] = 2;
    let run = router.test_run(&frame).unwrap();
    assert_eq!(run.verdict, XdpVerdict::Tx);
    println!("{:02x?}", run.packet);
    frame[47] = 0x10;
    frame[41] = 1;
    let run = router.test_run(&frame).unwrap();
    println!("{:?}", run.verdict);
    for (r, c) in router.reasons().unwrap() {
        if c.packets > 0 {
            println!("{} {:?}", r.name(), c);
        }
    }
    println!("{:?}", router.flows(10, |_| true).unwrap());
    println!("{:?} {:?}", router.hops().unwrap(), router.subnets().unwrap());
    let mut v = Vec::new();
    for _ in 0..2000 {
        v.push(router.test_run(&frame).unwrap().nanoseconds);
    }
    v.sort();
    println!("ns min {} median {}", v[0], v[1000]);
    assert!(router.reasons().unwrap().iter().any(|(r, c)| *r == RouterReason::FwdEstablished && c.packets > 0));
}
