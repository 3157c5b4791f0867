//! Losses: of one host, of most of them, of this router's own making.

mod registry_support;

use registry_support::{ALIVE, Bench, advert, hello, identity, key, ms, service, web};
use slr_model::HostState;
use slr_session::registry::{AlarmKey, Event, Hello, PathReport, ServiceState, Settings};

fn bench(hosts: u16) -> Bench {
    let mut bench = Bench::new(Settings::default());
    (1..=hosts).for_each(|n| bench.start(n));
    bench.events();
    bench
}

fn states(bench: &Bench, hosts: u16) -> Vec<ServiceState> {
    (1..=hosts).map(|n| bench.state(n)).collect()
}

fn alarms(bench: &Bench) -> Vec<String> {
    bench.registry.alarms().map(ToString::to_string).collect()
}

/// The state changes among the events, and nothing else of them.
fn changes(bench: &mut Bench) -> usize {
    bench.events().iter().filter(|event| matches!(event, Event::State { .. })).count()
}

#[test]
fn a_host_that_stops_is_silent_after_its_time_and_a_window() {
    let mut bench = bench(3);
    bench.deaf.insert(1);
    bench.wait_hearing(ms(2_799), &[2, 3]);
    assert_eq!(bench.state(1), ServiceState::Active);
    bench.wait_hearing(ms(1), &[2, 3]);
    assert_eq!(bench.state(1), ServiceState::Silent);
    bench.wait_hearing(ms(60_000), &[2, 3]);
    assert_eq!(bench.state(1), ServiceState::Silent, "a silent host with a living path stays silent");
}

#[test]
fn a_host_whose_link_is_cut_is_down_in_time() {
    // Whenever its last advert came: the path is in doubt 110 ms after the first keepalive that is lost, which is sent up to
    // 400 ms after the cut, and lost 680 ms after that.
    for before_ms in [0, 300, 600, 999] {
        for cut_ms in [0, 200, 399] {
            let mut bench = bench(3);
            bench.wait_hearing(ms(before_ms), &[2, 3]);
            bench.deaf.insert(1);
            let cut = bench.now;
            bench.wait_hearing(ms(cut_ms + 110), &[2, 3]);
            bench.path(1, PathReport::Doubted);
            bench.wait_hearing(ms(680), &[2, 3]);
            bench.path(1, PathReport::Lost);
            bench.wait_hearing(ms(21), &[2, 3]);
            let state = bench.state(1);
            assert_eq!(state, ServiceState::Down, "{before_ms} ms, {cut_ms} ms, {:?} after the cut", bench.now - cut);
        }
    }
}

#[test]
fn a_host_that_answers_asks_is_not_given_up_and_asked_no_more() {
    let mut bench = bench(3);
    bench.path(1, PathReport::Doubted);
    bench.wait_hearing(ms(1_000), &[2, 3]);
    bench.path(1, PathReport::Lost);
    bench.wait_hearing(ms(1_000), &[2, 3]);
    assert_eq!(bench.state(1), ServiceState::Silent);
    let view = bench.registry.host("h1").unwrap();
    let reason = view.service(&web()).unwrap().reason().to_string();
    assert_eq!(reason, "adverts come, its tunnel does not answer");
    let heard = bench.registry.counters().adverts;
    bench.wait(ms(1_400));
    assert!(bench.registry.counters().adverts - heard <= 6, "three hosts, asked after a second and a half");
}

#[test]
fn losses_by_chance_are_answered_by_the_next_ask() {
    let mut bench = bench(3);
    bench.deaf.insert(1);
    bench.wait_hearing(ms(2_000), &[2, 3]);
    // Five asks were lost, and two adverts.
    bench.deaf.clear();
    bench.wait_hearing(ms(1_400), &[2, 3]);
    assert_eq!((bench.state(1), changes(&mut bench)), (ServiceState::Active, 0));
    // The same of a path that was in doubt for a moment.
    bench.deaf.insert(1);
    bench.path(1, PathReport::Doubted);
    bench.wait_hearing(ms(390), &[2, 3]);
    bench.path(1, ALIVE);
    bench.wait_hearing(ms(900), &[2, 3]);
    assert_eq!((bench.state(1), changes(&mut bench)), (ServiceState::Active, 0));
}

#[test]
fn a_host_that_does_not_know_asks_is_only_silent_later() {
    let mut bench = bench(3);
    let session = bench.number();
    let old = Hello { answers_asks: false, ..hello(1, 1, session) };
    let (connection, _) = bench.welcome(identity(1), old).unwrap();
    bench.connections.insert(1, connection);
    bench.advertise(1, HostState::Active);
    bench.events();
    bench.path(1, PathReport::Doubted);
    bench.wait_hearing(ms(900), &[2, 3]);
    assert_eq!(bench.state(1), ServiceState::Active);
    bench.path(1, PathReport::Lost);
    bench.wait_hearing(ms(400), &[2, 3]);
    assert_eq!(bench.state(1), ServiceState::Silent);
    bench.wait_hearing(ms(1_600), &[2, 3]);
    assert_eq!(bench.state(1), ServiceState::Down, "neither heard nor reached");
}

#[test]
fn all_hosts_cut_off_at_once_are_held_with_one_alarm_and_no_change() {
    let mut bench = bench(3);
    (1..=3).for_each(|n| bench.disconnect(n));
    bench.wait(ms(10_000));
    assert_eq!(states(&bench, 3), [ServiceState::Active; 3]);
    let alarm = "3 of 3 hosts of tcp/80@192.0.2.0/24 vanished at once (h1, h2, h3): the fault is more likely here, so \
                 they keep their place and their flows; check this router's links and control port, or release \
                 tcp/80@192.0.2.0/24 if they are really gone";
    assert_eq!(alarms(&bench), [alarm]);
    assert_eq!(changes(&mut bench), 0);
    (1..=3).for_each(|n| bench.path(n, PathReport::Lost));
    bench.wait(ms(10_000));
    assert_eq!(states(&bench, 3), [ServiceState::Active; 3], "their paths are as doubtful");
}

#[test]
fn hosts_that_advert_at_different_moments_vanish_together() {
    // All are cut off a second from now; the last adverts are up to an interval apart, which is more than a window.
    let mut bench = bench(4);
    bench.deaf.extend(1..=4);
    for n in 1..=4 {
        bench.advertise(n, HostState::Active);
        bench.wait(ms(333));
    }
    bench.wait(ms(5_000));
    assert_eq!(states(&bench, 4), [ServiceState::Active; 4]);
    assert_eq!(bench.registry.alarms().count(), 1);
    assert_eq!(changes(&mut bench), 0);
}

#[test]
fn hosts_whose_links_are_cut_at_once_vanish_together() {
    // Their keepalives are due at different moments of 400 ms, most of them late.
    for phases_ms in [[0, 390, 395, 400], [0, 5, 300, 400], [0, 100, 200, 300], [0, 0, 310, 320]] {
        let mut bench = bench(4);
        bench.deaf.extend(1..=4);
        let cut = bench.now;
        let doubts = (1..).zip(phases_ms).map(|(n, phase)| (phase + 110, n, PathReport::Doubted));
        let losses = (1..).zip(phases_ms).map(|(n, phase)| (phase + 790, n, PathReport::Lost));
        let mut reports: Vec<_> = doubts.chain(losses).collect();
        reports.sort_by_key(|(at_ms, n, _)| (*at_ms, *n));
        for (at_ms, n, report) in reports {
            bench.wait(cut + ms(at_ms) - bench.now);
            bench.path(n, report);
        }
        bench.wait(ms(5_000));
        assert_eq!(states(&bench, 4), [ServiceState::Active; 4], "{phases_ms:?}");
        assert_eq!((bench.registry.alarms().count(), changes(&mut bench)), (1, 0), "{phases_ms:?}");
    }
}

#[test]
fn half_of_the_hosts_may_vanish_and_one_more_may_not() {
    let mut bench = bench(4);
    bench.disconnect(1);
    bench.disconnect(2);
    bench.wait_hearing(ms(400), &[3, 4]);
    assert_eq!(states(&bench, 2), [ServiceState::Silent; 2]);
    assert_eq!(alarms(&bench), Vec::<String>::new());
    // Of the two that are left, one may go, and then the last one stays.
    bench.disconnect(3);
    bench.wait_hearing(ms(400), &[4]);
    assert_eq!(bench.state(3), ServiceState::Silent);
    bench.disconnect(4);
    bench.wait(ms(400));
    assert_eq!((bench.state(4), bench.is_held(4)), (ServiceState::Active, true));
}

#[test]
fn a_hold_ends_when_the_hosts_are_back() {
    let mut bench = bench(3);
    (1..=3).for_each(|n| bench.disconnect(n));
    bench.wait(ms(400));
    let held_ramp = bench.registry.host("h1").unwrap().service(&web()).unwrap().returned_at();
    bench.advertise(1, HostState::Active);
    assert!(!bench.is_held(1) && bench.is_held(2));
    bench.advertise(2, HostState::Active);
    bench.advertise(3, HostState::Active);
    assert_eq!(bench.registry.alarms().count(), 0);
    assert_eq!(changes(&mut bench), 0, "nothing moved");
    let ramp = bench.registry.host("h1").unwrap().service(&web()).unwrap().returned_at();
    assert_eq!(ramp, held_ramp, "a host that never left its place has no ramp");
}

#[test]
fn those_that_do_not_come_back_go_when_most_have() {
    let mut bench = bench(3);
    (1..=3).for_each(|n| bench.disconnect(n));
    bench.wait(ms(400));
    bench.path(3, PathReport::Lost);
    bench.start(1);
    bench.start(2);
    bench.wait_hearing(ms(4_900), &[1, 2]);
    assert!(bench.is_held(3), "it has five seconds to do as the others did");
    bench.wait_hearing(ms(200), &[1, 2]);
    assert_eq!((bench.state(3), bench.is_held(3)), (ServiceState::Down, false));
    assert_eq!(bench.registry.alarms().count(), 0);
}

#[test]
fn an_operator_releases_a_hold() {
    let mut bench = bench(3);
    (1..=3).for_each(|n| bench.disconnect(n));
    bench.path(1, PathReport::Lost);
    bench.wait(ms(400));
    assert_eq!(bench.registry.release_hold(&web(), bench.now), 3);
    assert_eq!(states(&bench, 3), [ServiceState::Down, ServiceState::Silent, ServiceState::Silent]);
    let cleared = bench.events().iter().filter(|event| matches!(event, Event::AlarmCleared(_))).count();
    assert_eq!((cleared, bench.registry.alarms().count()), (1, 0));
    assert_eq!(bench.registry.release_hold(&web(), bench.now), 0);
}

#[test]
fn a_held_host_that_says_what_it_is_is_believed() {
    let mut bench = bench(2);
    bench.path(1, PathReport::Lost);
    bench.path(2, PathReport::Lost);
    bench.wait_hearing(ms(400), &[1, 2]);
    assert!(bench.is_held(1) && bench.is_held(2));
    bench.advertise(1, HostState::Down);
    assert_eq!((bench.state(1), bench.is_held(1)), (ServiceState::Down, false));
    assert!(bench.is_held(2), "there is nobody else");
}

#[test]
fn silent_hosts_of_a_held_service_do_not_go_down() {
    let mut bench = bench(4);
    bench.disconnect(4);
    bench.wait_hearing(ms(2_000), &[1, 2, 3]);
    assert_eq!(bench.state(4), ServiceState::Silent);
    // Our data link fails: first the active hosts' keepalives are missed, then the silent one's.
    (1..=4).for_each(|n| bench.path(n, PathReport::Lost));
    bench.wait_hearing(ms(2_000), &[1, 2, 3]);
    assert_eq!(states(&bench, 4)[..3], [ServiceState::Active; 3]);
    assert_eq!(bench.state(4), ServiceState::Silent, "what its path shows is as doubtful");
    (1..=3).for_each(|n| bench.path(n, ALIVE));
    assert_eq!(bench.state(4), ServiceState::Down, "now it is not");
}

#[test]
fn a_service_is_held_and_the_one_beside_it_is_not() {
    let name_service = key("udp/53@192.0.2.0/24");
    let mut bench = bench(3);
    for n in 1..=3 {
        bench.advertise(n, HostState::Active);
    }
    bench.advertise_all(1, &[(web(), HostState::Active), (name_service, HostState::Active)]);
    bench.disconnect(1);
    bench.wait_hearing(ms(400), &[2, 3]);
    assert_eq!(bench.state_of(1, &web()), ServiceState::Silent);
    assert_eq!(bench.state_of(1, &name_service), ServiceState::Active, "it is that service's only host");
    let about: Vec<_> = bench.registry.alarms().map(|alarm| alarm.key.clone()).collect();
    assert_eq!(about, [AlarmKey::Vanish(name_service)]);
}

#[test]
fn a_router_that_was_stopped_judges_nobody_by_it() {
    let mut bench = bench(4);
    bench.disconnect(4);
    bench.wait(ms(100));
    // Five seconds without running: every timer is overdue, and the adverts are in the sockets' buffers.
    bench.now += ms(5_000);
    bench.registry.handle_timeout(bench.now);
    assert_eq!(states(&bench, 4), [ServiceState::Active; 4]);
    (1..=3).for_each(|n| bench.advertise(n, HostState::Active));
    bench.wait_hearing(ms(400), &[1, 2, 3]);
    assert_eq!(states(&bench, 4)[..3], [ServiceState::Active; 3]);
    assert_eq!(bench.state(4), ServiceState::Silent, "this one is really gone");
    assert_eq!(bench.registry.counters().windows_extended, 1);
}

#[test]
fn a_service_of_a_returning_host_waits_for_its_own_word() {
    let name_service = key("udp/53@192.0.2.0/24");
    let mut bench = bench(3);
    bench.advertise_all(1, &[(web(), HostState::Active), (name_service, HostState::Active)]);
    bench.advertise_all(2, &[(web(), HostState::Active), (name_service, HostState::Active)]);
    bench.disconnect(1);
    let alive = |bench: &mut Bench, duration| {
        bench.advertise_all(2, &[(web(), HostState::Active), (name_service, HostState::Active)]);
        bench.wait_hearing(duration, &[3]);
    };
    alive(&mut bench, ms(400));
    assert_eq!(bench.state_of(1, &name_service), ServiceState::Silent);
    // hostd was started again; a part of its advert overtakes the whole one, which says that a service is down.
    let connection = bench.connect(1);
    let part = advert(&[(web(), HostState::Active)]);
    bench.registry.advert(connection, 2, false, part, bench.now).unwrap();
    assert_eq!(bench.state(1), ServiceState::Active);
    assert_eq!(bench.state_of(1, &name_service), ServiceState::Silent);
    let mut whole = advert(&[(web(), HostState::Draining)]);
    let mut down = service(name_service, HostState::Down);
    down.reason = "no reply, 3 times".to_owned();
    whole.services.push(down);
    bench.registry.advert(connection, 1, true, whole, bench.now).unwrap();
    assert_eq!(bench.state(1), ServiceState::Active, "a newer advert said so");
    assert_eq!(bench.state_of(1, &name_service), ServiceState::Down);
    let host = bench.registry.host("h1").unwrap();
    assert_eq!(host.service(&name_service).unwrap().reason().to_string(), "said by the host: no reply, 3 times");
}
