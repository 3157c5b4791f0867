//! A child's adverts as the parent takes them: full ones whole, each with the newest load values of the node.

use std::collections::BTreeSet;
use std::fmt;

use slr_model::{Advert, Loads, ServiceAdvert, ServiceKey};
use slr_wire::{AdvertPart, Assembly, AssemblyError, bounds};

/// An advert, or the part of one that came in one datagram: what `Registry::advert` takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Advertised {
    /// The advert's sequence. Of each service the largest one counts, in whatever order they come.
    pub sequence: u64,
    /// It is everything: a service that it does not name, and that no newer advert named, is withdrawn.
    pub full: bool,
    /// The services of this part, and the node's loads as they were last heard.
    pub advert: Advert,
}

/// What has come in of a child's adverts.
#[derive(Clone, Debug)]
pub(super) struct Advertisements {
    /// The newest loads of the node, and in which advert they came. They are in part 0, which may be late or lost.
    loads: (u64, Loads),
    /// Sequence of the newest full advert: nothing older counts.
    full: u64,
    newest: u64,
    /// Services in the newest full advert.
    services: usize,
    parts: Assembly<u64, ServiceAdvert>,
    /// The node's loads, from part 0 of a full advert that is not yet complete.
    parts_loads: Loads,
}

/// An advert that a child must not send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AdvertFault {
    Parts(AssemblyError),
    /// The same service in two parts of a full advert.
    Duplicate(ServiceKey),
    /// A full advert that is not newer than the one before.
    Repeated(u64),
}

impl fmt::Display for AdvertFault {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            AdvertFault::Parts(error) => write!(formatter, "advert: {error}"),
            AdvertFault::Duplicate(key) => write!(formatter, "an advert that names {key} twice"),
            AdvertFault::Repeated(sequence) => write!(formatter, "advert {sequence} after one that is as new"),
        }
    }
}

impl Advertisements {
    pub fn new() -> Self {
        Self {
            loads: (0, Loads::new()),
            full: 0,
            newest: 0,
            services: 0,
            parts: Assembly::new(bounds::SERVICES_MAX),
            parts_loads: Loads::new(),
        }
    }

    /// Sequence of the newest advert of which anything came.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// How many services the newest full advert has.
    pub fn services(&self) -> usize {
        self.services
    }

    /// A part from a datagram. `None`: a full advert that is newer has come.
    pub fn take_datagram(&mut self, part: AdvertPart) -> Option<Advertised> {
        if part.sequence < self.full {
            return None;
        }
        if part.part == 0 {
            self.take_loads(part.sequence, part.loads);
        }
        Some(self.advertised(part.sequence, false, part.services))
    }

    /// A part from the stream; the last part of a full advert makes it count.
    pub fn take_full(&mut self, part: AdvertPart) -> Result<Option<Advertised>, AdvertFault> {
        if part.sequence <= self.full {
            return Err(AdvertFault::Repeated(part.sequence));
        }
        if part.part == 0 {
            self.parts_loads = part.loads;
        }
        let joined = self.parts.push(part.sequence, part.part, part.parts, part.services);
        let Some((sequence, services)) = joined.map_err(AdvertFault::Parts)? else {
            return Ok(None);
        };
        let mut keys = BTreeSet::new();
        if let Some(twice) = services.iter().find(|service| !keys.insert(service.key)) {
            return Err(AdvertFault::Duplicate(twice.key));
        }
        (self.full, self.services) = (sequence, services.len());
        let loads = std::mem::take(&mut self.parts_loads);
        self.take_loads(sequence, loads);
        Ok(Some(self.advertised(sequence, true, services)))
    }

    fn take_loads(&mut self, sequence: u64, loads: Loads) {
        if sequence > self.loads.0 {
            self.loads = (sequence, loads);
        }
    }

    fn advertised(&mut self, sequence: u64, full: bool, services: Vec<ServiceAdvert>) -> Advertised {
        self.newest = self.newest.max(sequence);
        Advertised { sequence, full, advert: Advert { loads: self.loads.1.clone(), services } }
    }
}
