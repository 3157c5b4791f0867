//! Who owns a name, an address; what a certificate allows; what numbers are believed.

mod registry_support;

use registry_support::{ALIVE, Bench, advert, hello, identity, key, ms, web};
use slr_model::{HostState, NodeName};
use slr_session::registry::{
    AlarmKey, Cause, ConnectionId, Event, HOSTS_MAX, NotOwner, Refusal, RefusalCode, ServiceState, Settings,
};

fn bench(hosts: u16) -> Bench {
    let mut bench = Bench::new(Settings::default());
    (1..=hosts).for_each(|n| bench.start(n));
    bench.events();
    bench
}

fn closed(bench: &mut Bench) -> Vec<(ConnectionId, RefusalCode)> {
    let closes = bench.events().into_iter().filter_map(|event| match event {
        Event::Close { connection, refusal } => Some((connection, refusal.code)),
        _ => None,
    });
    closes.collect()
}

#[test]
fn a_later_session_takes_the_name_over_and_nothing_changes() {
    let mut bench = bench(2);
    let before = (bench.registry.generation(), bench.connections[&1]);
    bench.advertise(1, HostState::Active);
    let (new, admitted) = bench.welcome(identity(1), hello(1, 2, 0)).unwrap();
    assert_eq!((admitted.superseded, admitted.known), (Some(before.1), true));
    assert_eq!((bench.state(1), bench.registry.generation()), (ServiceState::Active, before.0));
    assert_eq!(closed(&mut bench), [(before.1, RefusalCode::Superseded)]);
    // What the old connection still has to say is about another owner.
    bench.registry.connection_lost(before.1, "closed", bench.now);
    let late = bench.registry.advert(before.1, 999, true, advert(&[(web(), HostState::Down)]), bench.now);
    assert_eq!((late, bench.state(1)), (Err(NotOwner(before.1)), ServiceState::Active));
    bench.registry.advert(new, 1, true, advert(&[(web(), HostState::Active)]), bench.now).unwrap();
    let view = bench.registry.host("h1").unwrap();
    assert_eq!(view.connection().map(|(id, ..)| id), Some(new));
    assert_eq!(bench.registry.generation(), before.0);
}

#[test]
fn an_earlier_session_is_refused_until_nobody_is_there() {
    let mut bench = bench(3);
    bench.welcome(identity(1), hello(1, 7, 0)).unwrap();
    let refusal = bench.welcome(identity(1), hello(1, 6, 99)).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Superseded);
    assert_eq!(
        refusal.to_string(),
        "session 6.99 of h1 is superseded by 7.0 from 10.1.0.2:50000: if this is the right node, stop the other; if \
         the clock was set back, wait until it is silent"
    );
    assert_eq!(bench.registry.alarms().count(), 0, "from the same machine: its own past");
    bench.wait_hearing(ms(2_900), &[2, 3]);
    let connection = bench.registry.host("h1").unwrap().connection().unwrap().0;
    assert!(bench.welcome(identity(1), hello(1, 6, 100)).is_err(), "it has a connection");
    bench.registry.connection_lost(connection, "closed", bench.now);
    assert!(bench.welcome(identity(1), hello(1, 6, 101)).is_ok(), "the clock was set back");
}

/// One case: what the second hello changes, and how it ends.
type Contest = (&'static str, fn(&mut slr_session::registry::Hello), Option<RefusalCode>, bool);

#[test]
fn two_nodes_with_one_name_are_found() {
    let cases: [Contest; 5] = [
        ("the same session again", |_| {}, Some(RefusalCode::NameInUse), true),
        (
            "a later session at another tunnel address",
            |hello| {
                hello.session.session += 1;
                hello.tunnels = vec!["10.1.9.9".parse().unwrap()];
            },
            Some(RefusalCode::NameInUse),
            true,
        ),
        (
            "an earlier session from elsewhere",
            |hello| {
                hello.session.incarnation -= 1;
                hello.remote = "10.9.9.9:1".parse().unwrap();
            },
            Some(RefusalCode::Superseded),
            true,
        ),
        ("an earlier session from here", |hello| hello.session.incarnation -= 1, Some(RefusalCode::Superseded), false),
        (
            "a later session with one address less",
            |hello| {
                hello.session.session += 1;
                hello.tunnels.truncate(1);
            },
            None,
            false,
        ),
    ];
    for (what, change, code, alarms) in cases {
        let mut bench = bench(2);
        let mut node = identity(1);
        node.tunnels.push("10.1.9.9/32".parse().unwrap());
        let mut second = hello(1, 5, 5);
        bench.welcome(node.clone(), second.clone()).unwrap();
        change(&mut second);
        let outcome = bench.welcome(node, second);
        assert_eq!(outcome.err().map(|refusal| refusal.code), code, "{what}");
        let name: NodeName = "h1".parse().unwrap();
        let about: Vec<_> = bench.registry.alarms().map(|alarm| alarm.key.clone()).collect();
        assert_eq!(about, if alarms { vec![AlarmKey::Name(name)] } else { vec![] }, "{what}");
        let count =
            |bench: &Bench| bench.registry.alarms().filter(|alarm| matches!(alarm.key, AlarmKey::Name(_))).count();
        bench.wait_hearing(ms(59_900), &[2]);
        assert_eq!(count(&bench), usize::from(alarms), "{what}");
        bench.wait_hearing(ms(200), &[2]);
        assert_eq!(count(&bench), 0, "{what}");
    }
}

#[test]
fn a_tunnel_address_has_one_name() {
    let mut bench = bench(3);
    let mut other = identity(9);
    other.tunnels.extend(identity(1).tunnels);
    let mut taken = hello(9, 1, 1);
    taken.tunnels = vec![hello(1, 0, 0).tunnels[0]];
    let refusal = bench.welcome(other.clone(), taken.clone()).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::TunnelTaken);
    assert_eq!(
        refusal.to_string(),
        "h9 and h1 both have the tunnel address 10.1.0.2: correct the tunnel address of one of them, in its \
         configuration and its certificate"
    );
    assert!(bench.registry.alarms().any(|alarm| alarm.key == AlarmKey::Tunnel(taken.tunnels[0])));
    // Once the old name is silent, the certificate of the new one decides: the machine was renamed.
    bench.disconnect(1);
    bench.wait_hearing(ms(400), &[2, 3]);
    taken.session.session += 1;
    bench.welcome(other, taken).unwrap();
    assert!(bench.registry.host("h1").is_none());
    let removed = bench.events().into_iter().any(|event| {
        matches!(event, Event::HostRemoved { name, reason } if name.as_str() == "h1" && reason.cause == Cause::AddressTaken)
    });
    assert!(removed);
}

/// One case: tunnel addresses, source prefixes, and how it ends.
type Claim = (&'static str, &'static [&'static str], &'static [&'static str], Option<RefusalCode>);

#[test]
fn a_hello_says_what_its_certificate_says() {
    let cases: [Claim; 6] = [
        ("no address", &[], &[], Some(RefusalCode::TunnelsInvalid)),
        ("two of a family", &["10.1.0.2", "10.1.0.3"], &[], Some(RefusalCode::TunnelsInvalid)),
        ("another's address", &["10.1.0.3"], &[], Some(RefusalCode::TunnelNotAllowed)),
        ("another's prefix", &["10.1.0.2"], &["10.1.0.0/24"], Some(RefusalCode::TunnelNotAllowed)),
        ("its IPv6 address", &["2001:db8:1::1"], &[], None),
        ("both, and its own prefix", &["2001:db8:1::1", "10.1.0.2"], &["10.1.0.2/32"], None),
    ];
    for (what, tunnels, prefixes, code) in cases {
        let mut bench = Bench::new(Settings::default());
        let mut said = hello(1, 1, 1);
        said.tunnels = tunnels.iter().map(|address| address.parse().unwrap()).collect();
        said.source_prefixes = prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect();
        let outcome = bench.welcome(identity(1), said);
        assert_eq!(outcome.err().map(|refusal| refusal.code), code, "{what}");
        assert_eq!(bench.registry.hosts_len(), usize::from(code.is_none()), "{what}");
    }
}

#[test]
fn a_neighbours_subnet_is_refused_and_the_rest_stands() {
    let mut bench = bench(2);
    let neighbours = key("tcp/80@198.51.100.0/24");
    for _ in 0..3 {
        bench.advertise_all(
            1,
            &[
                (web(), HostState::Active),
                (neighbours, HostState::Active),
                (key("any@192.0.2.128/25"), HostState::Active),
                (key("any@192.0.0.0/16"), HostState::Active),
            ],
        );
    }
    let services: Vec<_> = bench.registry.services().map(|key| key.to_string()).collect();
    assert_eq!(services, ["tcp/80@192.0.2.0/24", "any@192.0.2.128/25"]);
    let told = bench.events().into_iter().filter_map(|event| match event {
        Event::ServiceRefused { key, why, .. } => Some(format!("{key}: {why}")),
        _ => None,
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            "tcp/80@198.51.100.0/24: its certificate does not allow 198.51.100.0/24: issue one that does, or stop serving it",
            "any@192.0.0.0/16: its certificate does not allow 192.0.0.0/16: issue one that does, or stop serving it",
        ]
    );
    assert_eq!(bench.registry.counters().services_refused, 6);
}

#[test]
fn a_renewed_certificate_with_less_in_it_takes_the_rest_away() {
    let mut bench = bench(2);
    let mut renewed = identity(1);
    renewed.subnets.remove(0);
    bench.welcome(renewed, hello(1, 1, 1_000)).unwrap();
    assert_eq!(bench.state(1), ServiceState::Removed);
}

#[test]
fn what_was_withdrawn_stays_so_whatever_is_still_under_way() {
    let mut bench = bench(3);
    let connection = bench.connections[&1];
    bench.registry.withdraw(connection, "shutdown", bench.now);
    let late = bench.registry.advert(connection, 9_999, true, advert(&[(web(), HostState::Active)]), bench.now);
    assert_eq!(late, Err(NotOwner(connection)));
    assert_eq!(bench.state(1), ServiceState::Removed);
    let session = bench.numbers;
    let Err(Refusal { code, .. }) = bench.welcome(identity(1), hello(1, 1, 1)) else { panic!("an older session") };
    assert_eq!(code, RefusalCode::Superseded);
    assert!(bench.welcome(identity(1), hello(1, 1, session + 1)).is_ok());
}

#[test]
fn of_each_service_the_newest_word_counts() {
    let mut bench = bench(2);
    let connection = bench.connections[&1];
    let other = key("udp/53@2001:db8:2::/64");
    let start = bench.number() + 100;
    let mut say = |sequence: u64, full: bool, services: &[(slr_model::ServiceKey, HostState)]| {
        bench.registry.advert(connection, start + sequence, full, advert(services), bench.now).unwrap();
        (bench.state_of(1, &web()), bench.state_of(1, &other))
    };
    use ServiceState::{Active, Draining, Removed};
    assert_eq!(say(2, false, &[(other, HostState::Active)]), (Active, Active));
    assert_eq!(say(5, true, &[(web(), HostState::Draining)]), (Draining, Removed), "a whole advert withdraws");
    assert_eq!(say(4, false, &[(web(), HostState::Active), (other, HostState::Active)]), (Draining, Removed));
    assert_eq!(say(7, false, &[(other, HostState::Active)]), (Draining, Active));
    assert_eq!(say(6, true, &[(web(), HostState::Active)]), (Active, Active), "the other was named later");
    assert_eq!(say(8, true, &[]), (Removed, Removed));
}

#[test]
fn an_advert_that_says_nothing_new_moves_nothing() {
    let mut bench = bench(2);
    let before = bench.registry.generation();
    bench.wait_hearing(ms(10_000), &[1, 2]);
    assert_eq!((bench.registry.generation(), bench.events()), (before, vec![]));
    let mut heavier = advert(&[(web(), HostState::Active)]);
    heavier.services[0].weight = slr_model::Weight::new(200).unwrap();
    let sequence = bench.number();
    bench.registry.advert(bench.connections[&1], sequence, false, heavier, bench.now).unwrap();
    assert_eq!(bench.registry.generation(), before + 1, "a weight is what placement depends on");
}

#[test]
fn hellos_without_adverts_do_not_keep_a_host_alive() {
    let mut bench = bench(3);
    bench.deaf.insert(1);
    for _ in 0..22 {
        bench.connect(1);
        bench.wait_hearing(ms(250), &[2, 3]);
        bench.disconnect(1);
    }
    assert_eq!(bench.state(1), ServiceState::Silent);
    bench.connect(1);
    assert_eq!(bench.state(1), ServiceState::Silent, "an advert brings it back, a hello does not");
    bench.advertise(1, HostState::Active);
    assert_eq!(bench.state(1), ServiceState::Active);
}

#[test]
fn a_revoked_host_is_removed_and_its_connection_closed() {
    let mut bench = bench(2);
    let connection = bench.connections[&1];
    assert!(bench.registry.remove(&identity(1).name, Cause::Revoked, "serial 17", bench.now));
    assert_eq!(closed(&mut bench), [(connection, RefusalCode::Removed)]);
    assert_eq!((bench.state(1), bench.registry.owner(connection).is_none()), (ServiceState::Removed, true));
    assert!(!bench.registry.remove(&identity(1).name, Cause::Revoked, "serial 17", bench.now));
}

#[test]
fn there_is_room_for_as_many_hosts_as_the_kernel_has_hops() {
    let mut bench = Bench::new(Settings::default());
    for n in 0..HOSTS_MAX as u16 {
        bench.connect(n);
    }
    let refusal = bench.welcome(identity(5_000), hello(5_000, 1, 1)).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Full);
    bench.disconnect(17);
    assert!(bench.welcome(identity(5_000), hello(5_000, 1, 2)).is_ok(), "one that served nothing makes room");
}

#[test]
fn a_new_host_takes_flows_once_its_tunnel_answers() {
    let mut bench = Bench::new(Settings::default());
    bench.advertise(1, HostState::Active);
    let view = bench.registry.host("h1").unwrap();
    assert_eq!(view.service(&web()).unwrap().reason().to_string(), "its tunnel has not answered yet");
    bench.wait_hearing(ms(500), &[1]);
    bench.path(1, ALIVE);
    assert_eq!(bench.state(1), ServiceState::Active);
    let view = bench.registry.host("h1").unwrap();
    assert_eq!(view.service(&web()).unwrap().returned_at(), Some(bench.now), "its ramp begins");
    let mut without = Bench::new(Settings { await_path: false, ..Settings::default() });
    without.advertise(1, HostState::Active);
    assert_eq!(without.state(1), ServiceState::Active);
}
