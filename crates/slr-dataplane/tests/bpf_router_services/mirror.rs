//! New pins are told, and pinned at another router: there they are established, and nobody tells of them again.

use slr_dataplane::reason::RouterReason as R;
use slr_dataplane::router::{Mirrored, Part, SweepPolicy};
use slr_model::{FlowKey, HostState};

use crate::common::{Bed, outer, site};
use crate::scene::{self, FAMILIES, To, name, packets, pin};

fn flow((client, address, _): (&str, &str, &str), port: u16) -> FlowKey {
    let end = |address: &str, port| std::net::SocketAddr::new(address.parse().unwrap(), port);
    FlowKey::new(end(client, port), end(address, 80), slr_model::Protocol::Tcp).unwrap()
}

fn bed(tell_pins: bool) -> Bed {
    let mut desired = scene::desired();
    desired.config.tell_pins = tell_pins;
    Bed::new(desired)
}

#[test]
fn a_new_pin_is_told_once_and_established_at_another_router() {
    for ends in FAMILIES {
        let (owner, other) = (bed(true), bed(true));
        let mut reader = owner.router.new_pin_reader().unwrap();
        pin(&owner, ends, 1000, To::Tcp(80));
        let told = reader.take(&owner.router).unwrap();
        assert_eq!((told.pins.as_slice(), told.lost), ([(name("a"), flow(ends, 1000))].as_slice(), 0));
        assert!(reader.take(&owner.router).unwrap().pins.is_empty());
        assert_eq!(owner.router.own_pins(None).unwrap().len(), 1);

        let mut elsewhere = other.router.new_pin_reader().unwrap();
        let done = other.router.pinning().unwrap().pin(&name("a"), &[flow(ends, 1000)], false).unwrap();
        assert_eq!(done, Mirrored { pinned: 1, ..Mirrored::default() });
        assert!(other.router.own_pins(None).unwrap().is_empty(), "it is not this router's");
        let sent = other.send(&packets(ends, 1000, To::Tcp(80))[1]);
        assert_eq!((sent.reason, outer::read(&sent.packet, &other.desired).host), (R::FwdEstablished, "a".to_owned()));
        assert!(elsewhere.take(&other.router).unwrap().pins.is_empty());

        assert_eq!(other.router.carried_on().unwrap(), 0, "it was told of within this second");

        // Once it speaks here, a second later or more, it is this router's too, and its old owner cannot have it forgotten.
        other.router.advance_clock(5).unwrap();
        for _ in 0..2 {
            other.send(&packets(ends, 1000, To::Tcp(80))[1]);
            other.router.advance_clock(5).unwrap();
            assert_eq!(other.router.carried_on().unwrap(), 1, "counted once");
        }
        assert_eq!(other.router.own_pins(None).unwrap().len(), 1);
        assert_eq!(other.router.unmirror(&[flow(ends, 1000)]).unwrap(), Mirrored::default());
    }
}

#[test]
fn tables_are_read_beside_whoever_wants_to_know() {
    let mut bed = bed(true);
    (1..=300).for_each(|port| FAMILIES.into_iter().for_each(|ends| pin(&bed, ends, port, To::Tcp(80))));
    let (policy, mut own) = (SweepPolicy::default(), Vec::new());
    let mut walk = bed.router.walk_own_pins(None).unwrap();
    loop {
        match bed.router.next_own_pins(&mut walk).unwrap() {
            Part::Read(part) => own.extend(part),
            Part::NotYet => std::thread::yield_now(),
            Part::Over => break,
        }
    }
    assert_eq!(own.len(), 300 * FAMILIES.len());
    assert!(matches!(bed.router.next_own_pins(&mut walk).unwrap(), Part::Over), "it stays at its end");
    let all = bed.router.sweep(&policy).unwrap();
    assert_eq!(all.pinned, own.len() as u64);
    let in_parts = loop {
        if let Some(report) = bed.router.sweep_on(&policy, 1).unwrap() {
            break report;
        }
    };
    assert_eq!(in_parts, all);
    assert_eq!(bed.router.last_census(), &bed.router.census().unwrap());
}

#[test]
fn without_peers_nothing_is_told() {
    let bed = bed(false);
    let mut reader = bed.router.new_pin_reader().unwrap();
    pin(&bed, FAMILIES[0], 1000, To::Tcp(80));
    assert!(reader.take(&bed.router).unwrap().pins.is_empty());
}

#[test]
fn records_that_find_no_room_are_counted() {
    let mut bed = bed(true);
    let mut reader = bed.router.new_pin_reader().unwrap();
    let flows = 90_000u32;
    for n in 0..flows {
        if n % 10_000 == 0 {
            // The test's table is smaller than the ring buffer.
            bed.router.advance_clock(1_000).unwrap();
            bed.router.sweep(&SweepPolicy::default()).unwrap();
        }
        let client = format!("198.51.{}.7", n / 30_000);
        pin(&bed, (&client, FAMILIES[0].1, ""), 1 + (n % 30_000) as u16, To::Udp(53));
    }
    let (mut told, mut lost) = (0, 0);
    loop {
        let found = reader.take(&bed.router).unwrap();
        (told, lost) = (told + found.pins.len() as u32, lost + found.lost);
        if found.pins.is_empty() {
            break;
        }
    }
    assert!(lost > 0 && told + lost as u32 == flows, "told {told}, lost {lost}");
}

#[test]
fn what_cannot_be_mirrored_is_refused_by_reason() {
    let mut bed = bed(true);
    let ends = FAMILIES[0];
    let mirror = |bed: &Bed, host: &str, flow| bed.router.pinning().unwrap().pin(&name(host), &[flow], true).unwrap();
    let none = Mirrored::default();
    assert_eq!(mirror(&bed, "nobody", flow(ends, 1000)), Mirrored { no_hop: 1, ..none });
    assert_eq!(mirror(&bed, "a", flow((site::C4, site::FOREIGN4, ""), 1000)), Mirrored { not_served: 1, ..none });
    pin(&bed, ends, 1000, To::Tcp(80));
    assert_eq!(mirror(&bed, "b", flow(ends, 1000)), Mirrored { owned: 1, ..none });
    assert_eq!(mirror(&bed, "a", flow(ends, 1000)), Mirrored { known: 1, ..none });
    assert_eq!(mirror(&bed, "b", flow(ends, 1001)), Mirrored { pinned: 1, ..none });
    assert_eq!(mirror(&bed, "a", flow(ends, 1001)), Mirrored { pinned: 1, ..none }, "the later word of others counts");
    assert_eq!(bed.router.unmirror(&[flow(ends, 1001)]).unwrap(), Mirrored { forgotten: 1, ..none });
    bed.change(|desired| site::host_mut(desired, "a").state = HostState::Down);
    assert_eq!(mirror(&bed, "a", flow(ends, 1002)), Mirrored { host_down: 1, ..none });
}
