//! What is written, read back by a parser that shares nothing with the writer: the format's blocks and options, byte by byte.

use super::*;

/// A block: its type and body, options apart.
struct Block {
    kind: u32,
    fixed: Vec<u8>,
    options: Vec<(u16, Vec<u8>)>,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn blocks(mut bytes: &[u8]) -> Vec<Block> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (kind, len) = (u32_at(bytes, 0), u32_at(bytes, 4) as usize);
        assert_eq!(len % 4, 0, "blocks are whole words");
        assert_eq!(u32_at(bytes, len - 4) as usize, len, "the length stands at both ends");
        let body = &bytes[8..len - 4];
        let fixed = match kind {
            0x0a0d_0d0a => 16,
            1 => 8,
            5 => 12,
            6 => 20 + (u32_at(body, 12) as usize).next_multiple_of(4),
            other => panic!("block {other:#x}"),
        };
        let (mut rest, mut options) = (&body[fixed..], Vec::new());
        while u16_at(rest, 0) != 0 {
            let len = usize::from(u16_at(rest, 2));
            options.push((u16_at(rest, 0), rest[4..4 + len].to_vec()));
            rest = &rest[4 + len.next_multiple_of(4)..];
        }
        assert_eq!(rest, [0; 4], "options end");
        found.push(Block { kind, fixed: body[..fixed].to_vec(), options });
        bytes = &bytes[len..];
    }
    found
}

fn text(block: &Block, code: u16) -> String {
    let (_, value) = block.options.iter().find(|(found, _)| *found == code).expect("the option is there");
    String::from_utf8(value.clone()).unwrap()
}

#[test]
fn a_file_is_what_the_format_says() {
    let at = Duration::new(1_700_000_000, 123_456_789);
    let mut file = File::new(Vec::new(), "slr-router 1".to_owned(), "all".to_owned(), 64).unwrap();
    let image = |ifindex, len, bytes: &[u8]| Image { ifindex, len, bytes: bytes.to_vec() };
    file.interface(3, "wan0", Side::Before).unwrap();
    file.frame(at, &image(3, 1_500, b"abcde"), "wan0", Side::Before, "fwd_new: to h2 (hop 3)").unwrap();
    file.frame(at, &image(4, 1_520, b"fgh"), "wan1", Side::After { sent: true }, "x").unwrap();
    file.frame(at, &image(3, 60, b""), "wan0", Side::Before, "").unwrap();
    let bytes = file.finish(at, 7, "7 packets are missing").unwrap();

    let blocks = blocks(&bytes);
    let kinds: Vec<u32> = blocks.iter().map(|block| block.kind).collect();
    assert_eq!(kinds, [0x0a0d_0d0a, 1, 6, 1, 6, 6, 5, 5]);
    let section = &blocks[0];
    assert_eq!(section.fixed[..8], [0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0], "byte order, version 1.0");
    assert_eq!((text(section, 1), text(section, 4)), ("all".to_owned(), "slr-router 1".to_owned()));
    assert_eq!(text(section, 2), std::env::consts::ARCH);
    assert!(text(section, 3).starts_with("Linux "), "{}", text(section, 3));
    for (block, name) in [(&blocks[1], "wan0 before"), (&blocks[3], "wan1 after")] {
        assert_eq!((u16_at(&block.fixed, 0), u32_at(&block.fixed, 4)), (1, 64), "Ethernet, snap length");
        assert_eq!((text(block, 2).as_str(), block.options[1].clone()), (name, (9, vec![9])));
    }
    let stamp = |block: &Block| u64::from(u32_at(&block.fixed, 4)) << 32 | u64::from(u32_at(&block.fixed, 8));
    let [first, second, empty] = [&blocks[2], &blocks[4], &blocks[5]];
    for (block, interface, kept, len) in [(first, 0, 5, 1_500), (second, 1, 3, 1_520), (empty, 0, 0, 60)] {
        assert_eq!(u32_at(&block.fixed, 0), interface);
        assert_eq!(u128::from(stamp(block)), at.as_nanos());
        assert_eq!((u32_at(&block.fixed, 12), u32_at(&block.fixed, 16)), (kept, len));
    }
    assert_eq!(first.fixed[20..], *b"abcde\0\0\0");
    assert_eq!(text(first, 1), "fwd_new: to h2 (hop 3)");
    assert_eq!((first.options[1].clone(), second.options[1].clone()), ((2, vec![0, 0, 0, 1]), (2, vec![0, 0, 0, 2])));
    let [one, other] = [&blocks[6], &blocks[7]];
    assert_eq!(u128::from(stamp(one)), at.as_nanos(), "the high half first");
    let number = |value: u64| value.to_be_bytes().to_vec();
    assert_eq!(text(one, 1), "7 packets are missing");
    assert_eq!(one.options[1..], [(5, number(7)), (8, number(2))]);
    assert_eq!((u32_at(&other.fixed, 0), other.options.clone()), (1, vec![(8, number(1))]));
}
