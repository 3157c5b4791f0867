//! Flows of the cluster's other members: pinned here as well, so that their packets find their hosts if they come here.
//!
//! A flow is *own* if the program pinned it, its host claimed it, or it has spoken here since it was mirrored (the program sets
//! FLOW_REFRESHED then). Only own flows are told to others, so nothing goes in circles.
//!
//! **Age.** A mirrored flow speaks elsewhere, and its age here is that of its last word from there. Its owner tells of it when
//! it is pinned, once in [`OwnPins`](super::OwnPins) when everything is told, each [`REFRESH_S`] while it speaks, and when it is
//! forgotten. So a mirrored flow is never older here than at its owner, and does not go before it; and if the owner is gone
//! with its last words, it goes after the same time of silence.

use std::collections::HashMap;
use std::net::IpAddr;

use slr_model::{FlowKey, HostState, NodeName, Protocol};

use super::Router;
use super::census::Generations;
use super::claims::is_full;
use super::hops::Entry;
use super::pins::Pins;
use crate::abi::{Pod, flow, flow_key_v4, flow_key_v6, slr_const};
use crate::table::MapError;

/// How often flows that speak are told of again, at most: half of what an unproven flow has under pressure.
pub const REFRESH_S: u32 = 60;
/// A flow that has spoken here within this is this member's: what others say of it does not count. Longer than
/// [`REFRESH_S`] by two advances of the clock.
const ACTIVE_S: u32 = REFRESH_S + 10;

/// What became of mirrored flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mirrored {
    /// Pinned here now.
    pub pinned: u64,
    /// They were already.
    pub known: u64,
    /// Forgotten, as their owner has.
    pub forgotten: u64,
    /// Refused: they have spoken here, and another host has them.
    pub owned: u64,
    /// Refused: no virtual subnet here, or a port that it does not list.
    pub not_served: u64,
    /// Refused: the host is not known here.
    pub no_hop: u64,
    /// Refused: the host is down here.
    pub host_down: u64,
    /// Refused: the table of pinned flows is full.
    pub table_full: u64,
}

impl Mirrored {
    /// Adds another batch.
    pub fn add(&mut self, other: &Self) {
        self.pinned += other.pinned;
        self.known += other.known;
        self.forgotten += other.forgotten;
        self.owned += other.owned;
        self.not_served += other.not_served;
        self.no_hop += other.no_hop;
        self.host_down += other.host_down;
        self.table_full += other.table_full;
    }

    /// Why flows were refused, by name.
    pub fn refused(&self) -> [(&'static str, u64); 5] {
        [
            ("owned", self.owned),
            ("not_served", self.not_served),
            ("no_hop", self.no_hop),
            ("host_down", self.host_down),
            ("table_full", self.table_full),
        ]
    }
}

pub(super) fn has(found: &flow, flag: slr_const) -> bool {
    u32::from(found.flags) & flag.0 != 0
}

/// Whether a flow is this member's.
pub(super) fn is_own(found: &flow) -> bool {
    !has(found, slr_const::FLOW_MIRRORED) || has(found, slr_const::FLOW_REFRESHED)
}

/// What a mirrored flow meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody has it, or another member said otherwise before.
    Pin,
    /// Its host has it, and it does not speak here: it is as old as its owner says.
    Renew,
    /// Its host has it, and it speaks here.
    Keep,
    /// Another host has it.
    Owned,
}

fn judge(found: Option<&flow>, told: &flow, generations: &Generations) -> Verdict {
    let Some(found) = found.filter(|found| generations.has(found)) else { return Verdict::Pin };
    let own = is_own(found);
    if (found.hop, found.hop_gen) != (told.hop, told.hop_gen) {
        let stays = own && !has(found, slr_const::FLOW_CLOSING) && !has(found, slr_const::FLOW_GUESS);
        return if stays { Verdict::Owned } else { Verdict::Pin };
    }
    if own && told.seen.saturating_sub(found.seen) <= ACTIVE_S { Verdict::Keep } else { Verdict::Renew }
}

/// Does what is judged. `is_new`: the flow is hardly here, and is written without a look first. Whoever pins the flow between
/// the look and the write is looked at in turn.
pub(super) fn put<K>(
    table: &impl Pins<K>,
    key: &K,
    told: &flow,
    generations: &Generations,
    is_new: bool,
) -> Result<Verdict, MapError> {
    if is_new && table.put_new(key, told)? {
        return Ok(Verdict::Pin);
    }
    loop {
        let found = table.get(key)?;
        let verdict = judge(found.as_ref(), told, generations);
        match (verdict, found) {
            (Verdict::Pin, None) if !table.put_new(key, told)? => continue,
            (Verdict::Pin, Some(_)) => table.put(key, told)?,
            (Verdict::Renew, Some(found)) => {
                let proven = found.flags & slr_const::FLOW_PROVEN.0 as u8;
                let renewed = flow { flags: told.flags | proven, ..*told };
                if renewed.bytes() != found.bytes() {
                    table.put(key, &renewed)?;
                }
            }
            _ => {}
        }
        return Ok(verdict);
    }
}

/// What flows of other members are pinned by; the same for a whole batch of them.
pub struct Pinning<'a> {
    router: &'a Router,
    hops: HashMap<&'a NodeName, &'a Entry>,
    generations: Generations,
    seed: u64,
    now: u32,
    /// Which subnet serves what the flows are to: flows are many, and what they are to is not.
    served: HashMap<(IpAddr, Protocol, u16), Option<u16>>,
    /// The last flow was not here: the next one of its kind is not, either. When everything is told again, all are.
    was_new: bool,
}

impl Pinning<'_> {
    /// Whether flows of this host can be mirrored here.
    pub fn takes(&self, host: &NodeName) -> bool {
        self.hops.get(host).is_some_and(|hop| !is_down(hop))
    }

    /// Pins flows of a host that another member of the cluster has. `proven`: they have spoken since they were pinned there.
    pub fn pin(&mut self, host: &NodeName, flows: &[FlowKey], proven: bool) -> Result<Mirrored, MapError> {
        let mut done = Mirrored::default();
        let Some(hop) = self.hops.get(host).copied() else {
            done.no_hop = flows.len() as u64;
            return Ok(done);
        };
        if is_down(hop) {
            done.host_down = flows.len() as u64;
            return Ok(done);
        }
        let mark = if proven { slr_const::FLOW_PROVEN.0 } else { 0 };
        let told = flow {
            hop: hop.id.get(),
            hop_gen: hop.generation,
            seen: self.now,
            flags: (slr_const::FLOW_MIRRORED.0 | mark) as u8,
            ..flow::default()
        };
        let tables = &self.router.tables;
        for key in flows {
            let Some(subnet) = self.serving(key)? else {
                done.not_served += 1;
                continue;
            };
            let entropy = crate::hash::flow_hash(self.seed, key, slr_model::KeyMask::ALL) as u16;
            let told = flow { subnet, entropy, ..told };
            let outcome = match flow_key_v4::of(key) {
                Some(key) => put(&tables.flows_v4, &key, &told, &self.generations, self.was_new),
                None => put(&tables.flows_v6, &flow_key_v6::of(key), &told, &self.generations, self.was_new),
            };
            self.was_new = matches!(outcome, Ok(Verdict::Pin));
            match outcome {
                Ok(Verdict::Pin) => done.pinned += 1,
                Ok(Verdict::Renew | Verdict::Keep) => done.known += 1,
                Ok(Verdict::Owned) => done.owned += 1,
                Err(error) if is_full(&error) => done.table_full += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn serving(&mut self, key: &FlowKey) -> Result<Option<u16>, MapError> {
        let to = (key.virtual_host().ip(), key.protocol(), key.virtual_host().port());
        if let Some(known) = self.served.get(&to) {
            return Ok(*known);
        }
        let subnet = self.router.serving(key)?;
        self.served.insert(to, subnet);
        Ok(subnet)
    }
}

fn is_down(hop: &Entry) -> bool {
    hop.host.as_ref().is_none_or(|host| host.state == HostState::Down)
}

impl Router {
    /// Whether flows of this host can be mirrored here.
    pub fn takes_mirrored(&self, host: &NodeName) -> bool {
        self.hops.iter().any(|hop| !is_down(hop) && hop.host.as_ref().is_some_and(|known| known.name == *host))
    }

    /// Before a batch of flows that another member has told of.
    pub fn pinning(&self) -> Result<Pinning<'_>, MapError> {
        Ok(Pinning {
            router: self,
            hops: self.hops.iter().filter_map(|hop| Some((&hop.host.as_ref()?.name, hop))).collect(),
            generations: self.generations(),
            seed: self.seed()?,
            now: self.clock()?,
            served: HashMap::new(),
            was_new: false,
        })
    }

    /// Forgets mirrored flows that their owner has forgotten; own ones stay.
    pub fn unmirror<'a>(&self, flows: impl IntoIterator<Item = &'a FlowKey>) -> Result<Mirrored, MapError> {
        let mut done = Mirrored::default();
        for key in flows {
            let gone = match flow_key_v4::of(key) {
                Some(key) => self.tables.flows_v4.remove_if(&key, |found| !is_own(found))?,
                None => self.tables.flows_v6.remove_if(&flow_key_v6::of(key), |found| !is_own(found))?,
            };
            done.forgotten += u64::from(gone);
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_member_has_seen_active_is_not_taken() {
        let generations = Generations::of(&[(1, 1), (2, 1)]);
        let flags = |all: &[slr_const]| all.iter().map(|flag| flag.0 as u8).sum::<u8>();
        let (mirrored, refreshed) = (slr_const::FLOW_MIRRORED, slr_const::FLOW_REFRESHED);
        let told = flow { hop: 1, hop_gen: 1, seen: 1_000, flags: flags(&[mirrored]), ..flow::default() };
        let found =
            |hop, hop_gen, seen, all: &[slr_const]| flow { hop, hop_gen, seen, flags: flags(all), ..flow::default() };
        for (what, found, expected) in [
            ("not known", None, Verdict::Pin),
            ("its host has gone", Some(found(1, 2, 1_000, &[])), Verdict::Pin),
            ("own and active", Some(found(1, 1, 950, &[])), Verdict::Keep),
            ("own and silent: it speaks elsewhere", Some(found(1, 1, 900, &[refreshed])), Verdict::Renew),
            ("mirrored", Some(found(1, 1, 1_000, &[mirrored])), Verdict::Renew),
            ("mirrored, and has spoken here", Some(found(1, 1, 999, &[mirrored, refreshed])), Verdict::Keep),
            ("another host's", Some(found(2, 1, 10, &[])), Verdict::Owned),
            ("another host's, as a member said", Some(found(2, 1, 1_000, &[mirrored])), Verdict::Pin),
            ("another host's, and spoken here", Some(found(2, 1, 1_000, &[mirrored, refreshed])), Verdict::Owned),
            ("another host's by a guess", Some(found(2, 1, 1_000, &[refreshed, slr_const::FLOW_GUESS])), Verdict::Pin),
            ("another host's, and ended", Some(found(2, 1, 1_000, &[slr_const::FLOW_CLOSING])), Verdict::Pin),
        ] {
            assert_eq!(judge(found.as_ref(), &told, &generations), expected, "{what}");
        }
    }
}
