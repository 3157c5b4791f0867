//! What comes in on the control plane, handed to the core; and what the core wants done there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use slr_control::{HubEvent, LinkEvent};
use slr_model::{FlowKey, Identity, NodeName};
use slr_session::cluster::{Cluster, ClusterSettings};
use slr_session::conversation::{ChildEvent, ParentEvent, PeerEvent};
use slr_session::registry::{
    Cause, ConnectionId, Hello, PathReport, PathView, Refusal, RefusalCode, ServiceState, SessionId,
};
use slr_wire::{Action, Code, Message, Refused};

use super::Daemon;
use super::core::Effect;
use super::flow_keys::Keyring;
use crate::config;
use crate::control::{self, News};
use crate::keepalive::{Path, Target, TargetReport};
use crate::recovery::Rights;
use crate::state::State;

/// Members of a cluster are few, and flows wait for a publisher's successor: they hear each other more often than hosts are
/// heard, and five beats in a row are missed before one counts as gone.
const BEAT_INTERVAL: Duration = Duration::from_millis(200);
const MEMBER_SILENT_AFTER: Duration = Duration::from_millis(1_000);

impl Daemon {
    /// Takes what came in.
    pub(super) fn hear(&mut self, news: News) {
        let now = Instant::now();
        match news {
            News::Path(change) => {
                let host = self.core.fleet().registry().host(change.name.as_str());
                let was_alive = host.is_some_and(|host| matches!(host.path(), PathView::Alive { .. }));
                if was_alive && change.path == Path::Alive {
                    // Doubt comes and goes with every few packets that are lost.
                    tracing::debug!(host = %change.name, address = %change.address, doubted = change.is_doubted, "path");
                } else {
                    tracing::info!(host = %change.name, address = %change.address, path = change.path.as_str(), "path");
                }
                let is_doubted = change.is_doubted || change.path == Path::Lost;
                self.core.doubt(&change.name, change.address, is_doubted);
                if change.is_doubted {
                    return self.core.tell(now, |registry| registry.path(&change.name, PathReport::Doubted, now));
                }
                let report = self.control.as_ref().map(|control| control.keepalives().report());
                let known = report.iter().flat_map(|report| report.targets.iter());
                let target = known.into_iter().find(|target| target.name == change.name).cloned();
                self.tell_path(&change.name, change.path, target.as_ref(), now);
            }
            News::Hub(HubEvent::Child { id, identity, remote, event }) => {
                self.hear_child(id, &identity, remote, event, now);
            }
            News::Hub(HubEvent::Distrusted { name, id, code, why }) => self.distrust(&name, id, code, &why, now),
            News::Hub(HubEvent::Peer { name, identity, event }) => {
                self.hear_router(&name, identity.as_ref(), event, now);
            }
            // Logged where it happened.
            News::Hub(HubEvent::Refused { .. }) => {}
            News::Link(event) => self.hear_parent(event, now),
        }
    }

    fn hear_child(
        &mut self,
        id: ConnectionId,
        identity: &Arc<Identity>,
        remote: std::net::SocketAddr,
        event: ParentEvent,
        now: Instant,
    ) {
        match event {
            ParentEvent::Hello(hello) => {
                let hello = Hello {
                    session: SessionId { incarnation: hello.incarnation, session: hello.session },
                    version: hello.software,
                    tunnels: hello.tunnel_addresses,
                    source_prefixes: hello.tunnel_sources,
                    answers_asks: hello.answers_asks,
                    remote,
                };
                let identity = Identity::clone(identity);
                match self.core.tell(now, |registry| registry.welcome(identity, hello, id, now)) {
                    Ok(_) => {
                        self.welcome(id);
                        self.grant(id);
                    }
                    Err(refusal) => self.refuse(id, &refusal),
                }
            }
            ParentEvent::Advert(advert) => {
                // Of a connection that has lost its name meanwhile nothing counts; it is being closed.
                let _ = self.core.tell(now, |r| r.advert(id, advert.sequence, advert.full, advert.advert, now));
            }
            ParentEvent::Claimed { flows } => self.claimed(id, identity, flows),
            ParentEvent::Epoch(epoch) => self.hear_epoch(&identity.name, epoch, now),
            ParentEvent::Withdrawn { reason } => self.core.tell(now, |r| r.withdraw(id, &reason, now)),
            ParentEvent::Ended { why, .. } => self.core.tell(now, |r| r.connection_lost(id, &why, now)),
            // Answered to whoever gave the order.
            ParentEvent::Ordered { .. } => {}
        }
    }

    /// A host has flows that were searched for. It may claim what its certificate has, and only for itself.
    fn claimed(&mut self, id: ConnectionId, identity: &Identity, flows: Vec<FlowKey>) {
        let Some(host) = self.core.fleet().registry().owner(id) else {
            self.claims.no_session += flows.len() as u64;
            return;
        };
        let services = host.services().map(|service| (*service.key(), service.state() == ServiceState::Down));
        let flows = Rights::new(identity, services).filter(flows, &mut self.claims);
        // What was refused here is nobody's news: a peer would believe it of this member.
        let mut pinned = Vec::new();
        match self.core.plane().claim_each(&identity.name, &flows, |flow| pinned.push(*flow)) {
            Ok(claimed) => {
                self.claims.data_plane.add(&claimed);
                self.mirrors.claimed(&identity.name, &pinned, Instant::now());
                tracing::debug!(host = %identity.name, ?claimed, "flows claimed");
            }
            Err(error) => tracing::warn!(host = %identity.name, "claimed flows are not pinned: {error}"),
        }
    }

    pub(super) fn welcome(&self, id: ConnectionId) {
        let (Some(control), Some(loaded)) = (&self.control, self.core.in_force()) else { return };
        let Some(settings) = &loaded.settings.control else { return };
        let told = control.hub().welcome(id, control::welcome(&loaded.settings, settings));
        let roster = control.hub().set_roster(id, self.roster.newest());
        if let Err(error) = told.and(roster) {
            tracing::debug!(%id, "not welcomed: {error}");
        }
    }

    fn refuse(&mut self, id: ConnectionId, refusal: &Refusal) {
        let Some(control) = &self.control else { return };
        tracing::warn!(%id, code = %refusal.code, "refused: {refusal}");
        // A connection that has ended meanwhile needs no refusal.
        let _ = control.hub().refuse(id, refused(refusal));
    }

    /// A certificate is no longer good: its node is removed, unless another connection of the name has a good one.
    fn distrust(&mut self, name: &NodeName, id: Option<ConnectionId>, code: Code, why: &str, now: Instant) {
        if code == Code::Revoked {
            self.revoke_keys(now);
        }
        let owner = self.core.fleet().registry().host(name.as_str()).and_then(|host| host.connection());
        if owner.is_some_and(|(owner, ..)| Some(owner) != id) {
            return;
        }
        let cause = match code {
            Code::Revoked => Cause::Revoked,
            Code::Expired => Cause::Expired,
            _ => Cause::Operator,
        };
        self.core.tell(now, |registry| registry.remove(name, cause, why, now));
    }

    /// A peer or a neighbour says something. What both have in common is here.
    fn hear_router(&mut self, name: &NodeName, identity: Option<&Arc<Identity>>, event: PeerEvent, now: Instant) {
        match &event {
            PeerEvent::Met(hello) => {
                if let Some(identity) = identity {
                    self.search_met(name, identity, hello, now);
                }
                self.tell_epoch_to(name);
            }
            PeerEvent::Lost { .. } => self.search_lost(name, now),
            PeerEvent::Message(_) | PeerEvent::Refused(_) => {}
        }
        match event {
            PeerEvent::Message(Message::WhoHas(question)) => self.asked(name, question),
            PeerEvent::Message(Message::Has(answer)) => self.answered(name, answer),
            PeerEvent::Message(Message::FlowEpoch(told)) => self.hear_epoch(name, told.epoch, now),
            // Rings and flows are a cluster's own.
            _ if self.is_neighbour(name) => {}
            event => self.hear_peer(name, event, now),
        }
    }

    fn hear_peer(&mut self, name: &NodeName, event: PeerEvent, now: Instant) {
        match event {
            PeerEvent::Met(_) => {
                tracing::info!(peer = %name, "met");
                self.core.tell_cluster(now, |cluster| cluster.peer_met(now, name));
                self.mirror_met(name);
            }
            PeerEvent::Message(Message::Mirror(batch)) => self.mirror_told(name, &batch),
            PeerEvent::Message(Message::MirrorAck(ack)) => self.mirror_answered(name, ack, now),
            PeerEvent::Message(message) => {
                self.core.tell_cluster(now, |cluster| cluster.handle_message(now, name, message));
            }
            PeerEvent::Refused(refused) => {
                tracing::warn!(peer = %name, "refuses us: {}; {}", refused.reason, refused.remedy);
            }
            PeerEvent::Lost { why, .. } => {
                tracing::warn!(peer = %name, "lost: {why}");
                self.core.tell_cluster(now, |cluster| cluster.peer_lost(now, name));
                self.mirror_lost(name);
            }
        }
    }

    fn hear_parent(&mut self, LinkEvent { parent, event }: LinkEvent, now: Instant) {
        match event {
            ChildEvent::Welcomed(welcome) => {
                tracing::info!(%parent, "welcomed");
                self.tell_epoch_up(&parent);
                self.core.set_parent_sources(parent, welcome.tunnel_sources, now);
            }
            ChildEvent::Order(order) => {
                tracing::info!(%parent, by = order.requested_by, "ordered to {}", order.action.as_str());
                self.core.set_draining(order.action == Action::Drain, now);
                if let Some(link) = self.control.as_ref().and_then(|control| control.link(&parent)) {
                    link.ordered(order.id, Ok(()));
                }
            }
            ChildEvent::Heard(true) => tracing::info!(%parent, "adverts arrive"),
            ChildEvent::Heard(false) => tracing::warn!(%parent, "adverts do not arrive"),
            ChildEvent::Epoch(epoch) => self.hear_epoch(&parent, epoch, now),
            // For hosts: chains go no further up than a site.
            ChildEvent::Roster(_) | ChildEvent::FlowKeys(_) => {}
            ChildEvent::Refused(refused) => {
                tracing::error!(%parent, "refuses us: {}; {}", refused.reason, refused.remedy);
            }
            ChildEvent::Lost { why, .. } => tracing::warn!(%parent, "lost: {why}"),
        }
    }

    fn tell_path(&mut self, name: &NodeName, path: Path, figures: Option<&TargetReport>, now: Instant) {
        let report = match path {
            Path::Unknown => return,
            Path::Lost => PathReport::Lost,
            Path::Alive => PathReport::Alive {
                rtt_us: figures.and_then(|target| target.rtt_us).unwrap_or(0),
                loss: figures.map_or(0.0, |target| target.loss),
            },
        };
        self.core.tell(now, |registry| registry.path(name, report, now));
    }

    /// Hands on round-trip times and losses as they are measured.
    pub(super) fn refresh_paths(&mut self) {
        let Some(control) = &self.control else { return };
        let report = control.keepalives().report();
        if Arc::ptr_eq(&report, &self.paths) {
            return;
        }
        let now = Instant::now();
        for target in &report.targets {
            let host = self.core.fleet().registry().host(target.name.as_str());
            // A doubt ends with an answer or a loss, which come by themselves.
            let known = host.filter(|host| !host.is_path_doubted()).map(|host| host.path());
            if known.is_some_and(|known| may_refresh(&known, target.path)) {
                self.tell_path(&target.name, target.path, Some(target), now);
            }
        }
        self.paths = report;
    }

    /// Does what the core wants done.
    pub(super) fn carry_out(&mut self) {
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::Close(id, refusal) => self.refuse(id, &refusal),
                Effect::Ask(id) => {
                    if let Some(control) = &self.control {
                        // One that has ended answers nothing, and one that is busy is asked again.
                        let _ = control.hub().ask(id);
                    }
                }
                Effect::Watch => self.watch(),
                Effect::Lost(host) => self.ending.lost(host, Instant::now()),
                Effect::Save => self.save(),
                Effect::ToPeer(name, message) => {
                    if let Some(control) = &self.control {
                        // A peer that is not there hears everything when it comes.
                        let _ = control.hub().send_to_peer(&name, Arc::new(message));
                    }
                }
                Effect::RefusePeer(name, reason) => {
                    if let Some(control) = &self.control {
                        let remedy = "run the same version on both routers".to_owned();
                        let _ = control.hub().refuse_peer(&name, Refused { code: Code::Violation, reason, remedy });
                    }
                }
                Effect::Offer(advert) => {
                    if let Some(control) = &self.control {
                        control.offer(advert);
                    }
                }
            }
        }
    }

    /// Other hosts than before: they are resolved, probed, and told to each other.
    fn watch(&mut self) {
        // A proposal watches for itself, and its numbers are its own.
        if let (Some(loaded), false) = (self.core.in_force(), self.core.is_deciding()) {
            self.watcher.watch(self.core.targets(loaded));
        }
        let Some(control) = &self.control else { return };
        let registry = self.core.fleet().registry();
        let probed = self.core.hops().iter().filter_map(|hop| {
            let host = registry.host(hop.name.as_str())?;
            let other = host.tunnels().iter().copied().find(|address| *address != hop.address);
            Some(Target { name: hop.name.clone(), address: hop.address, other })
        });
        control.keepalives().watch(probed.collect());
        self.roster.change(Instant::now());
    }

    /// Writes down what a restart goes on from.
    pub(super) fn save(&mut self) {
        let Some(control) = self.core.in_force().and_then(|loaded| loaded.settings.control.as_ref()) else { return };
        let epoch = self.keyring.as_ref().map(Keyring::epoch);
        if let Err(error) = State::of(&self.core, epoch, Instant::now()).save(&control.state_dir) {
            tracing::error!("a restart would take every host for new: {error:#}");
        }
    }

    /// The cluster that the configuration names, going on from what an earlier daemon knew.
    pub(super) fn cluster(
        settings: &config::Settings,
        control: &config::Control,
        incarnation: u64,
        state: Option<&State>,
        now: Instant,
    ) -> Cluster {
        let peers = control.peers.iter().map(|peer| peer.name.clone()).collect();
        let mut timing = ClusterSettings::new(settings.name.clone(), incarnation, peers);
        (timing.beat_interval, timing.silent_after) = (BEAT_INTERVAL, MEMBER_SILENT_AFTER);
        Cluster::new(timing, state.and_then(State::cluster), now)
    }
}

/// Whether a report may say so of a path. It is made now and then and may be older than the last change, which came by
/// itself: it never turns a path that is known alive into a lost one, nor back.
fn may_refresh(known: &PathView, reported: Path) -> bool {
    match known {
        PathView::Unknown | PathView::Assumed => true,
        PathView::Alive { .. } => reported == Path::Alive,
        PathView::Lost { .. } => false,
    }
}

fn refused(refusal: &Refusal) -> Refused {
    let code = match refusal.code {
        RefusalCode::Superseded => Code::Superseded,
        RefusalCode::NameInUse => Code::NameInUse,
        RefusalCode::TunnelTaken => Code::TunnelTaken,
        RefusalCode::TunnelNotAllowed => Code::TunnelNotAllowed,
        RefusalCode::TunnelsInvalid => Code::TunnelsInvalid,
        RefusalCode::Full => Code::Full,
        RefusalCode::Removed => Code::Removed,
    };
    Refused { code, reason: refusal.why.clone(), remedy: refusal.remedy.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_from_before_a_change_does_not_undo_it() {
        let now = Instant::now();
        let alive = PathView::Alive { since: now, rtt_us: 1, loss: 0.0 };
        let lost = PathView::Lost { since: now, is_settled: false };
        let table = [
            (PathView::Unknown, Path::Alive, true),
            (PathView::Unknown, Path::Lost, true),
            (PathView::Assumed, Path::Alive, true),
            (alive, Path::Alive, true),
            (alive, Path::Lost, false),
            (lost, Path::Alive, false),
            (lost, Path::Lost, false),
        ];
        for (known, reported, expected) in table {
            assert_eq!(may_refresh(&known, reported), expected, "{known:?}, reported {reported:?}");
        }
    }
}
