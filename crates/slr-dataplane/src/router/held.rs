//! Orphans, and datagrams of unknown UDP flows, that no host of their slot has: read from the program's ring buffer, for the daemon to
//! ask other routers about. And the answer to such a question: who has a flow here.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};

use slr_model::{FlowKey, HopId, KeyMask, NodeName, Protocol};

use super::Router;
use super::desired::Host;
use super::hops::Entry;
use crate::abi::{Pod, flow, flow_key_v4, flow_key_v6, held, slr_const};
use crate::hash::flow_hash;
use crate::records::Records;
use crate::table::MapError;

/// Orphans that are taken at once: as many as the buffer holds.
const AT_ONCE: usize = 256;

/// An orphan that is held, or a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its flow.
    pub flow: FlowKey,
    /// The client's datagram, from its IP header on.
    pub datagram: Vec<u8>,
    /// Where the ring points.
    pub hop: u16,
    /// Which host that was, as long as it is one of this generation.
    pub hop_gen: u16,
    /// Spreads the outer source over the registered prefix.
    pub entropy: u16,
}

/// The program's orphans. Its descriptor is readable when there are some.
pub struct HeldReader(Records<Orphan>);

impl HeldReader {
    /// What has come since. More may be there: to be called until it returns nothing.
    pub fn take(&mut self) -> Result<Vec<Orphan>, MapError> {
        self.0.take()
    }
}

impl AsRawFd for HeldReader {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Router {
    /// The reader of held orphans; one at a time, since two would each see a part.
    pub fn held_reader(&self) -> Result<HeldReader, MapError> {
        Records::open(&self.loaded, "held", AT_ONCE, orphan_of).map(HeldReader)
    }

    /// The host that a flow is pinned to, if this router knows it of its own: no guess, and not what a neighbour has. Of a UDP flow
    /// a guess counts: nothing ever proves one, and whom it was guessed to be with has served it since. A connection counts from its SYN on: its
    /// client may have got the answer, and go on at another router.
    pub fn owner_of(&self, key: &FlowKey) -> Result<Option<NodeName>, MapError> {
        let is_known =
            |pin: &flow| key.protocol() == Protocol::Udp || u32::from(pin.flags) & slr_const::FLOW_GUESS.0 == 0;
        let pin = self.pin_of(key)?.filter(|pin| self.entry_of(pin.hop, pin.hop_gen).is_some());
        let found = match pin {
            Some(pin) => Some(pin).filter(is_known),
            None if key.protocol() == Protocol::Tcp => self.pending_of(key)?,
            None => None,
        };
        let entry = found.and_then(|found| self.entry_of(found.hop, found.hop_gen));
        let own = entry.filter(|entry| u32::from(entry.template.flags) & slr_const::HOP_NEIGHBOUR.0 == 0);
        Ok(own.and_then(|entry| Some(entry.host.as_ref()?.name.clone())))
    }

    /// The tunnel address that a flow's packets go to now: it is pinned, by whatever word.
    pub fn way_of(&self, key: &FlowKey) -> Result<Option<IpAddr>, MapError> {
        let entry = self.pin_of(key)?.and_then(|pin| self.entry_of(pin.hop, pin.hop_gen));
        Ok(entry.and_then(|entry| Some(entry.host.as_ref()?.address)))
    }

    /// The host where the ring pointed for what is held, if it still is who it was.
    pub fn place_of(&self, orphan: &Orphan) -> Option<&Host> {
        self.entry_of(orphan.hop, orphan.hop_gen)?.host.as_ref()
    }

    pub(super) fn pin_of(&self, key: &FlowKey) -> Result<Option<flow>, MapError> {
        match flow_key_v4::of(key) {
            Some(key) => self.tables.flows_v4.get(&key),
            None => self.tables.flows_v6.get(&flow_key_v6::of(key)),
        }
    }

    /// A flow that has not shown two ends, if it is remembered.
    pub(super) fn pending_of(&self, key: &FlowKey) -> Result<Option<flow>, MapError> {
        let hash = flow_hash(self.seed()?, key, KeyMask::ALL);
        Ok(match flow_key_v4::of(key) {
            Some(key) => self.tables.pending_v4.find(&key, hash),
            None => self.tables.pending_v6.find(&flow_key_v6::of(key), hash),
        })
    }

    fn entry_of(&self, hop: u16, generation: u16) -> Option<&Entry> {
        let id = HopId::new(hop).ok()?;
        self.hops.iter().find(|entry| entry.id == id && entry.generation == generation)
    }

    /// The tunnel address of a hop that packets can be sent to.
    pub fn address_of(&self, name: &NodeName) -> Option<IpAddr> {
        let hosts = self.hops.iter().filter_map(|entry| Some((entry, entry.host.as_ref()?)));
        let mut known = hosts.filter(|(_, host)| host.name == *name);
        known
            .find(|(entry, _)| u32::from(entry.template.flags) & slr_const::HOP_UP.0 != 0)
            .map(|(_, host)| host.address)
    }
}

/// None if the program has written what has no ports.
fn orphan_of(record: &[u8]) -> Option<Orphan> {
    let (head, bytes) = record.split_at_checked(size_of::<held>())?;
    let head = held::from_bytes(head)?;
    let datagram = bytes.get(..head.len as usize)?.to_vec();
    let flow = flow_of(&datagram, head.family)?;
    Some(Orphan { flow, datagram, hop: head.hop, hop_gen: head.hop_gen, entropy: head.entropy })
}

/// The flow of what the program has parsed already: options and extension headers are passed over as it does.
fn flow_of(datagram: &[u8], family: u32) -> Option<FlowKey> {
    let word = |at: usize| Some(u16::from_be_bytes([*datagram.get(at)?, *datagram.get(at + 1)?]));
    let (client, to, mut next, mut at): (IpAddr, IpAddr, u8, usize) = if family == 4 {
        let address = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(datagram.get(at..at + 4)?).ok()?));
        (address(12)?, address(16)?, *datagram.get(9)?, usize::from(datagram.first()? & 0xf) * 4)
    } else {
        let address = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(datagram.get(at..at + 16)?).ok()?));
        (address(8)?, address(24)?, *datagram.get(6)?, 40)
    };
    for _ in 0..slr_const::SLR_EXT_HEADERS_MAX.0 {
        // Hop-by-hop, routing, destination options: RFC 8200 4.1.
        if family == 4 || !matches!(next, 0 | 43 | 60) {
            break;
        }
        (next, at) = (*datagram.get(at)?, at + (usize::from(*datagram.get(at + 1)?) + 1) * 8);
    }
    let protocol = Protocol::from_number(next)?;
    FlowKey::new((client, word(at)?).into(), (to, word(at + 2)?).into(), protocol).ok()
}

#[cfg(test)]
mod tests {
    use slr_testkit::packet::{ACK, pkt};

    use super::*;

    fn record(family: u32, datagram: &[u8], room: usize) -> Vec<u8> {
        let head = held { hop: 3, hop_gen: 2, entropy: 7, len: datagram.len() as u32, family, ..held::default() };
        let mut bytes = head.bytes().to_vec();
        bytes.extend(datagram);
        bytes.resize(bytes.len() + room, 0);
        bytes
    }

    #[test]
    fn a_record_is_read_with_whatever_headers_its_datagram_has() {
        let v4 = pkt().ipv4("198.51.100.7", "192.0.2.9");
        let v6 = pkt().ipv6("2001:db8::7", "2001:db8:1::9");
        for (family, packet) in [
            (4, v4.clone().tcp(40000, 80).flags(ACK).payload_len(9)),
            (4, v4.options(&[1; 8]).tcp(40000, 80).flags(ACK)),
            (6, v6.clone().tcp(40000, 80).flags(ACK).payload_len(9)),
            (6, v6.destination_options(&[1, 0]).tcp(40000, 80).flags(ACK)),
        ] {
            let datagram = packet.build();
            let expected = match family {
                4 => "tcp 198.51.100.7:40000 > 192.0.2.9:80",
                _ => "tcp [2001:db8::7]:40000 > [2001:db8:1::9]:80",
            };
            let orphan = orphan_of(&record(family, &datagram, 100)).unwrap();
            assert_eq!((orphan.flow, orphan.datagram), (expected.parse().unwrap(), datagram));
            assert_eq!((orphan.hop, orphan.hop_gen, orphan.entropy), (3, 2, 7));
        }
    }

    #[test]
    fn what_is_cut_short_is_none() {
        let datagram = pkt().ipv4("198.51.100.7", "192.0.2.9").tcp(40000, 80).flags(ACK).build();
        let whole = record(4, &datagram, 0);
        assert!(orphan_of(&whole).is_some());
        for len in 0..whole.len() {
            assert_eq!(orphan_of(&whole[..len]), None, "{len} bytes");
        }
        assert_eq!(orphan_of(&record(6, &datagram, 0)), None, "of the other family");
    }
}
