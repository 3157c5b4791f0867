//! Pinning flows that a host claims: a router searched for them, and that host has them. A claim adds what nobody remembers; it
//! takes no flow from a host that has it.

use std::net::IpAddr;

use slr_model::{FlowKey, KeyMask, NodeName, Protocol};

use super::Router;
use super::census::Generations;
use super::pins::Pins;
use super::{addr, subnets};
use crate::abi::{flow, flow_key_v4, flow_key_v6, prefix_v4, prefix_v6, service_key, slr_const};
use crate::hash::flow_hash;
use crate::table::MapError;

/// What became of claims, in flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// Pinned to the host now.
    pub pinned: u64,
    /// Of these, the flows that the ring would have sent there anyway: their host is the one that their slot has now.
    pub same_answer: u64,
    /// They were already.
    pub known: u64,
    /// Refused: another host has the flow.
    pub owned: u64,
    /// Refused: no virtual subnet here, or a port that it does not list.
    pub not_served: u64,
    /// Refused: the host has no hop here.
    pub no_hop: u64,
    /// Refused: the table of pinned flows is full.
    pub table_full: u64,
}

impl Claimed {
    /// Adds another batch.
    pub fn add(&mut self, other: &Self) {
        self.pinned += other.pinned;
        self.same_answer += other.same_answer;
        self.known += other.known;
        self.owned += other.owned;
        self.not_served += other.not_served;
        self.no_hop += other.no_hop;
        self.table_full += other.table_full;
    }
}

/// What a claim meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The flow is pinned to the host.
    Known,
    /// It is pinned to another host that is there, and its client has not ended it.
    Owned,
    /// It is not pinned, or by a guess, or to a host that is gone, or has ended: it may be pinned to who claims it.
    Free,
}

fn judge(found: Option<&flow>, claimed: &flow, generations: &Generations) -> Verdict {
    match found {
        None => Verdict::Free,
        Some(found) if !generations.has(found) => Verdict::Free,
        Some(found) if (found.hop, found.hop_gen) == (claimed.hop, claimed.hop_gen) => Verdict::Known,
        Some(found) if is_guess(found) => Verdict::Free,
        Some(found) if u32::from(found.flags) & slr_const::FLOW_CLOSING.0 != 0 => Verdict::Free,
        Some(_) => Verdict::Owned,
    }
}

fn is_guess(found: &flow) -> bool {
    u32::from(found.flags) & slr_const::FLOW_GUESS.0 != 0
}

impl Router {
    /// Pin to a host the flows that it claims, unless another one has them. Whether the host may serve them is for the caller
    /// to know.
    pub fn claim(&self, host: &NodeName, flows: &[FlowKey]) -> Result<Claimed, MapError> {
        self.claim_each(host, flows, |_| ())
    }

    /// The same; `pinned` hears of each flow that the host has now and had not before, and of no other.
    pub fn claim_each(
        &self,
        host: &NodeName,
        flows: &[FlowKey],
        pinned: impl FnMut(&FlowKey),
    ) -> Result<Claimed, MapError> {
        self.pin_each(host, flows, 0, pinned)
    }

    /// Pins a flow to the hop that another router says it has: hearsay, which gives way to a host's claim.
    pub fn pin_found(&self, hop: &NodeName, flow: FlowKey) -> Result<Claimed, MapError> {
        self.pin_each(hop, &[flow], slr_const::FLOW_GUESS.0 as u8, |_| ())
    }

    fn pin_each(
        &self,
        host: &NodeName,
        flows: &[FlowKey],
        flags: u8,
        mut pinned: impl FnMut(&FlowKey),
    ) -> Result<Claimed, MapError> {
        let mut done = Claimed::default();
        let hop = self.hops.iter().find(|entry| entry.host.as_ref().is_some_and(|known| known.name == *host));
        let Some(hop) = hop.filter(|hop| u32::from(hop.template.flags) & slr_const::HOP_UP.0 != 0) else {
            done.no_hop = flows.len() as u64;
            return Ok(done);
        };
        let generations = self.generations();
        let seed = self.seed()?;
        let seen = self.tables.clock.get(&0)?.unwrap_or_default();
        for key in flows {
            let Some(subnet) = self.serving(key)? else {
                done.not_served += 1;
                continue;
            };
            let entropy = flow_hash(seed, key, KeyMask::ALL) as u16;
            let claimed =
                flow { hop: hop.id.get(), hop_gen: hop.generation, subnet, entropy, seen, flags, ..flow::default() };
            // A socket is proof. That a UDP flow was answered is none: another host may have answered it before.
            let is_proof = key.protocol() == Protocol::Tcp && !is_guess(&claimed);
            let outcome = match flow_key_v4::of(key) {
                Some(key) => put(&self.tables.flows_v4, &key, &claimed, &generations, is_proof),
                None => put(&self.tables.flows_v6, &flow_key_v6::of(key), &claimed, &generations, is_proof),
            };
            match outcome {
                Ok(Verdict::Free) => {
                    done.pinned += 1;
                    done.same_answer += u64::from(self.placed(subnet, key, seed)? == Some(hop.id));
                    pinned(key);
                }
                Ok(Verdict::Known) => done.known += 1,
                Ok(Verdict::Owned) => done.owned += 1,
                Err(error) if is_full(&error) => done.table_full += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// The seed of the placement hash.
    pub(super) fn seed(&self) -> Result<u64, MapError> {
        Ok(self.tables.settings.get(&0)?.unwrap_or_default().seed)
    }

    /// The id of the virtual subnet that serves a flow.
    pub(super) fn serving(&self, key: &FlowKey) -> Result<Option<u16>, MapError> {
        let id = match key.virtual_host().ip() {
            IpAddr::V4(ip) => self.tables.prefixes_v4.get(&prefix_v4 { len: 32, addr: addr::word(ip) })?,
            ip @ IpAddr::V6(_) => self.tables.prefixes_v6.get(&prefix_v6 { len: 128, addr: addr::key(ip).word })?,
        };
        let Some(id) = id.and_then(|id| u16::try_from(id).ok()) else { return Ok(None) };
        let Some(subnet) = subnets::read(id, &self.tables)? else { return Ok(None) };
        if subnet.flags & slr_const::SUBNET_PORTS.0 == 0 {
            return Ok(Some(id));
        }
        let lists = self.rings.classes_of(id).into_iter().chain([0]).any(|class| {
            let listed = service_key {
                subnet: id,
                class,
                port: key.virtual_host().port().to_be(),
                proto: key.protocol().number().into(),
            };
            self.tables.services.get(&listed).is_ok_and(|found| found.is_some())
        });
        Ok(lists.then_some(id))
    }
}

/// Pins the flow if it is free. Whoever pins it between the look and the write is looked at in turn.
pub(super) fn put<K>(
    table: &impl Pins<K>,
    key: &K,
    claimed: &flow,
    generations: &Generations,
    is_proof: bool,
) -> Result<Verdict, MapError> {
    loop {
        let found = table.get(key)?;
        let verdict = judge(found.as_ref(), claimed, generations);
        match (verdict, found) {
            (Verdict::Free, None) if !table.put_new(key, claimed)? => {}
            (Verdict::Free, Some(_)) => {
                table.put(key, claimed)?;
                return Ok(verdict);
            }
            // What was a guess is known now.
            (Verdict::Known, Some(found)) if is_proof && is_guess(&found) => {
                let flags = found.flags & !(slr_const::FLOW_GUESS.0 as u8);
                table.put(key, &flow { flags, ..found })?;
                return Ok(verdict);
            }
            _ => return Ok(verdict),
        }
    }
}

/// A preallocated hash without a free element says E2BIG.
pub(super) fn is_full(error: &MapError) -> bool {
    matches!(error.source.raw_os_error(), Some(libc::E2BIG | libc::ENOMEM))
}
