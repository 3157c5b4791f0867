//! The other SLRs of the cluster: one connection with each, dialled by the one with the smaller name.

use std::sync::Arc;
use std::time::Instant;

use slr_model::NodeName;
use slr_session::conversation::{Counters, Peer, PeerEvent, PeerPhase, PeerSettings, PeerSide};
use slr_wire::{Code, Message, Refused};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{HubEvent, HubSettings, PEER_COMMANDS_MAX, Shared};
use crate::endpoint::Target;
use crate::line::Line;
use crate::run::Run;

/// What the router's loop asks of a peer's connection.
pub(super) enum PeerCommand {
    Send(Arc<Message>),
    Refuse(Refused),
}

/// A member of the cluster.
pub(super) struct Member {
    target: Target,
    /// The newest connection's task; none before the other end has dialled.
    task: Option<(u64, mpsc::Sender<PeerCommand>)>,
}

impl Member {
    pub fn commands(&self) -> Option<&mpsc::Sender<PeerCommand>> {
        self.task.as_ref().map(|(_, commands)| commands)
    }
}

/// Starts dialling new members and lets go of those that are none any more. Dropping the commands ends a task.
pub(super) fn reconcile(shared: &Arc<Shared>, settings: &HubSettings, peers: &[Target]) {
    let own = shared.endpoint.trust().current().own().identity.name.clone();
    let mut state = shared.lock();
    state.peers.retain(|_, member| peers.contains(&member.target));
    for target in peers.iter().filter(|target| target.name != own) {
        if state.peers.contains_key(&target.name) {
            continue;
        }
        let task = (PeerSide::of(&own, &target.name) == PeerSide::Dials).then(|| {
            state.last_id += 1;
            let seed = settings.seed.wrapping_add(state.last_id);
            let peer = Peer::dial(settings.peer.clone(), seed, Instant::now());
            let run = Run::dialling(peer, shared.endpoint.clone(), target.clone());
            (state.last_id, start(shared, state.last_id, target.name.clone(), run))
        });
        state.peers.insert(target.name.clone(), Member { target: target.clone(), task });
    }
}

/// Takes a connection that a member has opened. An older one of the same member ends.
pub(super) fn accept(shared: &Arc<Shared>, settings: &PeerSettings, line: Line) {
    let name = line.certificate().identity.name.clone();
    let own = shared.endpoint.trust().current().own().identity.name.clone();
    let mut state = shared.lock();
    state.last_id += 1;
    let id = state.last_id;
    let Some(member) = state.peers.get_mut(&name) else {
        line.close(Code::Removed, "not a member of the cluster; name it among the peers");
        return;
    };
    if PeerSide::of(&own, &name) == PeerSide::Dials {
        line.close(Code::Violation, "of two peers the one with the smaller name dials; run the same version at both");
        return;
    }
    let run = Run::accepted(Peer::accept(settings.clone(), Instant::now()), line);
    // The older task's commands are dropped with this, which ends it.
    member.task = Some((id, start(shared, id, name, run)));
}

fn start(shared: &Arc<Shared>, id: u64, name: NodeName, run: Run<Peer>) -> mpsc::Sender<PeerCommand> {
    let (commands, receiver) = mpsc::channel(PEER_COMMANDS_MAX);
    tokio::spawn(
        Task { run, id, name, met: false, counted: Counters::default(), shared: shared.clone() }.run(receiver),
    );
    commands
}

struct Task {
    run: Run<Peer>,
    id: u64,
    name: NodeName,
    /// The router's loop was told of the other end.
    met: bool,
    counted: Counters,
    shared: Arc<Shared>,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<PeerCommand>) {
        let mut trust = self.shared.endpoint.trust().subscribe();
        let mut serial = trust.borrow_and_update().own().serial.clone();
        let mut events = Vec::new();
        self.settle(&mut events).await;
        while self.run.conversation.phase() != PeerPhase::Ended {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(PeerCommand::Send(message)) => self.run.conversation.send(Arc::unwrap_or_clone(message)),
                    Some(PeerCommand::Refuse(refused)) => self.run.conversation.refuse(Instant::now(), refused),
                    None => {
                        // Replaced, or not a member any more.
                        self.run.close(Code::Superseded, "another connection has taken over, or the cluster has changed");
                        break;
                    }
                },
                changed = trust.changed() => {
                    let newest = trust.borrow_and_update().own().serial.clone();
                    if changed.is_ok() && newest != serial {
                        serial = newest;
                        let refused = Refused::new(Code::Restart, "our certificate was renewed", "");
                        self.run.conversation.refuse(Instant::now(), refused);
                    }
                }
                () = self.run.step() => {}
            }
            self.settle(&mut events).await;
        }
        self.run.closed().await;
    }

    async fn settle(&mut self, events: &mut Vec<PeerEvent>) {
        self.run.settle(events);
        self.shared.count(&mut self.counted, self.run.conversation.counters());
        let identity = self.run.line().map(|line| line.certificate().identity.clone());
        for mut event in events.drain(..) {
            match &mut event {
                PeerEvent::Met(hello) => {
                    if let Some(identity) = &identity {
                        hello.tunnel_addresses.retain(|address| identity.allows_tunnel_address(*address));
                        hello.tunnel_sources.retain(|prefix| identity.allows_tunnel_prefix(*prefix));
                    }
                    info!(peer = %self.name, software = hello.software, "met");
                    self.met = true;
                }
                PeerEvent::Refused(refused) => {
                    warn!(peer = %self.name, "refused: {}: {}; {}", refused.code, refused.reason, refused.remedy);
                }
                PeerEvent::Lost { why, .. } => {
                    // Once for each connection that there was, and quietly for attempts in vain.
                    if std::mem::take(&mut self.met) {
                        warn!(peer = %self.name, "connection lost: {why}");
                    } else {
                        info!(peer = %self.name, "no connection: {why}");
                    }
                }
                PeerEvent::Message(_) => {}
            }
            // What an older connection has to tell is no news once a newer one is there.
            let newest = {
                let state = self.shared.lock();
                state.peers.get(&self.name).and_then(|member| member.task.as_ref()).is_none_or(|task| task.0 == self.id)
            };
            if newest {
                self.shared.tell(HubEvent::Peer { name: self.name.clone(), identity: identity.clone(), event }).await;
            }
        }
    }
}
