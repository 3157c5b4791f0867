//! What the model writes: outer headers, answers, congestion marks; and the placement hash.

use std::net::IpAddr;

use ipnet::IpNet;
use slr_dataplane::reason::RouterReason as R;
use slr_dataplane::router::Host;
use slr_model::{KeyField, KeyMask};
use slr_testkit::packet::{fold, ones_complement_sum, pseudo_header_sum};

use crate::model::Flow;
use crate::parse::{Datagram, word};

/// docs/wire.md, "Placement hash": words folded in one after the other.
pub fn flow_hash(seed: u64, flow: &Flow, mask: KeyMask) -> u64 {
    let has = |field| mask.contains(field);
    let mut words: Vec<u64> = Vec::new();
    let (client, to) = (has(KeyField::ClientAddress), has(KeyField::VirtualAddress));
    match (flow.client.ip(), flow.to.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let part = |on: bool, address: std::net::Ipv4Addr| if on { u64::from(u32::from(address)) } else { 0 };
            words.push(part(client, a) << 32 | part(to, b));
        }
        (a, b) => {
            for (_, address) in [(client, a), (to, b)].iter().filter(|(on, _)| *on) {
                let IpAddr::V6(address) = address else { panic!("two families") };
                let bits = u128::from(*address);
                words.extend([(bits >> 64) as u64, bits as u64]);
            }
        }
    }
    let port = |on: bool, port: u16| if on { u64::from(port) } else { 0 };
    let (client_port, port_to) = (has(KeyField::ClientPort), has(KeyField::VirtualPort));
    words.push(port(client_port, flow.client.port()) << 16 | port(port_to, flow.to.port()));
    words.push(0);
    let start = seed ^ if client_port || port_to { u64::from(flow.protocol) } else { 0 };
    words.into_iter().fold(start, |h, word| {
        let h = (h ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        h ^ (h >> 32)
    })
}

fn write(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// The outer source: the prefix, with the flow's entropy in those of its low 16 bits that are free.
fn spread(source: IpNet, entropy: u16) -> IpAddr {
    let host_bits = u32::from(source.max_prefix_len() - source.prefix_len()).min(16);
    let free = (1u32 << host_bits) - 1;
    match source.network() {
        IpAddr::V4(a) => IpAddr::V4((u32::from(a) | u32::from(entropy) & free).into()),
        IpAddr::V6(a) => IpAddr::V6((u128::from(a) | u128::from(u32::from(entropy) & free)).into()),
    }
}

/// Whether some flow's outer source is this.
pub fn is_spread(source: IpNet, address: IpAddr) -> bool {
    let low = octets(address).rchunks(2).next().map_or(0, |low| word(low, 0));
    spread(source, low) == address
}

fn ipv4_header(tos: u8, len: usize, protocol: u8, source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let mut header = vec![0x45, tos, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    header.extend(octets(source));
    header.extend(octets(destination));
    write(&mut header, 2, u16::try_from(len).expect("a datagram's length"));
    let sum = !fold(ones_complement_sum(0, &header));
    write(&mut header, 10, sum);
    header
}

fn ipv6_header(tos: u8, label: u16, payload: usize, next: u8, source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let first = 6 << 28 | u32::from(tos) << 20 | u32::from(label);
    let mut header = first.to_be_bytes().to_vec();
    header.extend(u16::try_from(payload).expect("a datagram's length").to_be_bytes());
    header.extend([next, 64]);
    header.extend(octets(source));
    header.extend(octets(destination));
    header
}

/// The frame in the tunnel to a host.
pub fn tunnel(frame: &[u8], datagram: &Datagram, host: &Host, source: IpNet, entropy: u16) -> Vec<u8> {
    let link = host.link.expect("a usable host has a link");
    let protocol = if datagram.source.is_ipv4() { 4 } else { 41 };
    let from = spread(source, entropy);
    let mut out = [link.destination.octets(), link.source.octets()].concat();
    if host.address.is_ipv4() {
        out.extend([0x08, 0x00]);
        out.extend(ipv4_header(datagram.tos, datagram.len + 20, protocol, from, host.address));
    } else {
        out.extend([0x86, 0xdd]);
        out.extend(ipv6_header(datagram.tos, entropy, datagram.len, protocol, from, host.address));
    }
    out.extend(&frame[datagram.l3..]);
    out
}

/// The link header of an answer: addresses exchanged, tags and type as they came.
fn link_back(frame: &[u8], l3: usize) -> Vec<u8> {
    [&frame[6..12], &frame[..6], &frame[12..l3]].concat()
}

/// The message that a datagram does not fit; `None` if it is shorter than what the message would quote.
pub fn too_big(frame: &[u8], datagram: &Datagram, room: usize) -> Option<Vec<u8>> {
    let (from, to) = (datagram.destination, datagram.source);
    let quote_len = if from.is_ipv4() { 504 } else { 1016 };
    let quote = frame[datagram.l3..datagram.l3 + datagram.len].get(..quote_len)?;
    let mut out = link_back(frame, datagram.l3);
    let mut message = if from.is_ipv4() {
        out.extend(ipv4_header(0xc0, 28 + quote_len, 1, from, to));
        [&[3, 4, 0, 0, 0, 0], &u16::try_from(room).expect("an MTU").to_be_bytes()[..], quote].concat()
    } else {
        out.extend(ipv6_header(0, 0, 8 + quote_len, 58, from, to));
        [&[2, 0, 0, 0], &u32::try_from(room.max(1280)).expect("an MTU").to_be_bytes()[..], quote].concat()
    };
    let start = if from.is_ipv4() { 0 } else { pseudo_header_sum(from, to, 58, message.len()) };
    let sum = !fold(ones_complement_sum(start, &message));
    write(&mut message, 2, sum);
    out.extend(message);
    Some(out)
}

/// RFC 1624, equation 3: a wrong checksum stays as wrong as it was.
fn renew_checksum(bytes: &mut [u8], checksum_at: usize, before: u16, after: u16) {
    let sum = u64::from(!word(bytes, checksum_at)) + u64::from(!before) + u64::from(after);
    write(bytes, checksum_at, !fold(sum));
}

/// The answer to an echo request: the same bytes but for the addresses, the TTL and the type.
pub fn echo_reply(frame: &[u8], datagram: &Datagram) -> Vec<u8> {
    let mut out = link_back(frame, datagram.l3);
    out.extend(&frame[datagram.l3..]);
    let ip = &mut out[datagram.l3..];
    let (from, to) = (octets(datagram.destination), octets(datagram.source));
    if datagram.source.is_ipv4() {
        let before = word(ip, 8);
        ip[8] = 64;
        let after = word(ip, 8);
        renew_checksum(ip, 10, before, after);
        ip[12..20].copy_from_slice(&[from, to].concat());
    } else {
        ip[7] = 64;
        ip[8..40].copy_from_slice(&[from, to].concat());
    }
    let message = &mut out[datagram.l4..];
    let before = word(message, 0);
    message[0] = if datagram.source.is_ipv4() { 0 } else { 129 };
    let after = word(message, 0);
    renew_checksum(message, 2, before, after);
    out
}

/// The answer to a keepalive with this body: a datagram of its own, of which only the addresses, the ports and the body are
/// those of the question.
pub fn keepalive_reply(frame: &[u8], datagram: &Datagram, body: &[u8]) -> Vec<u8> {
    let (from, to) = (datagram.destination, datagram.source);
    let ports = &frame[datagram.l4..datagram.l4 + 4];
    let len = 8 + body.len();
    let mut udp = [&ports[2..], &ports[..2], &[0, u8::try_from(len).expect("short"), 0, 0], body].concat();
    udp[8 + 5] = 2;
    let sum = !fold(ones_complement_sum(pseudo_header_sum(from, to, 17, len), &udp));
    write(&mut udp, 6, if sum == 0 { 0xffff } else { sum });
    let mut out = link_back(frame, datagram.l3);
    out.extend(match from.is_ipv4() {
        true => ipv4_header(0, 20 + len, 17, from, to),
        false => ipv6_header(0, 0, len, 17, from, to),
    });
    out.extend(udp);
    out
}

/// RFC 6040 4.2: the mark of a removed outer header on the datagram inside.
pub fn combine_congestion(inner: &mut [u8], kind: u16, outer_tos: u8) -> Result<(), R> {
    let v6 = kind == 0x86dd;
    let (not_capable, ect1, ect0, congested) = (0, 1, 2, 3);
    let outer = outer_tos & 3;
    if outer != congested && outer != ect1 {
        return Ok(());
    }
    if inner.len() < if v6 { 2 } else { 20 } {
        return Err(R::DropTunnelInner);
    }
    let before = word(inner, 0);
    let shift = if v6 { 4 } else { 0 };
    let mark = match (outer, before >> shift & 3) {
        (o, m) if o == congested && m == not_capable => return Err(R::DropEcn),
        (o, _) if o == congested => congested,
        (_, m) if m == ect0 => ect1,
        _ => return Ok(()),
    };
    let after = before & !(3 << shift) | u16::from(mark) << shift;
    write(inner, 0, after);
    if !v6 {
        renew_checksum(inner, 10, before, after);
    }
    Ok(())
}
