//! Publication of the rings within a cluster: weights by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use slr_model::{ClassName, NodeName, ServiceKey, Weight};
use thiserror::Error;

use crate::assembly::{Assembly, AssemblyError};
use crate::field::{at_most, invalid, node_name, not_zero, part, required, text};
use crate::service_key::{service_key, service_key_bytes};
use crate::{DecodeError, bounds, proto};

mod split;

/// Which publication: publishers and their starts are told apart, so that two that once published side by side never
/// have the same name for different rings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edition {
    /// Who published it.
    pub publisher: NodeName,
    /// The start of the publisher's process, never 0.
    pub incarnation: u64,
    /// Grows with each publication; whoever takes over counts on from what it held. Never 0.
    pub generation: u64,
}

impl fmt::Display for Edition {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.pad(&format!("{} of {}", self.generation, self.publisher))
    }
}

/// Which ring: that of a service for the clients of a class.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RingKey {
    /// The service.
    pub service: ServiceKey,
    /// The client class; `None`: clients of no class.
    pub class: Option<ClassName>,
}

impl fmt::Display for RingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match &self.class {
            None => self.service.fmt(formatter),
            Some(class) => formatter.pad(&format!("{} for {class}", self.service)),
        }
    }
}

/// Weights of a ring's hosts.
pub type RingWeights = BTreeMap<NodeName, Weight>;

/// A publication: everything (`base` is `None`), or what changed since another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rings {
    /// Which.
    pub edition: Edition,
    /// What it changes; `None`: it stands alone.
    pub base: Option<Edition>,
    /// Each ring that it names, whole.
    pub rings: BTreeMap<RingKey, RingWeights>,
    /// Rings of the base that are no more.
    pub removed: BTreeSet<RingKey>,
}

/// A part of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingsPart {
    /// Which publication.
    pub edition: Edition,
    /// What it changes.
    pub base: Option<Edition>,
    /// Which part, from 0.
    pub part: u16,
    /// Of how many.
    pub parts: u16,
    /// Rings, or pieces of them: a ring in several parts has the weights of all.
    pub rings: Vec<(RingKey, Vec<(NodeName, Weight)>)>,
    /// Rings of the base that are no more.
    pub removed: Vec<RingKey>,
}

/// A member's beat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingsAck {
    /// What it holds.
    pub held: Option<Edition>,
    /// Whom it follows; `None`: it computes for itself.
    pub follows: Option<NodeName>,
    /// It has only just started, or fell behind: it publishes nothing before it knows what the others hold.
    pub joining: bool,
    /// What came does not fit what it holds: everything is to be sent.
    pub resync: bool,
}

/// A publication that cannot be, from a caller or from the wire.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RingsError {
    /// Too many rings or weights.
    #[error(
        "a publication of {rings} rings with {weights} weights: at most {} and {} travel",
        bounds::RINGS_MAX,
        bounds::RING_WEIGHTS_MAX
    )]
    TooMany {
        /// How many rings.
        rings: usize,
        /// How many weights in all.
        weights: usize,
    },
    /// Parts that make no whole.
    #[error(transparent)]
    Parts(#[from] AssemblyError),
    /// A host twice in one ring.
    #[error("{node} stands in the ring {ring} twice")]
    Duplicate {
        /// The host.
        node: NodeName,
        /// The ring.
        ring: RingKey,
    },
}

impl Rings {
    /// Cuts it into parts that fit frames; at least one.
    pub fn split(&self) -> Result<Vec<RingsPart>, RingsError> {
        split::split(self)
    }
}

/// Joins the parts of publications as they arrive.
#[derive(Clone, Debug)]
pub struct RingsAssembly {
    parts: Assembly<(Edition, Option<Edition>), Piece>,
    weights: usize,
}

#[derive(Clone, Debug)]
enum Piece {
    Ring(RingKey, Vec<(NodeName, Weight)>),
    Removed(RingKey),
}

impl Default for RingsAssembly {
    fn default() -> Self {
        // A ring is cut at most once for each part, and each ring is either named or removed.
        Self { parts: Assembly::new(bounds::RINGS_MAX * 2 + usize::from(bounds::RINGS_PARTS_MAX)), weights: 0 }
    }
}

impl RingsAssembly {
    /// Takes a part; the last one returns the whole.
    pub fn push(&mut self, part: RingsPart) -> Result<Option<Rings>, RingsError> {
        if part.part == 0 {
            self.weights = 0;
        }
        self.weights += part.rings.iter().map(|(_, weights)| weights.len()).sum::<usize>();
        if self.weights > bounds::RING_WEIGHTS_MAX {
            let error = RingsError::TooMany { rings: part.rings.len(), weights: self.weights };
            *self = Self::default();
            return Err(error);
        }
        let rings = part.rings.into_iter().map(|(key, weights)| Piece::Ring(key, weights));
        let pieces = rings.chain(part.removed.into_iter().map(Piece::Removed));
        match self.parts.push((part.edition, part.base), part.part, part.parts, pieces)? {
            Some(((edition, base), pieces)) => join(edition, base, pieces).map(Some),
            None => Ok(None),
        }
    }
}

fn join(edition: Edition, base: Option<Edition>, pieces: Vec<Piece>) -> Result<Rings, RingsError> {
    let mut whole = Rings { edition, base, rings: BTreeMap::new(), removed: BTreeSet::new() };
    for piece in pieces {
        match piece {
            Piece::Removed(key) => {
                whole.removed.insert(key);
            }
            Piece::Ring(key, weights) => {
                let ring = whole.rings.entry(key.clone()).or_default();
                for (node, weight) in weights {
                    if ring.contains_key(&node) {
                        return Err(RingsError::Duplicate { node, ring: key });
                    }
                    ring.insert(node, weight);
                }
            }
        }
    }
    let (rings, weights) = (whole.rings.len(), whole.rings.values().map(BTreeMap::len).sum());
    if rings > bounds::RINGS_MAX { Err(RingsError::TooMany { rings, weights }) } else { Ok(whole) }
}

impl Edition {
    fn read(field: &'static str, found: proto::Edition) -> Result<Self, DecodeError> {
        Ok(Self {
            publisher: node_name(field, &found.publisher)?,
            incarnation: not_zero(field, found.incarnation)?,
            generation: not_zero(field, found.generation)?,
        })
    }

    fn write(&self) -> proto::Edition {
        proto::Edition {
            publisher: self.publisher.to_string(),
            incarnation: self.incarnation,
            generation: self.generation,
        }
    }
}

fn read_key(field: &'static str, found: Option<proto::RingKey>) -> Result<RingKey, DecodeError> {
    let found = required(field, found)?;
    // The length first: the error of a name quotes it.
    let class = match text(field, found.class, ClassName::MAX_LEN)?.as_str() {
        "" => None,
        name => Some(name.parse().map_err(|error| invalid(field, error))?),
    };
    Ok(RingKey { service: service_key(field, found.key)?, class })
}

fn write_key(key: &RingKey) -> proto::RingKey {
    proto::RingKey {
        key: Some(service_key_bytes(&key.service)),
        class: key.class.as_ref().map_or_else(String::new, ClassName::to_string),
    }
}

impl RingsPart {
    pub(crate) fn read(found: proto::Rings) -> Result<Self, DecodeError> {
        let (part, parts) = part("rings.part", found.part, found.parts, bounds::RINGS_PARTS_MAX)?;
        at_most("rings.rings", found.rings.len(), bounds::RINGS_MAX)?;
        at_most("rings.removed", found.removed.len(), bounds::RINGS_MAX)?;
        let names =
            found.names.iter().map(|name| node_name("rings.names", name)).collect::<Result<Vec<NodeName>, _>>()?;
        Ok(Self {
            edition: Edition::read("rings.edition", required("rings.edition", found.edition)?)?,
            base: found.base.map(|base| Edition::read("rings.base", base)).transpose()?,
            part,
            parts,
            rings: found.rings.into_iter().map(|ring| read_ring(&names, ring)).collect::<Result<_, _>>()?,
            removed: found
                .removed
                .into_iter()
                .map(|key| read_key("rings.removed", Some(key)))
                .collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn write(&self) -> proto::Rings {
        let mut index = BTreeMap::new();
        let mut names = Vec::new();
        let mut rings = Vec::with_capacity(self.rings.len());
        for (key, weights) in &self.rings {
            let mut ring = proto::Ring { key: Some(write_key(key)), nodes: Vec::new(), weights: Vec::new() };
            for (node, weight) in weights {
                let place = *index.entry(node).or_insert_with(|| {
                    names.push(node.to_string());
                    u32::try_from(names.len() - 1).expect("a part has fewer names than a frame has bytes")
                });
                ring.nodes.push(place);
                ring.weights.push(weight.get().into());
            }
            rings.push(ring);
        }
        proto::Rings {
            edition: Some(self.edition.write()),
            base: self.base.as_ref().map(Edition::write),
            part: self.part.into(),
            parts: self.parts.into(),
            names,
            rings,
            removed: self.removed.iter().map(write_key).collect(),
        }
    }
}

fn read_ring(names: &[NodeName], found: proto::Ring) -> Result<(RingKey, Vec<(NodeName, Weight)>), DecodeError> {
    if found.nodes.len() != found.weights.len() {
        let why = format!("{} weights for {} nodes", found.weights.len(), found.nodes.len());
        return Err(invalid("rings.weights", why));
    }
    let mut weights = Vec::with_capacity(found.nodes.len());
    for (place, weight) in found.nodes.into_iter().zip(found.weights) {
        let name = names.get(place as usize).ok_or_else(|| invalid("rings.nodes", format!("{place} names no node")))?;
        let weight = u16::try_from(weight).ok().and_then(|weight| Weight::new(weight).ok());
        weights.push((name.clone(), weight.ok_or_else(|| invalid("rings.weights", "a weight above 1000"))?));
    }
    Ok((read_key("rings.key", found.key)?, weights))
}

impl RingsAck {
    pub(crate) fn read(found: proto::RingsAck) -> Result<Self, DecodeError> {
        let follows = match found.follows.as_str() {
            "" => None,
            name => Some(node_name("rings_ack.follows", name)?),
        };
        let held = found.held.map(|held| Edition::read("rings_ack.held", held)).transpose()?;
        Ok(Self { held, follows, joining: found.joining, resync: found.resync })
    }

    pub(crate) fn write(&self) -> proto::RingsAck {
        proto::RingsAck {
            held: self.held.as_ref().map(Edition::write),
            follows: self.follows.as_ref().map_or_else(String::new, NodeName::to_string),
            joining: self.joining,
            resync: self.resync,
        }
    }
}
