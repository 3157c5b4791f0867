//! Whatever a node may say arrives as it was said; whatever arrives, nothing panics.

mod common;

use common::*;
use proptest::prelude::*;
use slr_wire::{AdvertPart, Channel, DecodeError, FrameReader, Message, RingsAssembly, bounds};

fn decode_frame(frame: &[u8]) -> Message {
    let mut reader = FrameReader::default();
    reader.push(frame);
    let message = Message::decode(reader.next_frame().unwrap().expect("a whole frame")).unwrap();
    assert!(reader.is_empty());
    message
}

proptest! {

    #[test]
    fn every_message_round_trips(message in message()) {
        prop_assert_eq!(decode_frame(&message.encode_frame().unwrap()), message);
    }

    #[test]
    fn no_cut_of_a_message_panics_or_reads_as_another_one(message in message()) {
        let bytes = message.encode_frame().unwrap()[4..].to_vec();
        for len in 0..bytes.len() {
            // A cut at a field's end is a message with fewer fields; it must still be within the bounds.
            if let Ok(shorter) = Message::decode(&bytes[..len]) {
                prop_assert_eq!(decode_frame(&shorter.encode_frame().unwrap()), shorter);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(&bytes);
    }

    #[test]
    fn changed_bytes_never_panic(message in message(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = message.encode_frame().unwrap()[4..].to_vec();
        for (place, value) in changes {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
        }
        if let Ok(other) = Message::decode(&bytes) {
            prop_assert_eq!(decode_frame(&other.encode_frame().unwrap()), other);
        }
    }

    #[test]
    fn adverts_of_any_size_fit_their_channel(advert in advert(40), full in any::<bool>()) {
        let parts = AdvertPart::split(&advert, 7, full).unwrap();
        let mut services = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            prop_assert_eq!((usize::from(part.part), usize::from(part.parts)), (index, parts.len()));
            prop_assert!(index == 0 || part.loads.is_empty());
            let message = Message::Advert(part.clone());
            let channel = if full { Channel::Stream } else { Channel::Datagram };
            prop_assert!(message.travels(channel));
            let read = if full {
                decode_frame(&message.encode_frame().unwrap())
            } else {
                Message::decode(&message.encode_datagram().unwrap()).unwrap()
            };
            let Message::Advert(read) = read else { panic!("{read:?}") };
            services.extend(read.services);
        }
        prop_assert_eq!(&parts[0].loads, &advert.loads);
        prop_assert_eq!(services, advert.services);
    }

    #[test]
    fn publications_are_joined_from_their_frames(rings in rings(6, 60)) {
        let mut assembly = RingsAssembly::default();
        let parts = rings.split().unwrap();
        let (last, before) = parts.split_last().unwrap();
        for part in before {
            prop_assert_eq!(assembly.push(part.clone()), Ok(None));
        }
        prop_assert_eq!(assembly.push(last.clone()), Ok(Some(rings)));
    }
}

#[test]
fn the_largest_publication_takes_many_frames_and_arrives() {
    let rings = large_publication(64, 4_096);
    let parts = rings.split().unwrap();
    assert!(parts.len() > 32 && parts.len() <= usize::from(bounds::RINGS_PARTS_MAX), "{} parts", parts.len());
    let mut assembly = RingsAssembly::default();
    let mut whole = None;
    for part in parts {
        let frame = Message::Rings(part).encode_frame().unwrap();
        let Message::Rings(part) = decode_frame(&frame) else { panic!("no rings") };
        whole = assembly.push(part).unwrap();
    }
    assert!(whole == Some(rings), "the publication is not what was sent");
}

#[test]
fn a_full_advert_of_the_largest_node_takes_several_frames() {
    let advert = largest_advert();
    let parts = AdvertPart::split(&advert, 1, true).unwrap();
    assert!((2..=usize::from(bounds::ADVERT_PARTS_MAX)).contains(&parts.len()));
    let services: Vec<_> = parts
        .into_iter()
        .flat_map(|part| match decode_frame(&Message::Advert(part).encode_frame().unwrap()) {
            Message::Advert(part) => part.services,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(services, advert.services);
    for part in AdvertPart::split(&advert, 1, false).unwrap() {
        Message::Advert(part).encode_datagram().unwrap();
    }
}

#[test]
fn an_unknown_message_is_told_from_a_malformed_one() {
    // Field 900 of a later version, and an empty envelope.
    for bytes in [&[0xa2, 0x38, 0x01, 0x00][..], &[]] {
        assert_eq!(Message::decode(bytes), Err(DecodeError::Unknown));
    }
    assert_eq!(Message::decode(&[0xff]).unwrap_err().reason(), "malformed");
    assert_eq!(Message::decode(&vec![0; bounds::FRAME_MAX + 1]).unwrap_err().reason(), "too_long");
}
