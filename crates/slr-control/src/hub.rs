//! A router's end of the control channel: all children that connect to it, and the other SLRs of its cluster.
//!
//! One task for each connection runs its conversation; what they tell comes out of one bounded queue, in order for each
//! connection, and the router's loop answers by the connection's number. When the queue is full the tasks wait, and so
//! do the children: nothing is lost but datagrams, which QUIC then drops by age.
//!
//! A renewed certificate of ours serves every new handshake at once. Open connections stay until the other end changes
//! over (children, before ours ends) or are opened anew (peers, at once).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use slr_model::{Identity, NodeName, Role};
use slr_session::conversation::{Counters, ParentEvent, PeerEvent, PeerSettings};
use slr_session::registry::ConnectionId;
use slr_wire::{Action, Code, FlowKeys, Message, Refused, Roster, Welcome};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::endpoint::{AcceptCounters, Accepted, BindError, Endpoint, EndpointSettings, Target};
use crate::{Certificate, Ending, Rule, Trust};

mod child;
mod known;
mod peer;

use child::ChildCommand;
use known::Known;
use peer::PeerCommand;

/// Events that wait for the router's loop: an advert and a change of state from each of a thousand children, twice.
const EVENTS_MAX: usize = 4_096;
/// Commands that wait for one connection's task.
const COMMANDS_MAX: usize = 64;
/// Messages that wait for one peer's task: a publication of the largest cluster in parts.
const PEER_COMMANDS_MAX: usize = 2 * slr_wire::bounds::RINGS_PARTS_MAX as usize;

/// What a router listens to, and who it is to its peers.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// Where it listens.
    pub endpoint: EndpointSettings,
    /// What it says to its peers; `peer.role` is its own role.
    pub peer: PeerSettings,
    /// The other members of its cluster.
    pub peers: Vec<Target>,
    /// Makes the waits between attempts its own.
    pub seed: u64,
}

/// What happened on the control channel.
#[derive(Clone, Debug, PartialEq)]
pub enum HubEvent {
    /// A child says something. After [`ParentEvent::Ended`] the number means nothing any more.
    Child {
        /// The connection.
        id: ConnectionId,
        /// Who it is, by its certificate.
        identity: Arc<Identity>,
        /// From where.
        remote: SocketAddr,
        /// What it says. Answers to orders go to who gave them.
        event: ParentEvent,
    },
    /// A node may no longer be believed: its certificate was revoked, has expired on an open connection, or the node is
    /// not expected any more. Comes before the connection's end. Remove the node, unless another connection owns the name.
    Distrusted {
        /// Which node.
        name: NodeName,
        /// Its connection, if it had one.
        id: Option<ConnectionId>,
        /// Revoked, expired or removed.
        code: Code,
        /// What happened, and what to do.
        why: String,
    },
    /// A peer says something.
    Peer {
        /// Which.
        name: NodeName,
        /// Its certificate, as long as it is connected. What it said of its tunnels goes no further than that.
        identity: Option<Arc<Identity>>,
        /// What.
        event: PeerEvent,
    },
    /// Somebody was not let in; it was logged.
    Refused {
        /// From where.
        remote: SocketAddr,
        /// Why, and what to do.
        ending: Ending,
    },
}

/// A command that reaches nobody.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CommandError {
    /// The connection has ended; its event is on the way.
    #[error("the connection has ended")]
    Ended,
    /// Its task has not taken the last ones.
    #[error("the connection's task is busy: try again")]
    Busy,
}

/// A child's connection, for tables.
#[derive(Clone, Debug)]
pub struct ConnectionView {
    /// Its number.
    pub id: ConnectionId,
    /// Whose it is.
    pub certificate: Arc<Certificate>,
    /// From where.
    pub remote: SocketAddr,
    /// Since when.
    pub since: Instant,
}

/// The control channel of a router.
pub struct Hub {
    endpoint: Endpoint,
    shared: Arc<Shared>,
    settings: HubSettings,
}

struct Shared {
    endpoint: Endpoint,
    events: mpsc::Sender<HubEvent>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_id: u64,
    children: BTreeMap<ConnectionId, Child>,
    peers: BTreeMap<NodeName, peer::Member>,
    known: Known,
    /// Of connections that have ended, and of those that are open, brought up to date as they go.
    counters: Counters,
}

struct Child {
    commands: mpsc::Sender<ChildCommand>,
    view: ConnectionView,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the router's loop; waits while the queue is full.
    async fn tell(&self, event: HubEvent) {
        // A loop that has gone away needs no news.
        let _ = self.events.send(event).await;
    }

    /// Adds what a conversation has counted since the last time.
    fn count(&self, before: &mut Counters, now: Counters) {
        if *before != now {
            self.lock().counters.add(&difference(&now, before));
            *before = now;
        }
    }
}

impl Hub {
    /// Opens the sockets and takes connections from now on.
    pub fn start(settings: HubSettings, trust: Arc<Trust>) -> Result<(Self, mpsc::Receiver<HubEvent>), BindError> {
        let rule = rule(settings.peer.role, &settings.peers);
        let (endpoint, lines) = Endpoint::listening(settings.endpoint.clone(), trust, rule)?;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let shared = Arc::new(Shared { endpoint: endpoint.clone(), events, state: Mutex::default() });
        let mut hub = Self { endpoint, shared, settings };
        hub.set_peers(hub.settings.peers.clone());
        tokio::spawn(take_lines(hub.shared.clone(), hub.settings.peer.clone(), lines));
        tokio::spawn(known::watch(hub.shared.clone()));
        Ok((hub, receiver))
    }

    /// The sockets, for links to this router's own parents.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Admits a child that said hello, or gives it other intervals and tunnel sources.
    pub fn welcome(&self, id: ConnectionId, welcome: Welcome) -> Result<(), CommandError> {
        {
            let mut state = self.shared.lock();
            if let Some(certificate) = state.children.get(&id).map(|child| child.view.certificate.clone()) {
                state.known.insert(certificate);
            }
        }
        self.command(id, ChildCommand::Welcome(welcome))
    }

    /// Refuses a child, or ends its session; it is told why.
    pub fn refuse(&self, id: ConnectionId, refused: Refused) -> Result<(), CommandError> {
        self.command(id, ChildCommand::Refuse(refused))
    }

    /// Gives a child an order. The answer comes within some seconds; `Err` has the reason why the order is not obeyed.
    pub fn order(
        &self,
        id: ConnectionId,
        action: Action,
        requested_by: &str,
    ) -> Result<oneshot::Receiver<Result<(), String>>, CommandError> {
        let (answer, receiver) = oneshot::channel();
        self.command(id, ChildCommand::Order { action, requested_by: requested_by.to_owned(), answer })?;
        Ok(receiver)
    }

    /// Asks a child to advert at once.
    pub fn ask(&self, id: ConnectionId) -> Result<(), CommandError> {
        self.command(id, ChildCommand::Ask)
    }

    /// Sends a child the site's hosts.
    pub fn set_roster(&self, id: ConnectionId, roster: Arc<Roster>) -> Result<(), CommandError> {
        self.command(id, ChildCommand::Roster(roster))
    }

    /// Grants a child that is a host its flow keys.
    pub fn grant(&self, id: ConnectionId, keys: FlowKeys) -> Result<(), CommandError> {
        self.command(id, ChildCommand::Grant(keys))
    }

    /// Tells a child that is a router which epoch flow keys are of.
    pub fn tell_epoch(&self, id: ConnectionId, epoch: u32) -> Result<(), CommandError> {
        self.command(id, ChildCommand::Epoch(epoch))
    }

    /// Sends a message of the cluster to one peer. While there is no conversation with it, the message is dropped.
    pub fn send_to_peer(&self, name: &NodeName, message: Arc<Message>) -> Result<(), CommandError> {
        self.peer_command(name, PeerCommand::Send(message))
    }

    /// Ends the session with a peer; it is told why.
    pub fn refuse_peer(&self, name: &NodeName, refused: Refused) -> Result<(), CommandError> {
        self.peer_command(name, PeerCommand::Refuse(refused))
    }

    /// Changes the members of the cluster. Those that stay keep their connections.
    pub fn set_peers(&mut self, peers: Vec<Target>) {
        self.endpoint.set_rule(rule(self.settings.peer.role, &peers));
        peer::reconcile(&self.shared, &self.settings, &peers);
        self.settings.peers = peers;
    }

    /// The children's connections.
    pub fn connections(&self) -> Vec<ConnectionView> {
        self.shared.lock().children.values().map(|child| child.view.clone()).collect()
    }

    /// What came in on conversations and was not taken.
    pub fn counters(&self) -> Counters {
        self.shared.lock().counters
    }

    /// What was taken and turned away at the door.
    pub fn accept_counters(&self) -> AcceptCounters {
        self.endpoint.counters()
    }

    /// Closes every connection, saying why; waits a second at most.
    pub async fn close(&self, code: Code, reason: &str) {
        self.endpoint.close(code, reason).await;
    }

    fn command(&self, id: ConnectionId, command: ChildCommand) -> Result<(), CommandError> {
        let state = self.shared.lock();
        let child = state.children.get(&id).ok_or(CommandError::Ended)?;
        child.commands.try_send(command).map_err(|error| of_queue(&error))
    }

    fn peer_command(&self, name: &NodeName, command: PeerCommand) -> Result<(), CommandError> {
        let state = self.shared.lock();
        let commands = state.peers.get(name).and_then(peer::Member::commands).ok_or(CommandError::Ended)?;
        commands.try_send(command).map_err(|error| of_queue(&error))
    }
}

/// Without [`Hub::close`] nobody is told why.
impl Drop for Hub {
    fn drop(&mut self) {
        self.shared.lock().peers.clear();
        self.endpoint.close_now(Code::GoingAway, "the router has ended");
    }
}

fn of_queue<T>(error: &mpsc::error::TrySendError<T>) -> CommandError {
    match error {
        mpsc::error::TrySendError::Full(_) => CommandError::Busy,
        mpsc::error::TrySendError::Closed(_) => CommandError::Ended,
    }
}

/// Who may dial a router: its children by any name, its peers by theirs.
fn rule(own: Role, peers: &[Target]) -> Rule {
    let peers = peers.iter().map(|peer| peer.name.clone()).collect();
    Rule::Dialling { children: own.child(), peer_role: own, peers }
}

/// Starts a task for each connection that comes in.
async fn take_lines(shared: Arc<Shared>, settings: PeerSettings, mut lines: mpsc::Receiver<Accepted>) {
    while let Some(accepted) = lines.recv().await {
        match accepted {
            Accepted::Refused { remote, ending } => shared.tell(HubEvent::Refused { remote, ending }).await,
            Accepted::Open(line) if line.certificate().identity.role == settings.role => {
                peer::accept(&shared, &settings, line);
            }
            Accepted::Open(line) => child::accept(&shared, line),
        }
    }
}

/// What was counted between two moments.
fn difference(now: &Counters, before: &Counters) -> Counters {
    let mut undecoded = now.undecoded;
    undecoded.iter_mut().zip(before.undecoded).for_each(|(now, before)| *now -= before);
    Counters {
        undecoded,
        misplaced: now.misplaced - before.misplaced,
        limited: now.limited - before.limited,
        stale: now.stale - before.stale,
    }
}
