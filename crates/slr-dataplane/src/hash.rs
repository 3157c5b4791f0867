//! The placement hash, as the kernel computes it (`bpf/place.h`): the same flow gets the same slot in every member of a
//! cluster. docs/wire.md has the definition.

use std::net::IpAddr;

use slr_model::{FlowKey, KeyField, KeyMask};

const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(h: u64, word: u64) -> u64 {
    let h = (h ^ word).wrapping_mul(MIX);
    h ^ (h >> 32)
}

fn mix_address(h: u64, address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(_) => unreachable!("IPv4 addresses go in one word"),
        IpAddr::V6(a) => {
            let a = u128::from(a);
            mix(mix(h, (a >> 64) as u64), a as u64)
        }
    }
}

/// The 64-bit hash of a flow: its high half picks the slot, its low 16 bits spread the outer source address.
pub fn flow_hash(seed: u64, key: &FlowKey, mask: KeyMask) -> u64 {
    let has = |field| mask.contains(field);
    let ports = has(KeyField::ClientPort) || has(KeyField::VirtualPort);
    let mut h = seed ^ if ports { u64::from(key.protocol().number()) } else { 0 };
    match (key.client().ip(), key.virtual_host().ip()) {
        (IpAddr::V4(client), IpAddr::V4(virtual_host)) => {
            let client = if has(KeyField::ClientAddress) { u64::from(client.to_bits()) } else { 0 };
            let virtual_host = if has(KeyField::VirtualAddress) { u64::from(virtual_host.to_bits()) } else { 0 };
            h = mix(h, client << 32 | virtual_host);
        }
        (client, virtual_host) => {
            if has(KeyField::ClientAddress) {
                h = mix_address(h, client);
            }
            if has(KeyField::VirtualAddress) {
                h = mix_address(h, virtual_host);
            }
        }
    }
    let client_port = if has(KeyField::ClientPort) { u64::from(key.client().port()) } else { 0 };
    let virtual_port = if has(KeyField::VirtualPort) { u64::from(key.virtual_host().port()) } else { 0 };
    h = mix(h, client_port << 16 | virtual_port);
    mix(h, 0)
}
