//! Golden vectors, which docs/wire.md shows, and what is refused.

use super::*;
use crate::FlowSecret;

/// Of the secret 00 01 02 … 1f, epoch 7.
fn master() -> EpochMaster {
    FlowSecret::new(std::array::from_fn(|n| n as u8)).master(7)
}

fn v4() -> FlowAdvert {
    FlowAdvert {
        client: "198.51.100.7".parse().unwrap(),
        virtual_address: "192.0.2.9".parse().unwrap(),
        prefix_len: 24,
        server: "10.1.11.2".parse().unwrap(),
        node: "h1".parse().unwrap(),
        epoch: 7,
        serial: 1,
        mask: KeyMask::ALL,
        flows: vec![(40_000, 80, Protocol::Tcp), (40_001, 53, Protocol::Udp)],
    }
}

fn v6() -> FlowAdvert {
    FlowAdvert {
        client: "2001:db8::7".parse().unwrap(),
        virtual_address: "2001:db8:1::9".parse().unwrap(),
        prefix_len: 48,
        serial: 2,
        flows: vec![(40_000, 80, Protocol::Tcp)],
        ..v4()
    }
}

/// Values, bytes, and the checksum of the echo with identifier 0x1234 and sequence 5.
fn vectors() -> [(FlowAdvert, &'static str, [u8; 2]); 2] {
    [
        (
            v4(),
            "534c524101040218000000070f010000000000000000000100000000000000000000ffffc633640700000000000000000000ffffc000020900000000000000000000ffff0a010b02683100000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000009c400050060000009c4100351100000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000a7d341a6766fbce0eae66c6b76ea12d9",
            [0xbd, 0xde],
        ),
        (
            v6(),
            "534c524101060130000000070f010000000000000000000220010db800000000000000000000000720010db800010000000000000000000900000000000000000000ffff0a010b02683100000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000009c40005006000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000a8c8f1d0e79044cd40004b6e83c54b97",
            [0x04, 0x03],
        ),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn bytes_are_what_they_always_were() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/wire.md")).unwrap();
    let documentation: String = text.split_whitespace().collect();
    for (advert, bytes, _) in vectors() {
        let key = advert.key(&master());
        let encoded = advert.encode(&key).unwrap();
        assert_eq!(hex(&encoded), bytes);
        assert!(FlowAdvert::is_authentic(&encoded, &key));
        assert_eq!(FlowAdvert::decode(&encoded), Ok(advert.clone()));
        assert!(documentation.contains(bytes), "docs/wire.md does not show the vector of {}", advert.client);
    }
}

#[test]
fn the_echo_is_an_ordinary_one_and_comes_back_with_another_type() {
    for (advert, _, sum) in vectors() {
        let key = advert.key(&master());
        let mut echo = advert.echo_request(&key, 0x1234, 5).unwrap();
        let is_ipv4 = advert.client.is_ipv4();
        assert_eq!(echo[..2], [if is_ipv4 { 8 } else { 128 }, 0]);
        assert_eq!(echo[2..8], [sum[0], sum[1], 0x12, 0x34, 0, 5]);
        assert_eq!((echo[8], echo[63], echo.len()), (0x10, 0x47, 344));
        assert_eq!(FlowAdvert::in_reply(&echo, is_ipv4), None, "a request is no reply");
        echo[0] = if is_ipv4 { 0 } else { 129 };
        assert_eq!(FlowAdvert::in_reply(&echo, is_ipv4), Some(&advert.encode(&key).unwrap()));
        assert_eq!(FlowAdvert::in_reply(&echo, !is_ipv4), None);
        assert_eq!(FlowAdvert::in_reply(&echo[..343], is_ipv4), None);
    }
}

#[test]
fn a_changed_bit_is_not_authentic_whichever_it_is() {
    for (advert, _, _) in vectors() {
        let key = advert.key(&master());
        let good = advert.encode(&key).unwrap();
        for bit in 0..8 * FlowAdvert::LEN {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            let key = FlowAdvert::decode(&bad).map(|advert| advert.key(&master()));
            assert!(key.is_err() || !FlowAdvert::is_authentic(&bad, &key.unwrap()), "bit {bit}");
        }
    }
}

#[test]
fn what_is_out_of_bounds_is_neither_read_nor_written() {
    let key = v4().key(&master());
    let good = v4().encode(&key).unwrap();
    let read = |at: usize, byte: u8| {
        let mut bad = good;
        bad[at] = byte;
        FlowAdvert::decode(&bad).map_err(|error| error.reason())
    };
    for (at, byte, reason) in [
        (0, 0, "magic"),
        (4, 2, "version"),
        (5, 6, "family"),
        (6, 0, "padding"),
        (6, 17, "count"),
        (6, 3, "flow"),
        (7, 33, "prefix"),
        (12, 7, "mask"),
        (12, 0x1f, "mask"),
        (13, 2, "tunnel"),
        (15, 1, "tunnel"),
        (34, 0, "family"),
        (36, 224, "address"),
        (72, b'H', "node"),
        (74, b'-', "node"),
        (80, 1, "padding"),
        (FLOWS + 4, 1, "flow"),
        (FLOWS + 5, 1, "padding"),
        (MAC - 1, 1, "padding"),
    ] {
        assert_eq!(read(at, byte), Err(reason), "byte {at} is {byte}");
    }
    for len in [0, 279, 281] {
        assert_eq!(FlowAdvert::decode(&vec![0; len]), Err(FlowAdvertError::Length { found: len }));
    }
    let write = |change: &dyn Fn(&mut FlowAdvert)| {
        let mut bad = v4();
        change(&mut bad);
        bad.encode(&key).map_err(|error| error.reason())
    };
    assert_eq!(write(&|advert| advert.flows.clear()), Err("count"));
    assert_eq!(write(&|advert| advert.flows = vec![(1, 2, Protocol::Tcp); 17]), Err("count"));
    assert_eq!(write(&|advert| advert.flows[1].0 = 0), Err("flow"));
    assert_eq!(write(&|advert| advert.client = "2001:db8::7".parse().unwrap()), Err("family"));
    assert_eq!(write(&|advert| advert.server = "::ffff:10.1.11.2".parse().unwrap()), Err("address"));
    assert_eq!(write(&|advert| advert.mask = KeyMask::from_bits(1).unwrap()), Err("mask"));
}
