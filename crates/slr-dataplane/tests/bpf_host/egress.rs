//! Replies on their way out: counted by virtual subnet, their SYNs clamped.

use slr_dataplane::reason::HostReason::*;
use slr_testkit::packet::{ACK, Packet, SYN, verify_checksums};

use crate::bed::*;

fn mss(value: u16) -> Vec<u8> {
    let [high, low] = value.to_be_bytes();
    vec![2, 4, high, low]
}

fn syn_ack(link: Packet, source: &str, client: &str, options: &[u8]) -> Vec<u8> {
    ip(link, source, client).tcp(80, 40000).flags(SYN | ACK).options(options).build()
}

#[test]
fn a_syn_leaves_with_an_mss_that_fits_the_tunnel_and_never_a_larger_one() {
    let bed = Bed::new();
    for (source, client, most) in [(V4, C4, MSS_V4), (V6, C6, MSS_V6)] {
        for (given, expected) in [(1460, most), (most + 1, most), (most, most), (536, 536), (65535, most)] {
            for link in [returned as fn() -> Packet, || returned().vlan(3)] {
                let out = bed.host.test_run_egress(&syn_ack(link(), source, client, &mss(given))).unwrap();
                assert_eq!(out, syn_ack(link(), source, client, &mss(expected)), "{source} {given}");
                verify_checksums(&out).unwrap();
                let counted = if given > most { vec![(PassMssClamped, 1)] } else { vec![] };
                assert_eq!(bed.grown(), counted);
            }
        }
    }
}

#[test]
fn the_mss_is_found_wherever_it_stands() {
    let bed = Bed::new();
    const SACK: &[u8] = &[4, 2];
    const TIMESTAMPS: &[u8] = &[8, 10, 1, 2, 3, 4, 5, 6, 7, 8];
    type Options = &'static [&'static [u8]];
    let table: [(Options, Options); 4] = [
        (&[], &[SACK, TIMESTAMPS]),
        (&[TIMESTAMPS, &[1, 1]], &[]),
        (&[&[1]], &[&[1, 1, 1]]), // an odd offset: the checksum sees it with its bytes swapped
        (&[&[1, 1, 1], SACK, TIMESTAMPS], &[&[3, 3, 7]]),
    ];
    for (before, after) in table {
        let options = |value| [before.concat(), mss(value), after.concat()].concat();
        let out = bed.host.test_run_egress(&syn_ack(returned(), V4, C4, &options(1460))).unwrap();
        assert_eq!(out, syn_ack(returned(), V4, C4, &options(MSS_V4)));
        verify_checksums(&out).unwrap();
    }
}

#[test]
fn everything_else_is_left_as_it_is() {
    let bed = Bed::new();
    let frames = [
        ("not a SYN", ip(returned(), V4, C4).tcp(80, 1).options(&mss(1460)).build()),
        ("not from a virtual address", syn_ack(returned(), US4, C4, &mss(1460))),
        ("not from a virtual address, IPv6", syn_ack(returned(), US6, C6, &mss(1460))),
        ("no MSS", syn_ack(returned(), V4, C4, &[1, 1, 1, 1])),
        ("behind the end of the list", syn_ack(returned(), V4, C4, &[&[0; 4][..], &mss(1460)].concat())),
        ("behind an option of no length", syn_ack(returned(), V4, C4, &[&[9, 0][..], &mss(1460)].concat())),
        ("beyond the header", {
            let mut cut = syn_ack(returned(), V4, C4, &mss(1460));
            cut[14 + 20 + 12] = 5 << 4;
            cut
        }),
        (
            "a later fragment",
            ip(returned(), V4, C4).fragment(8, false).tcp(80, 1).flags(SYN).options(&mss(1460)).build(),
        ),
        ("UDP", ip(returned(), V4, C4).udp(53, 1).payload_len(30).build()),
        ("cut short", syn_ack(returned(), V4, C4, &mss(1460))[..40].to_vec()),
        ("ARP", {
            let mut arp = returned().payload_len(46).build();
            arp[12..14].copy_from_slice(&[8, 6]);
            arp
        }),
    ];
    for (what, sent) in frames {
        assert_eq!(bed.host.test_run_egress(&sent).unwrap(), sent, "{what}");
        assert_eq!(bed.grown(), vec![], "{what}");
    }
}

#[test]
fn no_limit_no_clamp() {
    let mut without = desired();
    (without.mss_v4, without.mss_v6) = (None, None);
    let bed = Bed::with(&without);
    let sent = syn_ack(returned(), V4, C4, &mss(9000));
    assert_eq!(bed.host.test_run_egress(&sent).unwrap(), sent);
}

#[test]
fn traffic_is_charged_to_the_virtual_subnet_it_belongs_to() {
    let bed = Bed::new();
    let datagram = |source, client| ip(returned(), source, client).udp(53, 1).payload_len(100).build();
    for (source, client) in [(V4, C4), (V4, C4), (V6, C6), (US4, C4)] {
        bed.host.test_run_egress(&datagram(source, client)).unwrap();
    }
    bed.send(&frame().ipv4(ROUTER4, US4).ipv4(C4, V4).udp(1, 53).payload_len(100).build());
    let usage = bed.host.usage().unwrap();
    let numbers: Vec<_> = usage
        .iter()
        .map(|u| (u.subnet.to_string(), u.received.packets, u.received.bytes, u.sent.packets, u.sent.bytes))
        .collect();
    assert_eq!(numbers, [("192.0.2.0/24".to_owned(), 1, 128, 2, 256), ("2001:db8:100::/48".to_owned(), 0, 0, 1, 148)]);
}
