//! Answers to augmented echoes: what is well formed, the packet's own, authentic and new goes to the daemon as it came, everything else ends
//! by a reason of its own. The program itself remembers no flow by any of them.

use std::net::IpAddr;

use slr_dataplane::reason::RouterReason as R;
use slr_dataplane::router::AdvertReader;
use slr_model::{KeyMask, Protocol};
use slr_testkit::packet::Packet;
use slr_wire::{FlowAdvert, FlowSecret};

use crate::common::{Bed, site};
use crate::frames::*;

/// What the tests below end by.
pub const REASONS: [R; 9] = [
    R::DropAdvertTaken,
    R::DropAdvertFragment,
    R::DropAdvertLength,
    R::DropAdvertForm,
    R::DropAdvertEnds,
    R::DropAdvertEpoch,
    R::DropAdvertMac,
    R::DropAdvertReplayed,
    R::DropAdvertLimit,
];

const EPOCH: u32 = 7;
/// Data of an ordinary echo, before the advertisement.
const ORDINARY: [u8; 56] = [0x5a; 56];

fn secret() -> FlowSecret {
    FlowSecret::new([0x11; FlowSecret::LEN])
}

/// A router that accepts these epochs.
fn accepting(epochs: &[u32]) -> (Bed, AdvertReader) {
    let bed = Bed::new(site::site());
    accept(&bed, epochs);
    let reader = bed.router.advert_reader().unwrap();
    (bed, reader)
}

fn accept(bed: &Bed, epochs: &[u32]) {
    let masters: Vec<_> = epochs.iter().map(|epoch| (*epoch, *secret().master(*epoch).bytes())).collect();
    bed.router.set_advert_masters(&masters).unwrap();
}

fn advert(f: &Family, serial: u64) -> FlowAdvert {
    FlowAdvert {
        client: f.client.parse().unwrap(),
        virtual_address: f.any.parse().unwrap(),
        prefix_len: if f.v6 { 48 } else { 24 },
        server: "10.1.0.1".parse().unwrap(),
        node: "a".parse().unwrap(),
        epoch: EPOCH,
        serial,
        mask: KeyMask::ALL,
        flows: vec![(40_000, 80, Protocol::Tcp)],
    }
}

/// Signed with the key that its server was granted.
fn signed(advert: &FlowAdvert) -> [u8; FlowAdvert::LEN] {
    advert.encode(&advert.key(&secret().master(advert.epoch))).unwrap()
}

fn with_data(packet: Packet, advert: &[u8]) -> Packet {
    packet.echo_reply(0x1234, 5).payload([&ORDINARY[..], advert].concat())
}

/// The client's answer with these bytes as its advertisement.
fn answer(f: &Family, advert: &[u8]) -> Vec<u8> {
    with_data(from(f.client, f.any), advert).build()
}

fn pinned(bed: &Bed) -> u64 {
    let count = bed.router.flow_count().unwrap();
    count.pinned_v4 + count.pinned_v6
}

#[test]
fn an_authentic_answer_is_taken_with_its_bytes_and_pins_nothing_by_itself() {
    for f in &FAMILIES {
        let (bed, mut reader) = accepting(&[EPOCH]);
        let frame = answer(f, &signed(&advert(f, 1)));
        assert_eq!(bed.send(&frame).reason, R::DropAdvertTaken, "{}", f.name);
        assert_eq!(reader.take().unwrap(), [datagram(&frame)]);
        assert!(reader.take().unwrap().is_empty());
        assert_eq!(pinned(&bed), 0);
        // In a frame that is longer than its datagram, as short ones are filled up.
        let mut frame = answer(f, &signed(&advert(f, 2)));
        let whole = datagram(&frame);
        frame.extend([0; 40]);
        assert_eq!(bed.send(&frame).reason, R::DropAdvertTaken);
        assert_eq!(reader.take().unwrap(), [whole]);
    }
}

#[test]
fn an_answer_that_comes_through_the_tier_above_is_taken_without_its_tunnel() {
    for (f, outer) in FAMILIES.iter().zip(OUTERS) {
        let (bed, mut reader) = accepting(&[EPOCH]);
        let inner = datagram(&answer(f, &signed(&advert(f, 1))));
        let protocol = if f.v6 { 41 } else { 4 };
        let frame = from(outer.upstream, outer.us).next(protocol).payload(&inner).build();
        assert_eq!(bed.send(&frame).reason, R::DropAdvertTaken, "{}", f.name);
        assert_eq!(reader.take().unwrap(), [inner]);
    }
}

#[test]
fn the_program_derives_the_keys_that_routers_grant() {
    let names = ["a", "node-0123456789.example", &"x".repeat(63)];
    let servers = ["10.1.0.1", "fd00:1::3"];
    let mut serial = 0;
    for f in &FAMILIES {
        let (bed, mut reader) = accepting(&[EPOCH]);
        let most = if f.v6 { 128 } else { 32 };
        for prefix_len in 0..=most {
            serial += 1;
            let flow = |n: u16| (n + 1, 80, if n.is_multiple_of(2) { Protocol::Tcp } else { Protocol::Udp });
            let told = FlowAdvert {
                prefix_len,
                server: servers[usize::from(prefix_len % 2)].parse().unwrap(),
                node: names[usize::from(prefix_len % 3)].parse().unwrap(),
                flows: (0..u16::from(prefix_len % 16) + 1).map(flow).collect(),
                ..advert(f, serial)
            };
            assert_eq!(bed.send(&answer(f, &signed(&told))).reason, R::DropAdvertTaken, "{told:?}");
            assert_eq!(reader.take().unwrap().len(), 1);
        }
    }
}

/// Everything that is refused before anything of it is remembered: what, the frame, the reason.
fn refused(f: &Family) -> Vec<(String, Vec<u8>, R)> {
    let good = signed(&advert(f, 1));
    let mut all = Vec::new();
    let mut add = |what: &str, frame: Vec<u8>, reason: R| all.push((format!("{}: {what}", f.name), frame, reason));
    let fragment = |p: Packet| if f.v6 { p.fragment_header(0, true, 5) } else { p.id(5).fragment(0, true) };
    add("a first fragment", with_data(fragment(from(f.client, f.any)), &good).build(), R::DropAdvertFragment);
    let options = |p: Packet| if f.v6 { p.destination_options(&[1, 0]) } else { p.options(&[1; 8]) };
    add("with options", with_data(options(from(f.client, f.any)), &good).build(), R::DropAdvertLength);
    for len in [4, 264, 279] {
        add(&format!("cut to {len} bytes"), answer(f, &good[..len]), R::DropAdvertLength);
    }
    add("a byte too long", answer(f, &[&good[..], &[0]].concat()), R::DropAdvertLength);
    add("far too long", answer(f, &[&good[..], &[0; 1000]].concat()), R::DropAdvertLength);
    for (what, at, byte, reason) in [
        ("of another version", 4, 2, R::DropAdvertForm),
        ("of another family", 5, if f.v6 { 4 } else { 6 }, R::DropAdvertForm),
        ("of no flows", 6, 0, R::DropAdvertForm),
        ("of too many flows", 6, 17, R::DropAdvertForm),
        ("with a prefix too long", 7, if f.v6 { 129 } else { 33 }, R::DropAdvertForm),
        ("of an epoch that is not accepted", 11, 8, R::DropAdvertEpoch),
        ("of part of the key", 12, 7, R::DropAdvertForm),
        ("of another tunnel", 13, 2, R::DropAdvertForm),
        ("of a tunnel with a port", 15, 1, R::DropAdvertForm),
        ("with a changed serial", 23, 2, R::DropAdvertMac),
        ("of another client", 39, 8, R::DropAdvertEnds),
        ("of a client that is not mapped", 34, 0xfe, R::DropAdvertEnds),
        ("of another virtual address", 55, 10, R::DropAdvertEnds),
        ("of another server address", 71, 2, R::DropAdvertMac),
        ("of another node", 72, b'b', R::DropAdvertMac),
        ("of another flow", 137, 0x41, R::DropAdvertMac),
        ("with something behind its flows", 263, 1, R::DropAdvertMac),
        ("with a changed MAC", 279, good[279] ^ 1, R::DropAdvertMac),
    ] {
        let mut bad = good;
        bad[at] = byte;
        add(what, answer(f, &bad), reason);
    }
    // Signed with keys that are somebody's, but not for this.
    let told = advert(f, 1);
    let (master, other) = (secret().master(EPOCH), FlowSecret::new([0x22; FlowSecret::LEN]));
    let (node, server): (slr_model::NodeName, IpAddr) = ("b".parse().unwrap(), "10.1.0.2".parse().unwrap());
    for (what, key) in [
        ("signed by another node", master.key(&node, told.server, told.subnet())),
        ("signed for another address", master.key(&told.node, server, told.subnet())),
        ("signed for another subnet", master.key(&told.node, told.server, f.listed.parse::<IpAddr>().unwrap().into())),
        ("signed in another epoch", told.key(&secret().master(EPOCH + 1))),
        ("signed with another secret", told.key(&other.master(EPOCH))),
    ] {
        add(what, answer(f, &told.encode(&key).unwrap()), R::DropAdvertMac);
    }
    let elsewhere = |client: &str, to: &str| with_data(from(client, to), &good).build();
    add("from another client", elsewhere(f.other_client, f.any), R::DropAdvertEnds);
    add("to another virtual address", elsewhere(f.client, f.listed), R::DropAdvertEnds);
    add("to no virtual address", elsewhere(f.client, f.foreign), R::PassNotOurs);
    // What is no advertisement is what it always was.
    add("an ordinary echo reply", from(f.client, f.any).echo_reply(1, 2).payload([7; 336]).build(), R::DropIcmpType);
    add("cut within its magic", answer(f, &good[..3]), R::DropIcmpType);
    let shifted = [&ORDINARY[1..], &good[..], &[0]].concat();
    add("at another place", from(f.client, f.any).echo_reply(1, 2).payload(shifted).build(), R::DropIcmpType);
    let kind = if f.v6 { 129 } else { 0 };
    let data = [&ORDINARY[..], &good[..]].concat();
    add("with a code", from(f.client, f.any).icmp(kind, 1, [0; 4]).payload(&data).build(), R::DropIcmpType);
    all
}

#[test]
fn what_is_refused_ends_by_its_reason_and_is_forgotten() {
    for f in &FAMILIES {
        let (bed, mut reader) = accepting(&[EPOCH]);
        for (what, frame, reason) in refused(f) {
            assert_eq!(bed.send(&frame).reason, reason, "{what}");
        }
        assert!(reader.take().unwrap().is_empty());
        assert_eq!(pinned(&bed), 0);
        assert_eq!(
            bed.send(&answer(f, &signed(&advert(f, 1)))).reason,
            R::DropAdvertTaken,
            "the good one is still new"
        );
    }
}

#[test]
fn epochs_are_accepted_as_long_as_the_daemon_says() {
    let f = &IPV4;
    let (bed, _reader) = accepting(&[]);
    let mut serial = 0;
    let mut accepts = |epoch: u32| {
        serial += 1;
        bed.send(&answer(f, &signed(&FlowAdvert { epoch, ..advert(f, serial) }))).reason == R::DropAdvertTaken
    };
    assert!(!accepts(EPOCH), "without a secret nothing is");
    for current in [EPOCH, EPOCH + 1, EPOCH + 1_000] {
        accept(&bed, &[current - 1, current, current + 1]);
        let found: Vec<u32> = (current - 3..current + 4).filter(|epoch| accepts(*epoch)).collect();
        assert_eq!(found, [current - 1, current, current + 1]);
    }
    accept(&bed, &[]);
    assert!(!accepts(EPOCH + 1_000));
}

#[test]
fn the_same_bytes_are_taken_once() {
    for f in &FAMILIES {
        let (bed, mut reader) = accepting(&[EPOCH]);
        let good = signed(&advert(f, 1));
        assert_eq!(bed.send(&answer(f, &good)).reason, R::DropAdvertTaken);
        for (id, sequence) in [(0x1234, 5), (9, 9)] {
            let again = from(f.client, f.any).echo_reply(id, sequence).payload([&ORDINARY[..], &good[..]].concat());
            assert_eq!(bed.send(&again.build()).reason, R::DropAdvertReplayed, "{}: {id} {sequence}", f.name);
        }
        assert_eq!(reader.take().unwrap().len(), 1);
        assert_eq!(bed.send(&answer(f, &signed(&advert(f, 2)))).reason, R::DropAdvertTaken, "the next one is new");
    }
}

#[test]
fn a_client_prefix_has_so_much_of_the_daemons_time_and_leaves_the_rest_to_others() {
    for f in &FAMILIES {
        let (bed, mut reader) = accepting(&[EPOCH]);
        // 5,000 at once, and 2,000 a second: these are too many in any time that this takes.
        const SENT: u64 = 12_000;
        let ends: Vec<R> = (1..=SENT).map(|n| bed.send(&answer(f, &signed(&advert(f, n)))).reason).collect();
        let taken = ends.iter().filter(|reason| **reason == R::DropAdvertTaken).count();
        let limited = ends.iter().filter(|reason| **reason == R::DropAdvertLimit).count();
        assert!(taken >= 5_000 && (taken + limited) as u64 == SENT && limited > 0, "{}: {taken} taken", f.name);
        let other = FlowAdvert { client: f.other_client.parse().unwrap(), ..advert(f, 1) };
        let frame = with_data(from(f.other_client, f.any), &signed(&other)).build();
        assert_eq!(bed.send(&frame).reason, R::DropAdvertTaken, "{}: of another prefix", f.name);
        let mut read = 0;
        loop {
            match reader.take().unwrap().len() {
                0 => break,
                more => read += more,
            }
        }
        assert_eq!(read, taken + 1, "what was taken is there to be read");
    }
}
