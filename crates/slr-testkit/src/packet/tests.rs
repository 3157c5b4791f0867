//! The golden bytes were worked out apart from this builder.

use super::*;
use std::panic::catch_unwind;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).expect("hex digits")).collect()
}

#[test]
fn the_ipv4_header_checksum_is_that_of_the_worked_example() {
    // The example of the Wikipedia page "Internet checksum": 0xb861.
    let header = hex("4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7");
    let built = pkt().ipv4("192.168.0.1", "192.168.0.199").df().next(17).payload_len(95).build();
    assert_eq!(built[..20], header);
}

#[test]
fn an_icmp_echo_request_has_its_golden_bytes() {
    let built = pkt().ipv4("10.0.0.1", "10.0.0.2").echo_request(0x1234, 1).payload(b"abcd").build();
    // 0x0800 + 0x1234 + 0x0001 + 0x6162 + 0x6364 = 0xdefb; complement 0x2104.
    assert_eq!(built, hex("4500 0020 0000 0000 4001 66db 0a00 0001 0a00 0002 0800 2104 1234 0001 6162 6364"));
}

#[test]
fn a_syn_in_ip_in_ip_behind_a_vlan_tag_has_its_golden_bytes() {
    let built = pkt()
        .eth("02:00:00:00:00:02", "02:00:00:00:00:01")
        .vlan(10)
        .ipv4("10.1.255.1", "10.1.11.2")
        .ipv4("10.0.1.2", "192.0.2.10")
        .tcp(40000, 80)
        .flags(SYN)
        .seq(1)
        .build();
    let expected = hex("0200 0000 0002 0200 0000 0001 8100 000a 0800
         4500 003c 0000 0000 4004 5cb9 0a01 ff01 0a01 0b02
         4500 0028 0000 0000 4006 adc4 0a00 0102 c000 020a
         9c40 0050 0000 0001 0000 0000 5002 ffff 4645 0000");
    assert_eq!(built, expected);
    verify_checksums(&built).unwrap();
}

#[test]
fn ipv6_extension_headers_are_chained_padded_and_measured() {
    let built = pkt()
        .ipv6("2001:db8::1", "2001:db8::2")
        .hop_by_hop(&[])
        .routing(4, 0, &[0; 20])
        .destination_options(&[0xc2, 4, 1, 2, 3, 4, 0xc2])
        .fragment_header(0, false, 7)
        .udp(1, 2)
        .build();
    assert_eq!(built[4..8], [0, 8 + 24 + 16 + 8 + 8, 0, 64]);
    assert_eq!(built[40..48], [43, 0, 1, 4, 0, 0, 0, 0], "hop-by-hop holds one PadN");
    assert_eq!(built[48..52], [60, 2, 4, 0]);
    assert_eq!(built[72..88], [44, 1, 0xc2, 4, 1, 2, 3, 4, 0xc2, 1, 5, 0, 0, 0, 0, 0]);
    assert_eq!(built[88..96], [17, 0, 0, 0, 0, 0, 0, 7]);
    verify_checksums_l3(&built).unwrap();
}

#[test]
fn every_family_combination_of_tunnel_verifies() {
    let v4: (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap());
    let v6: (IpAddr, IpAddr) = ("fd00::1".parse().unwrap(), "2001:db8:100::1".parse().unwrap());
    for outer in [v4, v6] {
        for inner in [v4, v6] {
            let base = pkt().eth([2; 6], [4; 6]).vlan(1).vlan(2).ip(outer.0, outer.1).ip(inner.0, inner.1);
            for built in [
                base.clone().tcp(1, 2).options(&[2, 4, 5, 0xb4, 1]).payload(b"odd").build(),
                base.clone().udp(1, 2).payload(b"odd").build(),
                base.clone().echo_request(1, 2).payload(b"odd").build(),
                base.clone().too_big(1400, &[0x45; 28]).build(),
            ] {
                verify_checksums(&built).unwrap();
            }
        }
    }
}

#[test]
fn verification_sees_every_damaged_bit_after_the_addresses_of_layer_two() {
    let built = pkt()
        .eth([2; 6], [4; 6])
        .ipv4("10.0.0.1", "10.0.0.2")
        .options(&[7, 3, 4])
        .ipv4("10.0.0.3", "10.0.0.4")
        .tcp(1, 2)
        .payload(b"data")
        .build();
    verify_checksums(&built).unwrap();
    for bit in 14 * 8..built.len() * 8 {
        let mut damaged = built.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(verify_checksums(&damaged).is_err(), "bit {bit} flipped and not noticed");
    }
}

#[test]
fn verification_refuses_every_truncation() {
    for packet in [
        pkt().ipv4("10.0.0.1", "10.0.0.2").udp(1, 2).payload(b"data").build(),
        pkt().ipv6("fd00::1", "fd00::2").hop_by_hop(&[]).tcp(1, 2).payload(b"data").build(),
    ] {
        for len in 0..packet.len() {
            assert!(verify_checksums_l3(&packet[..len]).is_err(), "{len} of {} bytes passed", packet.len());
        }
    }
}

#[test]
fn a_fixture_may_be_wrong_on_purpose() {
    let (built, offsets) = pkt()
        .ipv4("10.0.0.1", "10.0.0.2")
        .length(999)
        .header_words(4)
        .version(5)
        .next(200)
        .checksum(0xdead)
        .udp(1, 2)
        .length(3)
        .checksum(0)
        .build_with_offsets();
    assert_eq!(built[..4], [0x54, 0, 3, 0xe7]);
    assert_eq!(built[9..12], [200, 0xde, 0xad]);
    assert_eq!(built[24..28], [0, 3, 0, 0]);
    assert_eq!(offsets, [Offset { layer: "ipv4", at: 0 }, Offset { layer: "udp", at: 20 }]);
}

#[test]
fn fragments_carry_their_offset_and_are_not_checked_as_segments() {
    let v4 = pkt().ipv4("10.0.0.1", "10.0.0.2").id(9).fragment(1480, true).next(17).payload(b"tail").build();
    assert_eq!(v4[4..8], [0, 9, 0x20, 185]);
    verify_checksums_l3(&v4).unwrap();
    let v6 = pkt().ipv6("fd00::1", "fd00::2").fragment_header(8, true, 5).next(6).payload(b"tail").build();
    assert_eq!(v6[40..48], [6, 0, 0, 9, 0, 0, 0, 5]);
    verify_checksums_l3(&v6).unwrap();
}

#[test]
fn a_udp_checksum_that_computes_to_zero_is_sent_as_ones() {
    // Find the payload for which the sum is zero; exactly one 16-bit word has it.
    let zero = (0..=u16::MAX)
        .map(|word| pkt().ipv6("fd00::1", "fd00::2").udp(1, 2).payload(word.to_be_bytes()).build())
        .filter(|packet| packet[46..48] == [0xff, 0xff])
        .collect::<Vec<_>>();
    assert_eq!(zero.len(), 1);
    verify_checksums_l3(&zero[0]).unwrap();
}

#[test]
fn a_modifier_on_the_wrong_layer_names_itself_and_the_layer() {
    let panic = catch_unwind(|| pkt().ipv4("10.0.0.1", "10.0.0.2").seq(1)).unwrap_err();
    let message = panic.downcast_ref::<String>().expect("a formatted message");
    assert!(message.contains("seq()") && message.contains("ipv4"), "{message}");
}
