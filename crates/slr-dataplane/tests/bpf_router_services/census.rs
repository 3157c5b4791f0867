//! Flows are counted by host and service, and those of nobody are swept away.

use std::collections::BTreeMap;

use slr_dataplane::router::{FlowShare, SweepPolicy};
use slr_model::HostState;
use slr_testkit::packet::FIN;

use crate::common::site::{host, host_mut, remove_host};
use crate::common::{Bed, site};
use crate::scene::{self, FAMILIES, To, begin, key, packets, pin};

/// (host, service) to (pinned, closing, pending).
fn table(shares: &[FlowShare]) -> BTreeMap<(String, String), (u64, u64, u64)> {
    let row = |s: &FlowShare| ((s.host.to_string(), s.service.to_string()), (s.pinned, s.closing, s.pending));
    shares.iter().map(row).collect()
}

#[test]
fn flows_are_counted_by_host_and_service() {
    for ends in FAMILIES {
        let mut bed = Bed::new(scene::desired());
        for port in 1..=3 {
            pin(&bed, ends, port, To::Tcp(80));
        }
        for (port, to) in [(1, To::Udp(53)), (1, To::Tcp(81)), (1, To::Udp(80)), (1, To::Tcp(8080)), (2, To::Tcp(8080))]
        {
            pin(&bed, ends, port, to);
        }
        begin(&bed, ends, 9, To::Tcp(80));
        begin(&bed, ends, 9, To::Tcp(81));
        let [_, mut fin] = packets(ends, 2, To::Tcp(80));
        fin[if ends.0.contains(':') { 67 } else { 47 }] |= FIN;
        bed.send(&fin);
        let row = |host: &str, service: &str, counts| ((host.to_owned(), key(service, ends.2).to_string()), counts);
        let expected = BTreeMap::from([
            row("a", "tcp/80", (3, 1, 1)),
            row("a", "udp/53", (1, 0, 0)),
            row("a", "any", (2, 0, 1)),
            row("b", "tcp/8080", (2, 0, 0)),
        ]);
        let census = bed.router.census().expect("flows can be counted");
        assert_eq!(table(&census.shares), expected, "{}", ends.2);
        assert!(bed.router.flow_shares().is_empty(), "nothing was swept yet");
        bed.router.sweep(&SweepPolicy::default()).expect("flows can be swept");
        assert_eq!(table(bed.router.flow_shares()), expected, "{}: on the sweep's walk", ends.2);
        assert_eq!(bed.router.last_census(), &census);
        let v6 = usize::from(ends.0.contains(':'));
        assert_eq!((census.pinned[v6], census.pinned[1 - v6], census.pending[v6]), (8, 0, 2));

        // A flow that began long ago and never showed two ends is no flow of today.
        bed.router.advance_clock(60).expect("time passes");
        let later = bed.router.census().expect("flows can be counted");
        assert!(later.shares.iter().all(|share| share.pending == 0), "{later:?}");
        assert_eq!(later.pending, census.pending, "its place is taken until another needs it");
    }
}

#[test]
fn a_sweep_forgets_what_is_pinned_to_nobody() {
    type Change = fn(&mut slr_dataplane::router::Desired);
    let changes: [(&str, Change); 3] = [
        ("removed", |desired| remove_host(desired, "a")),
        ("down", |desired| host_mut(desired, "a").state = HostState::Down),
        ("replaced at once", |desired| {
            remove_host(desired, "a");
            desired.hosts.push(host("new", "10.1.0.77", 0x77));
        }),
    ];
    for (what, change) in changes {
        let mut bed = Bed::new(scene::desired());
        for ends in FAMILIES {
            (1..=4).for_each(|port| pin(&bed, ends, port, To::Tcp(80)));
            (1..=3).for_each(|port| pin(&bed, ends, port, To::Tcp(8080)));
        }
        let policy = SweepPolicy::default();
        let report = bed.router.sweep(&policy).expect("flows can be swept");
        assert_eq!((report.pinned, report.unpinned), (14, 0), "{what}: all are of somebody");
        bed.change(change);
        let report = bed.router.sweep(&policy).expect("flows can be swept");
        assert_eq!((report.pinned, report.unpinned, report.idle), (14, 8, 0), "{what}");
        assert!(bed.router.flow_shares().iter().all(|share| share.host.as_str() == "b"), "{what}");
        let count = bed.router.flow_count().expect("flows can be counted");
        assert_eq!((count.pinned_v4, count.pinned_v6), (3, 3), "{what}");
        let report = bed.router.sweep(&policy).expect("flows can be swept");
        assert_eq!((report.pinned, report.unpinned), (6, 0), "{what}: nothing is left to forget");
    }
}

#[test]
fn an_index_that_goes_to_another_host_goes_with_another_generation() {
    let mut bed = Bed::new(scene::desired());
    let hop = |bed: &Bed, name: &str| {
        let hops = bed.router.hops().expect("hops can be read");
        let found = hops.iter().find(|hop| hop.name.as_deref() == Some(name)).expect("a host");
        (found.hop, found.generation)
    };
    let (index, mut generation) = hop(&bed, "a");
    for round in 0..20u8 {
        let (old, new) = if round == 0 {
            ("a".to_owned(), "n0".to_owned())
        } else {
            (format!("n{}", round - 1), format!("n{round}"))
        };
        // Its index is free when the next one comes: not in the same change, in which rings may still lead there.
        bed.change(|desired| remove_host(desired, &old));
        bed.change(|desired| {
            desired.hosts.push(host(&new, &format!("10.1.9.{round}"), round));
            for route in site::routes_mut(desired).filter(|route| route.members.is_empty()) {
                route.members.push((new.parse().expect("a name"), Default::default()));
            }
        });
        let (next_index, next_generation) = hop(&bed, &new);
        assert_eq!(next_index, index, "round {round}");
        assert!(next_generation > generation, "round {round}: {generation}, then {next_generation}");
        generation = next_generation;
        let ends = FAMILIES[usize::from(round % 2)];
        pin(&bed, ends, 100, To::Tcp(80)); // nobody inherits it from the round before
    }
    let report = bed.router.sweep(&SweepPolicy::default()).expect("flows can be swept");
    assert_eq!((report.pinned, report.unpinned), (2, 1), "the flow of the other family is of a host that is gone");
}
