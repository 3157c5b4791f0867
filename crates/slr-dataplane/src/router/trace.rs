//! What the program does with a flow's next packets, and why: the tables, read in the order in which `bpf/router.bpf.c` reads them. Nothing
//! is written, and no packet goes by it.

use slr_model::{ClassName, FlowKey, HopId, KeyMask, NodeName, Protocol, Service, VirtualSubnet};

use super::mirror::has;
use super::place::Slot;
use super::{Router, subnets};
use crate::abi::{flow, slr_const};
use crate::reason::RouterReason;
use crate::table::MapError;

/// Everything that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The virtual subnet by longest prefix.
    pub subnet: Option<VirtualSubnet>,
    /// The route that decides in it.
    pub route: Option<TracedRoute>,
    /// The flow, if it is remembered.
    pub known: Option<KnownFlow>,
    /// What becomes of the first packet of a flow: TCP's SYN, any datagram of UDP.
    pub first: Step,
    /// What becomes of a later one.
    pub later: Step,
}

/// The route that decides, and the flow's slot in its ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedRoute {
    /// The client's class; `None`: one that has no route of its own for this.
    pub class: Option<ClassName>,
    /// To what; `None`: whatever no route names.
    pub service: Option<Service>,
    /// Which fields choose the slot.
    pub key: KeyMask,
    /// The ring's index.
    pub ring: u32,
    /// The slot, and how many there are; `None`: no host takes new flows.
    pub slot: Option<(u32, u32)>,
    /// The hosts that the slot has and had, the newest first.
    pub hosts: Vec<TracedHop>,
    /// Who gets a new connection that the first one refuses.
    pub second: Option<TracedHop>,
}

/// A hop as the program sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedHop {
    /// Its host, or a router of another cluster.
    pub name: NodeName,
    /// Packets are sent there.
    pub up: bool,
    /// Its last keepalives have no answer.
    pub doubted: bool,
}

/// A flow that is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownFlow {
    /// Where it goes; `None`: its host is gone, or was down since, and the flow is placed anew.
    pub hop: Option<TracedHop>,
    /// Pinned; else it has not shown two ends.
    pub pinned: bool,
    /// Seconds since its last packet, to the daemon's five.
    pub idle_s: u32,
    /// The client has sent FIN or RST.
    pub closing: bool,
    /// Another member of the cluster told of it.
    pub mirrored: bool,
    /// Searched for, and not claimed by its host yet.
    pub guess: bool,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Under which reason it is counted.
    pub reason: RouterReason,
    /// Who gets it, one after the other until somebody has the flow.
    pub hosts: Vec<NodeName>,
}

impl Step {
    fn ends(reason: RouterReason) -> Self {
        Self { reason, hosts: Vec::new() }
    }
}

impl Router {
    /// Follows a flow through the tables as they are now. Of a flow that is pending the host is told that it is with; for a while after
    /// its first packet others of its slot are tried beside it. Rate limits, sizes and malformed packets are not looked at.
    pub fn trace(&self, key: &FlowKey) -> Result<Trace, MapError> {
        let known = self.known(key)?;
        let pinned = known.as_ref().filter(|known| known.pinned).and_then(|known| known.hop.clone());
        let nothing = |reason| Trace {
            subnet: None,
            route: None,
            known: None,
            first: Step::ends(reason),
            later: Step::ends(reason),
        };
        let Some((subnet, id)) = self.subnet_of(key)? else { return Ok(nothing(RouterReason::PassNotOurs)) };
        let Some(own) = subnets::read(id, &self.tables)? else { return Ok(nothing(RouterReason::PassNotOurs)) };
        let deciding = self.deciding(id, key)?;
        let slot = deciding.as_ref().and_then(|deciding| Some(self.slot(deciding, key, self.seed().ok()?)));
        let (first, later) = match (&known, pinned) {
            (_, Some(hop)) => {
                let step = self.to_known(&hop, RouterReason::FwdEstablished);
                (step.clone(), step)
            }
            _ if deciding.is_none() => {
                (Step::ends(RouterReason::PassNotServed), Step::ends(RouterReason::PassNotServed))
            }
            (Some(KnownFlow { hop: Some(hop), .. }), None) => {
                let step = self.to_known(hop, RouterReason::FwdPending);
                (step.clone(), step)
            }
            _ => self.unknown(key, own.flags, slot.as_ref().and_then(Option::as_ref)),
        };
        let route = deciding.map(|deciding| {
            let slot = slot.flatten();
            TracedRoute {
                class: self.classes.name(id, deciding.route.class).cloned(),
                service: deciding.route.service,
                key: deciding.mask,
                ring: deciding.ring,
                slot: slot.as_ref().map(|slot| (slot.number, slot.of)),
                hosts: slot.iter().flat_map(|slot| slot.lanes).filter_map(|hop| self.traced(hop)).collect(),
                second: slot.as_ref().and_then(|slot| self.traced(slot.second)),
            }
        });
        Ok(Trace { subnet: Some(subnet), route, known, first, later })
    }

    fn to_known(&self, hop: &TracedHop, reason: RouterReason) -> Step {
        if hop.up { Step { reason, hosts: vec![hop.name.clone()] } } else { Step::ends(RouterReason::DropHopUnusable) }
    }

    /// Of a flow that nobody remembers.
    fn unknown(&self, key: &FlowKey, flags: u32, slot: Option<&Slot>) -> (Step, Step) {
        let is_set = |flag: slr_const| flags & flag.0 != 0;
        let Some(slot) = slot else {
            let nobody = Step::ends(RouterReason::DropNoActiveHost);
            return (nobody.clone(), nobody);
        };
        let lanes: Vec<TracedHop> =
            slot.lanes.iter().filter_map(|hop| self.traced(*hop)).filter(|hop| hop.up).collect();
        let second = self.traced(slot.second).filter(|hop| hop.up);
        let is_tcp = key.protocol() == Protocol::Tcp;
        let (chain, is_chain) = match is_tcp {
            true => (RouterReason::FwdOrphanChain, is_set(slr_const::SUBNET_ORPHAN_CHAIN)),
            false => (RouterReason::FwdNewChain, is_set(slr_const::SUBNET_UDP_CHAIN)),
        };
        let choices = || lanes.iter().chain(&second);
        // A new connection passes by hosts in doubt, unless all are.
        let current = choices().find(|hop| !(is_tcp && hop.doubted)).or_else(|| choices().next());
        let Some(current) = current else {
            let unusable = Step::ends(RouterReason::DropHopUnusable);
            return (unusable.clone(), unusable);
        };
        let mut hosts = vec![current.name.clone()];
        let through = |lanes: &[TracedHop]| lanes.iter().map(|hop| hop.name.clone()).collect::<Vec<_>>();
        if !is_tcp {
            // The oldest first; who moved in as the second choice never had it.
            let mut old = through(&lanes);
            old.reverse();
            let is_searched = is_chain && (old.len() > 1 || is_set(slr_const::SUBNET_UDP_SEARCH));
            let step = if is_searched {
                Step { reason: chain, hosts: old }
            } else {
                Step { reason: RouterReason::FwdNew, hosts }
            };
            return (step.clone(), step);
        }
        let first = {
            if is_set(slr_const::SUBNET_ORPHAN_CHAIN) {
                hosts.extend(second.iter().filter(|hop| hop.name != current.name).map(|hop| hop.name.clone()));
            }
            Step { reason: RouterReason::FwdNew, hosts }
        };
        let later = if is_set(slr_const::SUBNET_ORPHAN_DROP) {
            Step::ends(RouterReason::DropOrphan)
        } else if lanes.is_empty() {
            Step::ends(RouterReason::DropHopUnusable)
        } else if is_chain {
            Step { reason: chain, hosts: through(&lanes) }
        } else {
            Step { reason: RouterReason::FwdOrphanRing, hosts: vec![lanes[0].name.clone()] }
        };
        (first, later)
    }

    fn traced(&self, hop: u16) -> Option<TracedHop> {
        let id = HopId::new(hop).ok()?;
        let entry = self.hops.iter().find(|entry| entry.id == id)?;
        let is_set = |flag: slr_const| u32::from(entry.template.flags) & flag.0 != 0;
        let name = entry.host.as_ref()?.name.clone();
        Some(TracedHop { name, up: is_set(slr_const::HOP_UP), doubted: is_set(slr_const::HOP_DOUBTED) })
    }

    fn subnet_of(&self, key: &FlowKey) -> Result<Option<(VirtualSubnet, u16)>, MapError> {
        let address = key.virtual_host().ip();
        let holds = |subnet: &VirtualSubnet| subnet.net().contains(&address);
        Ok(self.subnets.iter().filter(|(subnet, _)| holds(subnet)).max_by_key(|(subnet, _)| subnet.net().prefix_len()))
    }

    fn known(&self, key: &FlowKey) -> Result<Option<KnownFlow>, MapError> {
        let (now, generations) = (self.clock()?, self.generations());
        let of = |found: flow, pinned: bool| KnownFlow {
            hop: if generations.has(&found) { self.traced(found.hop) } else { None },
            pinned,
            idle_s: now.saturating_sub(found.seen),
            closing: has(&found, slr_const::FLOW_CLOSING),
            mirrored: has(&found, slr_const::FLOW_MIRRORED),
            guess: has(&found, slr_const::FLOW_GUESS),
        };
        let (pinned, pending) = (self.pin_of(key)?, self.pending_of(key)?);
        // Pinned to a hop that is gone it may be pending again.
        let pinned = pinned.map(|found| of(found, true));
        let pending = pending.map(|found| of(found, false));
        Ok(match pinned {
            Some(known) if known.hop.is_some() || pending.is_none() => Some(known),
            _ => pending,
        })
    }
}
