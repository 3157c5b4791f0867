//! The site's other hosts.

use std::collections::BTreeSet;
use std::net::IpAddr;

use prost::Message as _;
use slr_model::NodeName;
use thiserror::Error;

use crate::field::{address_bytes, at_most, node_name, part, tunnel_addresses};
use crate::{DecodeError, bounds, proto};

/// What an envelope and a roster's own fields take at most.
const HEADER_MAX: usize = 2 * 5 + 11 + 4 + 4;

/// One host of the site.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RosterNode {
    /// Its name.
    pub name: NodeName,
    /// Where it takes tunnels, at most one address of each family.
    pub tunnel_addresses: Vec<IpAddr>,
}

/// The site's hosts as a parent knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// Grows with each change.
    pub generation: u64,
    /// By name, each once.
    pub nodes: Vec<RosterNode>,
}

/// A part of a roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterPart {
    /// The roster's.
    pub generation: u64,
    /// Which part, from 0.
    pub part: u16,
    /// Of how many.
    pub parts: u16,
    /// Some of its nodes.
    pub nodes: Vec<RosterNode>,
}

/// A roster with more hosts than a site has.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("a roster of {found} hosts: a site has at most {}", bounds::ROSTER_NODES_MAX)]
pub struct RosterError {
    /// How many there are.
    pub found: usize,
}

impl Roster {
    /// Cuts it into parts that fit frames; at least one.
    pub fn split(&self) -> Result<Vec<RosterPart>, RosterError> {
        if self.nodes.len() > bounds::ROSTER_NODES_MAX {
            return Err(RosterError { found: self.nodes.len() });
        }
        let mut pieces = vec![Vec::new()];
        let mut used = HEADER_MAX;
        for node in &self.nodes {
            let len = write_node(node).encoded_len() + 3;
            if used + len > bounds::FRAME_MAX {
                pieces.push(Vec::new());
                used = HEADER_MAX;
            }
            used += len;
            pieces.last_mut().expect("one piece from the start").push(node.clone());
        }
        let parts = u16::try_from(pieces.len()).expect("4,096 nodes of 112 bytes take eight frames");
        let number = |(part, nodes)| RosterPart { generation: self.generation, part, parts, nodes };
        Ok((0..).zip(pieces).map(number).collect())
    }
}

impl RosterPart {
    pub(crate) fn read(found: proto::Roster) -> Result<Self, DecodeError> {
        let (part, parts) = part("roster.part", found.part, found.parts, bounds::ROSTER_PARTS_MAX)?;
        at_most("roster.nodes", found.nodes.len(), bounds::ROSTER_NODES_MAX)?;
        let nodes = found.nodes.into_iter().map(read_node).collect::<Result<Vec<_>, _>>()?;
        let mut names = BTreeSet::new();
        if let Some(twice) = nodes.iter().find(|node| !names.insert(&node.name)) {
            return Err(DecodeError::Duplicate { field: "roster.nodes", what: twice.name.to_string() });
        }
        Ok(Self { generation: found.generation, part, parts, nodes })
    }

    pub(crate) fn write(&self) -> proto::Roster {
        proto::Roster {
            generation: self.generation,
            part: self.part.into(),
            parts: self.parts.into(),
            nodes: self.nodes.iter().map(write_node).collect(),
        }
    }
}

fn read_node(found: proto::roster::Node) -> Result<RosterNode, DecodeError> {
    Ok(RosterNode {
        name: node_name("roster.nodes.name", &found.name)?,
        tunnel_addresses: tunnel_addresses("roster.nodes.tunnel_addresses", &found.tunnel_addresses)?,
    })
}

fn write_node(node: &RosterNode) -> proto::roster::Node {
    proto::roster::Node {
        name: node.name.to_string(),
        tunnel_addresses: node.tunnel_addresses.iter().map(|&address| address_bytes(address)).collect(),
    }
}
