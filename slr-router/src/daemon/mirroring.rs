//! The mirror's edge: new pins out of the kernel to the peers, and theirs into it. What is said, and when, is
//! [`slr_session::mirror`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slr_dataplane::router::{MapError, Mirrored, NewPinReader, OwnPins, Router};
use slr_model::{FlowKey, NodeName};
use slr_session::mirror::{LATE, Listener, MirrorKind, Output, State, Teller, TellerView, Told};
use slr_wire::{Message, Mirror, MirrorAck};

use super::Daemon;
use crate::metrics;

mod walks;
use walks::Walks;

/// How often the program's records are read while a peer is there: what a failure loses, and fifty calls of the kernel a second.
const READ_EVERY: Duration = Duration::from_millis(20);
/// The same while there are more of them than are read at once: what comes in has its turn in between.
const READ_ON_EVERY: Duration = Duration::from_millis(2);
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
    /// On which it is told of all own flows.
    walk: Option<OwnPins>,
}

/// All peers', and what is read for them.
pub struct Mirrors {
    pub peers: BTreeMap<NodeName, Peer>,
    reader: Option<NewPinReader>,
    /// When the program's records are read next.
    read_due: Instant,
    /// When the last of them had been read: those that are read now were made since.
    read_at: Instant,
    walks: Walks,
    asked_at: Instant,
    /// Records that the program had no room for.
    pub lost: u64,
}

impl Mirrors {
    pub fn new(now: Instant) -> Self {
        Self {
            peers: BTreeMap::new(),
            reader: None,
            read_due: now,
            read_at: now,
            walks: Walks::new(now),
            asked_at: now,
            lost: 0,
        }
    }

    /// When [`Daemon::mirror`] has something to do; nothing while no peer is there.
    pub fn due(&self) -> Option<Instant> {
        self.peers.values().any(|peer| peer.is_open).then_some(self.read_due)
    }

    /// What became of all peers' flows here.
    pub fn received(&self) -> Mirrored {
        let mut sum = Mirrored::default();
        self.peers.values().for_each(|peer| sum.add(&peer.received));
        sum
    }

    /// Where the telling of a peer stands. What the program has recorded and nobody has read for too long is late, too.
    pub fn told(&self, peer: &Peer, now: Instant) -> TellerView {
        let mut view = peer.teller.view(now);
        if view.state == State::Warm && now.saturating_duration_since(self.read_at) > LATE {
            view.state = State::Lagging;
        }
        view
    }

    /// For the metrics' page.
    pub fn figures(&self, now: Instant) -> Vec<metrics::Mirror> {
        let figures = |(name, peer): (&NodeName, &Peer)| {
            let (told, received) = (self.told(peer, now), peer.received);
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

/// Puts a peer's flows where they belong.
fn take(plane: &Router, peer: &mut Peer, batch: &Mirror) -> Result<(), MapError> {
    if batch.kind == MirrorKind::Forgotten {
        peer.received.add(&plane.unmirror(batch.hosts.values().flatten())?);
        return Ok(());
    }
    let mut pinning = plane.pinning()?;
    for (host, flows) in &batch.hosts {
        if !pinning.takes(host) {
            peer.missing.insert(host.clone());
        }
        peer.received.add(&pinning.pin(host, flows, batch.kind == MirrorKind::Proven)?);
    }
    Ok(())
}

impl Daemon {
    /// A conversation with a peer begins.
    pub(super) fn mirror_met(&mut self, name: &NodeName) {
        if self.mirrors.due().is_none() {
            // What was recorded while nobody was there to be told is in the table, which is told now.
            let now = Instant::now();
            (self.mirrors.reader, self.mirrors.read_due, self.mirrors.read_at) = (None, now, now);
        }
        let peer = self.mirrors.peers.entry(name.clone()).or_default();
        peer.is_open = true;
        peer.teller.connected();
        peer.listener.connected();
    }

    /// And ends.
    pub(super) fn mirror_lost(&mut self, name: &NodeName) {
        if let Some(peer) = self.mirrors.peers.get_mut(name) {
            (peer.is_open, peer.walk) = (false, None);
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
        if let Err(error) = take(self.core.plane(), peer, batch) {
            tracing::warn!(peer = %name, "flows are not mirrored: {error}");
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
        self.go_on_walking(now);
        let names: Vec<NodeName> = self.mirrors.peers.keys().cloned().collect();
        for name in &names {
            while let Some(output) = self.mirrors.peers.get_mut(name).and_then(|peer| peer.teller.poll_output(now)) {
                match output {
                    Output::Send(batch) => self.send_mirror(name, Message::Mirror(batch)),
                    Output::Walk => {
                        // One that cannot begin is begun again when hosts are asked for.
                        let walk = self.core.plane().walk_own_pins(None);
                        if let Some(peer) = self.mirrors.peers.get_mut(name) {
                            peer.walk = walk.inspect_err(|error| tracing::warn!(peer = %name, "{error}")).ok();
                        }
                    }
                }
            }
        }
    }

    fn read_new_pins(&mut self, now: Instant) -> Result<(), MapError> {
        if self.mirrors.reader.is_none() {
            self.mirrors.reader = Some(self.core.plane().new_pin_reader()?);
        }
        let Some(reader) = &mut self.mirrors.reader else { return Ok(()) };
        self.mirrors.read_due = now + READ_EVERY;
        let found = reader.take(self.core.plane())?;
        let forgotten = self.core.plane_mut().take_forgotten();
        // Pinned since the last look that left nothing: the lag that is shown is never less than the real one.
        let since = self.mirrors.read_at;
        if found.more {
            self.mirrors.read_due = now + READ_ON_EVERY;
        } else {
            self.mirrors.read_at = now;
        }
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
        Ok(())
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
            if peer.teller.takes_table() && peer.walk.is_none() {
                // The tables could not be read: from the start, then.
                peer.teller.resync();
            }
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
