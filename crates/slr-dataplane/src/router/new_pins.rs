//! Flows that the program has pinned just now: read from its ring buffer, with the names of their hosts.

use std::net::SocketAddr;

use slr_model::{FlowKey, HopId, NodeName, Protocol};

use super::{Router, addr};
use crate::abi::{Pod, flow, new_pin, slr_const};
use crate::records::Records;
use crate::table::MapError;

/// Records that are taken at once: a fifth of the buffer, some milliseconds.
const AT_ONCE: usize = 16_384;

/// What has come since the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewPins {
    /// Flows and their hosts, in order. A flow whose host has gone or went down meanwhile is not among them.
    pub pins: Vec<(NodeName, FlowKey)>,
    /// Pins that there was no room to tell of.
    pub lost: u64,
    /// There may be more: as many as are taken at once were taken.
    pub more: bool,
}

/// Reads the program's records; one at a time, since two would each see a part.
pub struct NewPinReader {
    records: Records<new_pin>,
    lost: u64,
}

impl NewPinReader {
    /// What has come since, some thousand at most: to be called every few milliseconds, since nobody is woken.
    pub fn take(&mut self, router: &Router) -> Result<NewPins, MapError> {
        let found = self.records.take()?;
        let lost = router.new_pins_lost()?;
        let new = lost - std::mem::replace(&mut self.lost, lost).min(lost);
        let more = found.len() == AT_ONCE;
        if found.is_empty() {
            return Ok(NewPins { pins: Vec::new(), lost: new, more });
        }
        let (generations, names) = (router.generations(), router.hop_names());
        let pin = |record: &new_pin| {
            let pinned = flow { hop: record.hop, hop_gen: record.hop_gen, ..flow::default() };
            let name =
                HopId::new(record.hop).ok().filter(|_| generations.has(&pinned)).and_then(|id| names.get(&id))?;
            Some(((*name).clone(), flow_of(record)?))
        };
        Ok(NewPins { pins: found.iter().filter_map(pin).collect(), lost: new, more })
    }
}

impl Router {
    /// The reader of new pins. What was told before it was made is dropped.
    pub fn new_pin_reader(&self) -> Result<NewPinReader, MapError> {
        let mut records = Records::open(&self.loaded, "new_pins", AT_ONCE, new_pin::from_bytes)?;
        while !records.take()?.is_empty() {}
        Ok(NewPinReader { records, lost: self.new_pins_lost()? })
    }

    /// Pins that there was no room to tell of, since the tables were made.
    pub fn new_pins_lost(&self) -> Result<u64, MapError> {
        self.count_of(slr_const::NEW_PIN_LOST)
    }

    /// Flows that another member told of, and that went on here: recovered by the mirror. Since the tables were made.
    pub fn carried_on(&self) -> Result<u64, MapError> {
        self.count_of(slr_const::NEW_PIN_CARRIED_ON)
    }

    fn count_of(&self, what: slr_const) -> Result<u64, MapError> {
        Ok(self.tables.new_pin_counts.get(what.0)?.into_iter().sum())
    }
}

/// None if the program has written what is no flow.
fn flow_of(record: &new_pin) -> Option<FlowKey> {
    let end = |address: crate::abi::slr_addr, port: u16| {
        SocketAddr::new(addr::from_words(address.word).to_canonical(), u16::from_be(port))
    };
    let protocol = Protocol::from_number(u8::try_from(record.proto).ok()?)?;
    FlowKey::new(end(record.client, record.client_port), end(record.vaddr, record.vport), protocol).ok()
}
