//! The edge of [`slr_session::search`]: orphans, and datagrams of unknown UDP flows, that no host of their slot has come out of the
//! kernel, other routers are asked, and the packets go on to where the flow is, or marked final.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use slr_dataplane::router::{HeldReader, Orphan, Router};
use slr_model::{FlowKey, Identity, NodeName};
use slr_session::search::{Counters, Output, Search};
use slr_wire::{Has, Hello, Message, WhoHas};
use tokio::io::unix::AsyncFd;

use super::Daemon;
use super::core::{Ends, Neighbour};
use crate::tunnel::Sender;

pub use sending::Sent;

mod sending;

/// Another router of this tier, while it is connected. Whether it is of this cluster is for the configuration to say.
struct OtherRouter {
    identity: Arc<Identity>,
    tunnels: Neighbour,
}

/// Flows that are looked for.
pub struct Searching {
    search: Search<Orphan>,
    orphans: AsyncFd<HeldReader>,
    sender: Sender,
    routers: BTreeMap<NodeName, OtherRouter>,
    sent: Sent,
}

impl Searching {
    /// Reads what the program holds.
    pub fn start(plane: &Router) -> Result<Self> {
        let mut reader = plane.held_reader().context("read held packets")?;
        // What the daemon before has not read is too old to be sent on.
        while !reader.take().context("read held packets")?.is_empty() {}
        #[expect(
            deprecated,
            reason = "the other constructor is unsafe; the reader's descriptor is its own and never changes"
        )]
        let orphans = AsyncFd::new(reader).context("wait for held packets")?;
        let sender = Sender::open().context("cannot open a raw socket for held packets; it needs CAP_NET_RAW")?;
        Ok(Self { search: Search::default(), orphans, sender, routers: BTreeMap::new(), sent: Sent::default() })
    }

    /// What datagrams are sent with.
    pub(super) fn sender(&self) -> &Sender {
        &self.sender
    }

    /// When [`Daemon::search`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.search.poll_timeout()
    }

    /// The next orphans. May be cancelled: nothing is taken before it returns.
    pub async fn orphans(&mut self) -> Vec<Orphan> {
        loop {
            let taken = match self.orphans.readable_mut().await {
                Ok(mut ready) => match ready.get_inner_mut().take() {
                    Ok(orphans) if orphans.is_empty() => {
                        ready.clear_ready();
                        continue;
                    }
                    Ok(orphans) => return orphans,
                    Err(error) => {
                        ready.clear_ready();
                        error.to_string()
                    }
                },
                Err(error) => error.to_string(),
            };
            // Their clients send again, and wake us again.
            tracing::warn!("held packets are not read: {taken}");
        }
    }

    /// Whether there is a conversation with another router.
    pub fn is_connected(&self, router: &NodeName) -> bool {
        self.routers.contains_key(router)
    }

    /// What became of flows, and of packets.
    pub fn counters(&self) -> (Counters, Sent) {
        (self.search.counters(), self.sent)
    }

    /// Where chains end. An orphan's at another member of the cluster, whose table may know the flow at once; else, if there are
    /// neighbours to ask, at this router itself. A UDP flow's always here: see `search_ends` in router_maps.h.
    fn chain_ends(&self, own: &[IpAddr], is_neighbour: impl Fn(&NodeName) -> bool) -> Ends {
        if !self.search.has_routers() {
            return Ends::default();
        }
        let mut peers = self.routers.iter().filter(|(name, _)| !is_neighbour(name)).map(|(_, peer)| &peer.tunnels);
        let peer = peers.find(|tunnels| !tunnels.tunnel_addresses.is_empty());
        let orphans = peer.map_or(own, |peer| &peer.tunnel_addresses).to_vec();
        Ends { orphans, datagrams: own.to_vec() }
    }
}

impl Daemon {
    /// A conversation with a peer or a neighbour begins.
    pub(super) fn search_met(&mut self, name: &NodeName, identity: &Arc<Identity>, hello: &Hello, now: Instant) {
        let tunnels =
            Neighbour { tunnel_addresses: hello.tunnel_addresses.clone(), sources: hello.tunnel_sources.clone() };
        self.searching.routers.insert(name.clone(), OtherRouter { identity: identity.clone(), tunnels });
        self.search_as_configured(now);
    }

    /// And ends.
    pub(super) fn search_lost(&mut self, name: &NodeName, now: Instant) {
        if self.searching.routers.remove(name).is_some() {
            self.searching.search.disconnected(name);
            self.search_as_configured(now);
        }
    }

    /// Whether a router is of another cluster.
    pub(super) fn is_neighbour(&self, name: &NodeName) -> bool {
        let control = self.core.configured().and_then(|loaded| loaded.settings.control.as_ref());
        control.is_some_and(|control| control.neighbours.iter().any(|neighbour| neighbour.name == *name))
    }

    /// Asks those that may be asked by the configuration, and no others; chains end accordingly, and neighbours are hops. One
    /// that was met before the first configuration was in force is among them from then on.
    pub(super) fn search_as_configured(&mut self, now: Instant) {
        let Some(settings) = self.core.in_force().map(|loaded| &loaded.settings) else { return };
        let Some(control) = &settings.control else { return };
        let configured = |name: &NodeName| control.peers.iter().chain(&control.neighbours).any(|one| one.name == *name);
        let Searching { search, routers, .. } = &mut self.searching;
        routers.retain(|name, _| {
            configured(name) || {
                search.disconnected(name);
                false
            }
        });
        for name in routers.keys() {
            if control.ask_others { search.connected(name) } else { search.disconnected(name) }
        }
        let is_neighbour = |name: &NodeName| control.neighbours.iter().any(|one| one.name == *name);
        let ends = self.searching.chain_ends(&settings.tunnel_addresses, is_neighbour);
        let met = self.searching.routers.iter().filter(|(name, _)| is_neighbour(name));
        let met: Vec<_> = met.map(|(name, router)| (name.clone(), router.tunnels.clone())).collect();
        for (name, tunnels) in met {
            self.core.set_neighbour(name, tunnels, now);
        }
        self.core.set_chain_ends(ends, now);
    }

    /// A router asks. It hears of flows that are its own to serve, and of none else.
    pub(super) fn asked(&mut self, name: &NodeName, question: WhoHas) {
        let Some(router) = self.searching.routers.get(name) else { return };
        let plane = self.core.plane();
        let owner = |flow: &FlowKey| {
            let is_allowed = router.identity.allows_virtual_address(flow.virtual_host().ip());
            let owner = if is_allowed { plane.owner_of(flow) } else { Ok(None) };
            owner.unwrap_or_else(|error| {
                tracing::warn!(router = %name, "a flow that is asked for cannot be looked up: {error}");
                None
            })
        };
        let answers: Vec<_> = question.flows.iter().map(|flow| (*flow, owner(flow))).collect();
        let known = answers.iter().filter(|(_, owner)| owner.is_some()).count() as u64;
        self.searching.sent.answered += known;
        self.searching.sent.denied += answers.len() as u64 - known;
        for answer in Has::split(answers) {
            self.tell_router(name, Message::Has(answer));
        }
    }

    /// A router answers. Of virtual addresses that its certificate does not have it knows nobody.
    pub(super) fn answered(&mut self, name: &NodeName, mut answer: Has) {
        let Some(router) = self.searching.routers.get(name) else { return };
        let mut nobody = answer.hosts.remove(&None).unwrap_or_default();
        for flows in answer.hosts.values_mut() {
            let is_allowed = |flow: &FlowKey| router.identity.allows_virtual_address(flow.virtual_host().ip());
            let (allowed, foreign) = std::mem::take(flows).into_iter().partition(is_allowed);
            *flows = allowed;
            nobody.extend::<Vec<FlowKey>>(foreign);
        }
        answer.hosts.insert(None, nobody);
        self.searching.search.handle_answer(name, &answer);
    }

    /// Does what the search wants done. Called in each turn.
    pub(super) fn search(&mut self, now: Instant) {
        self.searching.search.handle_timeout(now);
        while let Some(output) = self.searching.search.poll_output(now) {
            match output {
                Output::Ask { router, question } => self.tell_router(&router, Message::WhoHas(question)),
                Output::Found { flow, router, host, packets } => self.found(flow, router, host, &packets),
                Output::Nobody { flow, packets } => self.nobody(flow, &packets),
                Output::Unheld { packet } => self.unheld(&packet),
            }
        }
    }

    fn tell_router(&self, name: &NodeName, message: Message) {
        if let Some(control) = &self.control {
            // What is not sent is asked again.
            let _ = control.hub().send_to_peer(name, Arc::new(message));
        }
    }
}
