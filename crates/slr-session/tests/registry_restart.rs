//! A router that is started again goes on as it was.

mod registry_support;

use registry_support::{ALIVE, Bench, key, ms, web};
use slr_model::HostState;
use slr_session::registry::{ContactView, HOSTS_MAX, PathReport, Registry, ServiceState, Settings, Snapshot};

fn bench(hosts: u16) -> Bench {
    let mut bench = Bench::new(Settings::default());
    (1..=hosts).for_each(|n| bench.start(n));
    bench
}

#[test]
fn a_snapshot_comes_back_as_it_was() {
    let mut bench = bench(6);
    bench.advertise(2, HostState::Draining);
    bench.advertise(3, HostState::Down);
    bench.advertise_all(4, &[(web(), HostState::Active), (key("udp/53@2001:db8:2::/64"), HostState::Active)]);
    bench.disconnect(4);
    bench.path(5, PathReport::Lost);
    bench.disconnect(5);
    bench.wait_hearing(ms(500), &[1, 6]);
    bench.advertise(2, HostState::Draining);
    bench.advertise(3, HostState::Down);
    let before = bench.registry.snapshot(bench.now);
    bench.restart();
    assert_eq!(bench.registry.snapshot(bench.now), before);
    let states: Vec<_> = (1..=5).map(|n| bench.state(n)).collect();
    use ServiceState::{Active, Down, Draining, Silent};
    assert_eq!(states, [Active, Draining, Down, Silent, Down]);
    assert_eq!(bench.state_of(4, &key("udp/53@2001:db8:2::/64")), Active, "held before, held now");
    assert_eq!(bench.registry.alarms().count(), 1);
}

#[test]
fn no_host_is_down_because_its_router_was_started_again() {
    const HOSTS: u16 = 1_000;
    let mut bench = bench(HOSTS);
    bench.restart();
    let generation = bench.registry.generation();
    assert!((1..=HOSTS).all(|n| bench.state(n) == ServiceState::Active));
    // They come back over six seconds, each when its back-off lets it; keepalives answer meanwhile.
    for n in 1..=HOSTS {
        bench.path(n, ALIVE);
        bench.advertise(n, HostState::Active);
        bench.wait(ms(6));
        if n % 50 == 0 {
            (1..=n).for_each(|n| bench.advertise(n, HostState::Active));
        }
    }
    assert!((1..=HOSTS).all(|n| bench.state(n) == ServiceState::Active));
    assert_eq!(bench.registry.generation(), generation, "no state changed");
    let ramps = bench
        .registry
        .hosts()
        .filter(|host| host.service(&web()).unwrap().returned_at().is_some_and(|at| at + ms(6_000) > bench.now));
    assert_eq!(ramps.count(), 0, "nobody begins again from a small share");
}

#[test]
fn hosts_that_do_not_come_back_are_silent_unless_they_are_most() {
    for (back, expected) in [(3u16, ServiceState::Silent), (1, ServiceState::Active)] {
        let mut bench = bench(4);
        bench.restart();
        let stay: Vec<u16> = (1..=back).collect();
        bench.wait_hearing(ms(9_900), &stay);
        assert!(matches!(bench.registry.host("h4").unwrap().contact(), ContactView::Adopted { .. }));
        assert_eq!(bench.state(4), ServiceState::Active);
        bench.wait_hearing(ms(200), &stay);
        assert_eq!(bench.state(4), expected, "{back} are back");
    }
}

#[test]
fn hosts_that_are_gone_for_good_are_down_after_the_hold() {
    let mut bench = bench(3);
    bench.restart();
    bench.path(3, PathReport::Lost);
    bench.wait_hearing(ms(9_900), &[1, 2]);
    assert_eq!(bench.state(3), ServiceState::Active);
    bench.wait_hearing(ms(200), &[1, 2]);
    assert_eq!(bench.state(3), ServiceState::Down);
}

#[test]
fn what_is_wrong_in_a_snapshot_is_left_out_by_name() {
    let mut bench = bench(2);
    let mut snapshot = bench.registry.snapshot(bench.now);
    let (mut same_address, mut disordered, good) =
        (snapshot.hosts[1].clone(), snapshot.hosts[1].clone(), snapshot.hosts[1].clone());
    same_address.name = "copy".parse().unwrap();
    same_address.tunnels = snapshot.hosts[0].tunnels.clone();
    disordered.name = "odd".parse().unwrap();
    disordered.tunnels = vec!["10.2.0.1".parse().unwrap()];
    disordered.services.push(disordered.services[0].clone());
    snapshot.hosts.extend([same_address, disordered, good]);
    let adopted = Registry::new(Settings::default()).adopt(snapshot, bench.now);
    assert_eq!(adopted.hosts, 2);
    assert_eq!(
        adopted.skipped,
        [
            "copy: it has no tunnel address of its own",
            "odd: its services are not in order",
            "h2: a host of that name is registered already",
        ]
    );
    let mut many = Registry::new(Settings::default());
    let host = bench.registry.snapshot(bench.now).hosts.remove(0);
    let hosts = (0..HOSTS_MAX as u32 + 1).map(|n| {
        let mut host = host.clone();
        host.name = format!("n{n}").parse().unwrap();
        host.tunnels = vec![std::net::IpAddr::from((0x0a00_0000 + n).to_be_bytes())];
        host
    });
    let adopted = many.adopt(Snapshot { hosts: hosts.collect() }, bench.now);
    assert_eq!((adopted.hosts, adopted.skipped.len()), (HOSTS_MAX, 1));
    bench.wait(ms(1));
}
