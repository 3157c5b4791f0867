//! The mirror's edge: new pins out of the kernel to the peers, and theirs into it. What is said, and when, is
//! [`slr_session::mirror`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slr_dataplane::router::{Mirrored, NewPinReader, OwnPin, REFRESH_S};
use slr_model::{FlowKey, NodeName};
use slr_session::mirror::{Listener, MirrorKind, Output, Teller, Told};
use slr_wire::{Message, Mirror, MirrorAck};

use super::Daemon;
use crate::metrics;

/// How often the program's records are read while a peer is there: what a failure loses, and fifty calls of the kernel a second.
const READ_EVERY: Duration = Duration::from_millis(20);
/// How often a peer is asked for everything at most, when a host that its flows were refused for is there now.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// A peer's.
#[derive(Default)]
pub struct Peer {
    pub teller: Teller,
    pub listener: Listener,
    /// What became of its flows here.
    pub received: Mirrored,
    /// Hosts that were not there when it told of their flows. Bounded by the hosts of a site.
    missing: BTreeSet<NodeName>,
    is_open: bool,
}

/// All peers', and what is read for them.
pub struct Mirrors {
    pub peers: BTreeMap<NodeName, Peer>,
    reader: Option<NewPinReader>,
    read_at: Instant,
    refreshed_at: Instant,
    asked_at: Instant,
    /// Records that the program had no room for.
    pub lost: u64,
}

impl Mirrors {
    pub fn new(now: Instant) -> Self {
        Self { peers: BTreeMap::new(), reader: None, read_at: now, refreshed_at: now, asked_at: now, lost: 0 }
    }

    /// When [`Daemon::mirror`] has something to do; nothing while no peer is there.
    pub fn due(&self) -> Option<Instant> {
        self.peers.values().any(|peer| peer.is_open).then(|| self.read_at + READ_EVERY)
    }

    /// What became of all peers' flows here.
    pub fn received(&self) -> Mirrored {
        let mut sum = Mirrored::default();
        self.peers.values().for_each(|peer| sum.add(&peer.received));
        sum
    }

    /// For the metrics' page.
    pub fn figures(&self, now: Instant) -> Vec<metrics::Mirror> {
        let figures = |(name, peer): (&NodeName, &Peer)| {
            let (told, received) = (peer.teller.view(now), peer.received);
            let lags = [("p50", told.lag.p50), ("p99", told.lag.p99), ("max", told.lag.max)];
            let mut flows = vec![
                ("sent", told.flows_sent),
                ("pinned", received.pinned),
                ("known", received.known),
                ("forgotten", received.forgotten),
            ];
            flows.extend(received.refused());
            metrics::Mirror {
                router: name.clone(),
                told: told.state.as_str(),
                heard: peer.listener.view().state.as_str(),
                lags: lags.into_iter().filter_map(|(at, lag)| Some((at, lag?))).collect(),
                queue: told.queue as u64,
                flows,
                resyncs: told.resyncs,
            }
        };
        self.peers.iter().map(figures).collect()
    }

    /// Tells every peer of flows that changed since `since`.
    fn tell(&mut self, told: &[Told], since: Instant) {
        for peer in self.peers.values_mut().filter(|_| !told.is_empty()) {
            peer.teller.tell(told.iter().cloned(), since);
        }
    }

    /// Hosts have claimed these flows, and they are pinned.
    pub fn claimed(&mut self, host: &NodeName, flows: &[FlowKey], now: Instant) {
        let told = |flow: &FlowKey| Told { host: host.clone(), flow: *flow, kind: MirrorKind::New };
        self.tell(&flows.iter().map(told).collect::<Vec<_>>(), now);
    }
}

fn own(pin: OwnPin) -> Told {
    let kind = if pin.proven { MirrorKind::Proven } else { MirrorKind::New };
    Told { host: pin.host, flow: pin.flow, kind }
}

impl Daemon {
    /// A conversation with a peer begins.
    pub(super) fn mirror_met(&mut self, name: &NodeName) {
        let peer = self.mirrors.peers.entry(name.clone()).or_default();
        peer.is_open = true;
        peer.teller.connected();
        peer.listener.connected();
    }

    /// And ends.
    pub(super) fn mirror_lost(&mut self, name: &NodeName) {
        if let Some(peer) = self.mirrors.peers.get_mut(name) {
            peer.is_open = false;
            peer.teller.disconnected();
            peer.listener.disconnected();
        }
    }

    /// Who is a peer by the configuration. A connection to another is closed without a word that it is lost.
    pub(super) fn mirror_among(&mut self, peers: &BTreeSet<NodeName>) {
        let others: Vec<_> = self.mirrors.peers.keys().filter(|name| !peers.contains(*name)).cloned().collect();
        others.iter().for_each(|name| self.mirror_lost(name));
    }

    /// A peer tells of its flows. What was under way when it ceased to be one counts no more.
    pub(super) fn mirror_told(&mut self, name: &NodeName, batch: &Mirror) {
        let Some(peer) = self.mirrors.peers.get_mut(name).filter(|peer| peer.is_open) else { return };
        let ack = peer.listener.handle(batch);
        for (host, flows) in &batch.hosts {
            let plane = self.core.plane();
            let done = match batch.kind {
                MirrorKind::Forgotten => plane.unmirror(flows),
                kind => plane.mirror(host, flows, kind == MirrorKind::Proven),
            };
            match done {
                Ok(done) => {
                    if done.no_hop + done.host_down > 0 {
                        peer.missing.insert(host.clone());
                    }
                    peer.received.add(&done);
                }
                Err(error) => tracing::warn!(peer = %name, "flows are not mirrored: {error}"),
            }
        }
        self.send_mirror(name, Message::MirrorAck(ack));
    }

    /// A peer has taken a batch.
    pub(super) fn mirror_answered(&mut self, name: &NodeName, ack: MirrorAck, now: Instant) {
        if let Some(peer) = self.mirrors.peers.get_mut(name) {
            peer.teller.handle_ack(now, ack);
        }
    }

    /// Reads what is new, if it is time, and sends what may be sent. Called in each turn.
    pub(super) fn mirror(&mut self, now: Instant) {
        if self.mirrors.due().is_some_and(|due| due <= now) {
            if let Err(error) = self.read_new_pins(now) {
                tracing::warn!("new flows are not mirrored: {error}");
            }
            self.ask_for_missing(now);
        }
        let names: Vec<NodeName> = self.mirrors.peers.keys().cloned().collect();
        for name in &names {
            while let Some(output) = self.mirrors.peers.get_mut(name).and_then(|peer| peer.teller.poll_output(now)) {
                match output {
                    Output::Send(batch) => self.send_mirror(name, Message::Mirror(batch)),
                    Output::Walk => self.tell_all(name),
                }
            }
        }
    }

    fn read_new_pins(&mut self, now: Instant) -> Result<(), slr_dataplane::router::MapError> {
        if self.mirrors.reader.is_none() {
            self.mirrors.reader = Some(self.core.plane().new_pin_reader()?);
        }
        let Some(reader) = &mut self.mirrors.reader else { return Ok(()) };
        let found = reader.take(self.core.plane())?;
        let forgotten = self.core.plane_mut().take_forgotten();
        // Pinned since the last look: the lag that is shown is never less than the real one.
        let since = std::mem::replace(&mut self.mirrors.read_at, now);
        let new = |(host, flow)| Told { host, flow, kind: MirrorKind::New };
        self.mirrors.tell(&found.pins.into_iter().map(new).collect::<Vec<_>>(), since);
        if let Some(own) = self.core.in_force().map(|loaded| loaded.settings.name.clone()) {
            let gone = |flow| Told { host: own.clone(), flow, kind: MirrorKind::Forgotten };
            self.mirrors.tell(&forgotten.into_iter().map(gone).collect::<Vec<_>>(), now);
        }
        for peer in self.mirrors.peers.values_mut() {
            peer.teller.handle_timeout(now);
            if found.lost > 0 {
                peer.teller.resync();
            }
        }
        self.mirrors.lost += found.lost;
        if now >= self.mirrors.refreshed_at + self.refresh_every() {
            self.mirrors.refreshed_at = now;
            // One advance of the clock more, so that none falls between two walks.
            let within_s = self.refresh_every().as_secs() as u32 + 5;
            let active = self.core.plane().own_pins(Some(within_s))?;
            self.mirrors.tell(&active.into_iter().map(own).collect::<Vec<_>>(), now);
        }
        Ok(())
    }

    /// Three times in the shortest life of a silent flow.
    fn refresh_every(&self) -> Duration {
        let sweep = self.core.in_force().map(|loaded| loaded.settings.dataplane.sweep);
        let shortest = sweep.map_or(REFRESH_S, |sweep| sweep.udp_idle_s.min(sweep.tcp_idle_s) / 3);
        Duration::from_secs(shortest.clamp(1, REFRESH_S).into())
    }

    fn tell_all(&mut self, name: &NodeName) {
        match self.core.plane().own_pins(None) {
            Ok(flows) => {
                if let Some(peer) = self.mirrors.peers.get_mut(name) {
                    peer.teller.tell_table(flows.into_iter().map(own).collect());
                }
            }
            Err(error) => tracing::warn!(peer = %name, "flows are not told: {error}"),
        }
    }

    /// Hosts that were not there when a peer told of their flows may be there by now.
    fn ask_for_missing(&mut self, now: Instant) {
        if now < self.mirrors.asked_at + ASK_EVERY {
            return;
        }
        self.mirrors.asked_at = now;
        let plane = self.core.plane();
        let mut asks = Vec::new();
        for (name, peer) in &mut self.mirrors.peers {
            if peer.missing.iter().any(|host| plane.takes_mirrored(host)) {
                peer.missing.clear();
                asks.extend(peer.listener.ask().map(|ack| (name.clone(), ack)));
            }
        }
        for (name, ack) in asks {
            self.send_mirror(&name, Message::MirrorAck(ack));
        }
    }

    fn send_mirror(&mut self, name: &NodeName, message: Message) {
        let Some(control) = &self.control else { return };
        let is_batch = matches!(message, Message::Mirror(_));
        if let Err(error) = control.hub().send_to_peer(name, Arc::new(message))
            && is_batch
            && let Some(peer) = self.mirrors.peers.get_mut(name).filter(|peer| peer.is_open)
        {
            // Nobody will answer what was not sent: the numbers begin anew, and the peer sees the gap.
            tracing::warn!(peer = %name, "flows are told again: {error}");
            peer.teller.disconnected();
            if error == slr_control::CommandError::Busy {
                peer.teller.connected();
            }
        }
    }
}
