//! Flows that this host has and a router searches for: the kernel's program finds them, the daemon tells the routers.

use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use slr_model::{FlowKey, Protocol};

use super::Host;
use super::abi::{claim, slr_host_const};
use crate::abi::Pod;
use crate::records::Records;
use crate::table::MapError;

/// Claims that are taken at once: more than one burst of a CPU, so that a burst is told together.
const AT_ONCE: usize = 4_096;

/// What became of claims, since the tables were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimCounts {
    /// Told to the daemon.
    pub told: u64,
    /// Of flows that were claimed a moment before.
    pub repeated: u64,
    /// Beyond the rate that the program allows itself.
    pub limited: u64,
    /// The daemon had not read the ones before.
    pub lost: u64,
}

/// The claims that the program makes. Its descriptor is readable when there are some.
pub struct ClaimReader(Records<FlowKey>);

impl ClaimReader {
    /// What has come since, some thousand at most. More may be there: to be called until it returns nothing.
    pub fn take(&mut self) -> Result<Vec<FlowKey>, MapError> {
        self.0.take()
    }
}

impl AsRawFd for ClaimReader {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Host {
    /// The reader of claims; one at a time, since two would each see a part.
    pub fn claim_reader(&self) -> Result<ClaimReader, MapError> {
        let flow = |bytes: &[u8]| claim::from_bytes(bytes).and_then(|claim| flow_of(&claim));
        Records::open(&self.loaded, "claims", AT_ONCE, flow).map(ClaimReader)
    }

    /// What became of claims.
    pub fn claim_counts(&self) -> Result<ClaimCounts, MapError> {
        let sum =
            |kind: slr_host_const| Ok::<_, MapError>(self.tables.claim_counts.get(kind.0)?.into_iter().sum::<u64>());
        Ok(ClaimCounts {
            told: sum(slr_host_const::CLAIM_TOLD)?,
            repeated: sum(slr_host_const::CLAIM_REPEATED)?,
            limited: sum(slr_host_const::CLAIM_LIMITED)?,
            lost: sum(slr_host_const::CLAIM_LOST)?,
        })
    }
}

/// None if the program has written what is no flow.
pub(super) fn flow_of(claim: &claim) -> Option<FlowKey> {
    let end = |address: super::abi::slr_addr, port: u16| {
        let mut octets = [0; 16];
        octets
            .chunks_exact_mut(4)
            .zip(address.word)
            .for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_ne_bytes()));
        SocketAddr::new(Ipv6Addr::from(octets).to_canonical(), u16::from_be(port))
    };
    let protocol = Protocol::from_number(u8::try_from(claim.proto).ok()?)?;
    FlowKey::new(end(claim.client, claim.client_port), end(claim.vaddr, claim.vport), protocol).ok()
}
