//! Adverts, and how one is cut into parts.

use std::collections::BTreeSet;

use prost::Message as _;
use slr_model::{Advert, HostState, Loads, ServiceAdvert, ServiceKey, Weight};
use thiserror::Error;

use crate::field::{at_most, fit, invalid, loads, loads_bytes, not_zero, part, text};
use crate::service_key::{service_key, service_key_bytes};
use crate::{DecodeError, bounds, proto};

/// What an envelope and an advert's own fields take at most: two tags with lengths of three bytes, sequence, part,
/// parts, full.
const HEADER_MAX: usize = 2 * 4 + 11 + 4 + 4 + 2;
/// What a service takes beside its own bytes: tag and length.
const SERVICE_HEADER_MAX: usize = 4;

/// A part of an advert, or all of it if it is the only one.
#[derive(Clone, Debug, PartialEq)]
pub struct AdvertPart {
    /// Grows with each advert of a connection, from 1; all parts have it.
    pub sequence: u64,
    /// Which part, from 0.
    pub part: u16,
    /// Of how many.
    pub parts: u16,
    /// On the stream only: what no part names is withdrawn.
    pub full: bool,
    /// Of the node as a whole: in part 0, empty in the others.
    pub loads: Loads,
    /// Each whole, in this part alone.
    pub services: Vec<ServiceAdvert>,
}

/// An advert that no node can make.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AdvertError {
    /// More services than one node may have.
    #[error(
        "{found} services: a node advertises at most {}; advertise a subnet as a whole (any@SUBNET)",
        bounds::SERVICES_MAX
    )]
    TooMany {
        /// How many there are.
        found: usize,
    },
    /// The same service twice.
    #[error("{key} is advertised twice: name each service once")]
    Duplicate {
        /// Which.
        key: ServiceKey,
    },
}

impl AdvertPart {
    /// Refuses what [`AdvertPart::split`] could not cut.
    pub fn check(advert: &Advert) -> Result<(), AdvertError> {
        if advert.services.len() > bounds::SERVICES_MAX {
            return Err(AdvertError::TooMany { found: advert.services.len() });
        }
        let mut keys = BTreeSet::new();
        match advert.services.iter().find(|service| !keys.insert(service.key)) {
            Some(twice) => Err(AdvertError::Duplicate { key: twice.key }),
            None => Ok(()),
        }
    }

    /// Cuts an advert into parts that fit frames (`full`) or datagrams, each service in one of them. At least one part.
    pub fn split(advert: &Advert, sequence: u64, full: bool) -> Result<Vec<AdvertPart>, AdvertError> {
        Self::check(advert)?;
        let room = if full { bounds::FRAME_MAX } else { bounds::DATAGRAM_MAX } - HEADER_MAX;
        let loads_len = loads_bytes(&advert.loads).iter().map(|load| load.encoded_len() + 2).sum::<usize>();
        let mut pieces = vec![(advert.loads.clone(), Vec::new())];
        let mut used = loads_len;
        for service in &advert.services {
            let len = write_service(service).encoded_len() + SERVICE_HEADER_MAX;
            if used + len > room {
                pieces.push((Loads::new(), Vec::new()));
                used = 0;
            }
            used += len;
            pieces.last_mut().expect("one piece from the start").1.push(service.clone());
        }
        let parts = u16::try_from(pieces.len()).expect("at most one part for each service and one more");
        let number = |(part, (loads, services))| AdvertPart { sequence, part, parts, full, loads, services };
        Ok((0..).zip(pieces).map(number).collect())
    }

    pub(crate) fn read(found: proto::Advert) -> Result<Self, DecodeError> {
        let (part, parts) = part("advert.part", found.part, found.parts, bounds::ADVERT_PARTS_MAX)?;
        at_most("advert.services", found.services.len(), bounds::SERVICES_MAX)?;
        if part > 0 && !found.loads.is_empty() {
            return Err(invalid("advert.loads", "only part 0 has the loads of the node"));
        }
        let services = found.services.into_iter().map(read_service).collect::<Result<Vec<_>, _>>()?;
        let mut keys = BTreeSet::new();
        if let Some(twice) = services.iter().find(|service| !keys.insert(service.key)) {
            return Err(DecodeError::Duplicate { field: "advert.services", what: twice.key.to_string() });
        }
        Ok(Self {
            sequence: not_zero("advert.sequence", found.sequence)?,
            part,
            parts,
            full: found.full,
            loads: loads("advert.loads", found.loads)?,
            services,
        })
    }

    pub(crate) fn write(&self) -> proto::Advert {
        proto::Advert {
            sequence: self.sequence,
            part: self.part.into(),
            parts: self.parts.into(),
            full: self.full,
            loads: loads_bytes(&self.loads),
            services: self.services.iter().map(write_service).collect(),
        }
    }
}

fn read_service(found: proto::ServiceAdvert) -> Result<ServiceAdvert, DecodeError> {
    let state = match found.state() {
        proto::State::Active => HostState::Active,
        proto::State::Draining => HostState::Draining,
        proto::State::Down => HostState::Down,
        proto::State::Unspecified => return Err(invalid("service.state", format!("{} is no state", found.state))),
    };
    let weight = u16::try_from(found.weight).ok().and_then(|weight| Weight::new(weight).ok());
    Ok(ServiceAdvert {
        key: service_key("service.key", found.key)?,
        state,
        reason: text("service.reason", found.reason, bounds::REASON_MAX)?,
        loads: loads("service.loads", found.loads)?,
        flows: found.flows,
        weight: weight.ok_or_else(|| invalid("service.weight", format!("{} is no weight", found.weight)))?,
    })
}

fn write_service(service: &ServiceAdvert) -> proto::ServiceAdvert {
    let state = match service.state {
        HostState::Active => proto::State::Active,
        HostState::Draining => proto::State::Draining,
        HostState::Down => proto::State::Down,
    };
    proto::ServiceAdvert {
        key: Some(service_key_bytes(&service.key)),
        state: state.into(),
        reason: fit(&service.reason, bounds::REASON_MAX),
        loads: loads_bytes(&service.loads),
        flows: service.flows,
        weight: service.weight.get().into(),
    }
}
