//! The ICMP message that a client sends back: what is read as an advertisement is written and read back the same, and nothing that a
//! client may change is authentic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use slr_wire::{FlowAdvert, FlowSecret};

fuzz_target!(|bytes: &[u8]| {
    for is_ipv4 in [true, false] {
        let Some(found) = FlowAdvert::in_reply(bytes, is_ipv4) else { continue };
        let Ok(advert) = FlowAdvert::decode(found) else { continue };
        let key = advert.key(&FlowSecret::new([0x5a; FlowSecret::LEN]).master(advert.epoch));
        let written = advert.encode(&key).expect("what was read can be written");
        let (signed, _) = found.split_last_chunk::<16>().expect("it is longer than its MAC");
        assert_eq!(&written[..signed.len()], signed);
        assert_eq!(FlowAdvert::decode(&written).as_ref(), Ok(&advert));
        assert!(FlowAdvert::is_authentic(&written, &key));
        assert_eq!(FlowAdvert::is_authentic(found, &key), *found == written);
        assert_eq!(advert.flow_keys().count(), advert.flows.len());
    }
});
