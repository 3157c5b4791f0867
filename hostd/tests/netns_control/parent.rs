//! A router as far as the control channel goes: takes whoever comes, remembers what was said, gives orders.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use slr_control::{EndpointSettings, Hub, HubEvent, HubSettings, Trust, TrustFiles};
use slr_model::{HostState, Role, ServiceAdvert, ServiceKey};
use slr_session::conversation::{BackoffSettings, ParentEvent, PeerSettings};
use slr_session::registry::ConnectionId;
use slr_testkit::netns::NetNs;
use slr_wire::{Action, Roster, Welcome};
use tokio::sync::{mpsc, oneshot};

pub const INTERVAL_MS: u32 = 400;

/// What one child has said.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub hellos: u32,
    pub incarnations: Vec<u64>,
    pub services: BTreeMap<ServiceKey, ServiceAdvert>,
    pub loads: slr_model::Loads,
    /// Every change of a service's state, and when it was heard.
    pub changes: Vec<(Instant, ServiceKey, HostState, String)>,
    pub withdrawn: Option<String>,
    pub ended: u32,
}

enum Command {
    Order(Action, oneshot::Sender<Result<(), String>>),
}

/// Runs in a network namespace until dropped.
pub struct Parent {
    heard: Arc<Mutex<Heard>>,
    commands: mpsc::UnboundedSender<Command>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What it tells those who come.
#[derive(Clone, Default)]
pub struct Tells {
    pub sources: Vec<IpNet>,
    pub roster: Roster,
}

impl Parent {
    pub fn start(netns: NetNs, files: TrustFiles, listen: SocketAddr, tells: Tells) -> Self {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (commands, receiver) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let memory = Arc::clone(&heard);
        let thread = std::thread::spawn(move || {
            netns.with(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let endpoint = EndpointSettings { listen: vec![listen], ..EndpointSettings::default() };
                    let settings = HubSettings { endpoint, peer: peer_settings(), peers: vec![], seed: 1 };
                    let (hub, events) = Hub::start(settings, Trust::load(files).unwrap()).unwrap();
                    ready.send(()).unwrap();
                    tokio::select! {
                        _ = stopped => {}
                        () = run(hub, events, receiver, memory, tells) => {}
                    }
                });
            });
        });
        is_ready.recv().expect("the parent listens");
        Self { heard, commands, stop: Some(stop), thread: Some(thread) }
    }

    pub fn heard(&self) -> Heard {
        self.heard.lock().unwrap().clone()
    }

    pub fn state(&self, service: &str) -> Option<HostState> {
        let key: ServiceKey = service.parse().unwrap();
        self.heard().services.get(&key).map(|service| service.state)
    }

    /// When this state of the service was heard first, after `since`, and why.
    pub fn change_since(&self, since: Instant, service: &str, state: HostState) -> Option<(Duration, String)> {
        let key: ServiceKey = service.parse().unwrap();
        let heard = self.heard();
        let mut changes = heard.changes.iter().filter(|(at, of, to, _)| *at >= since && *of == key && *to == state);
        changes.next().map(|(at, _, _, reason)| (at.duration_since(since), reason.clone()))
    }

    pub fn order(&self, action: Action) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        assert!(self.commands.send(Command::Order(action, answer)).is_ok(), "the parent runs");
        answered.blocking_recv().expect("an answer")
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("the parent's thread ends well");
            }
        }
    }
}

fn peer_settings() -> PeerSettings {
    PeerSettings {
        incarnation: 1,
        first_session: 1,
        software: "test".to_owned(),
        role: Role::Site,
        tunnel_addresses: vec![],
        tunnel_sources: vec![],
        backoff: BackoffSettings::default(),
    }
}

async fn run(
    hub: Hub,
    mut events: mpsc::Receiver<HubEvent>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    heard: Arc<Mutex<Heard>>,
    tells: Tells,
) {
    let mut child = None;
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(HubEvent::Child { id, event, .. }) => take(&hub, id, event, &heard, &tells, &mut child),
                Some(_) => {}
                None => return,
            },
            command = commands.recv() => match command {
                Some(Command::Order(action, answer)) => {
                    let outcome = match child.map(|id| hub.order(id, action, "ann")) {
                        Some(Ok(answered)) => answered.await.unwrap_or_else(|_| Err("no answer".to_owned())),
                        Some(Err(error)) => Err(error.to_string()),
                        None => Err("nobody is there".to_owned()),
                    };
                    let _ = answer.send(outcome);
                }
                None => return,
            },
        }
    }
}

fn take(
    hub: &Hub,
    id: ConnectionId,
    event: ParentEvent,
    heard: &Mutex<Heard>,
    tells: &Tells,
    child: &mut Option<ConnectionId>,
) {
    let mut heard = heard.lock().unwrap();
    match event {
        ParentEvent::Hello(hello) => {
            heard.hellos += 1;
            heard.incarnations.push(hello.incarnation);
            *child = Some(id);
            let welcome = Welcome {
                session: hello.session,
                advert_interval_ms: INTERVAL_MS,
                silent_after_ms: INTERVAL_MS * 5 / 2,
                ack_interval_ms: INTERVAL_MS,
                tunnel_sources: tells.sources.clone(),
            };
            hub.welcome(id, welcome).unwrap();
            if !tells.roster.nodes.is_empty() {
                hub.set_roster(id, Arc::new(tells.roster.clone())).unwrap();
            }
        }
        ParentEvent::Advert(advertised) => {
            heard.loads = advertised.advert.loads;
            if advertised.full {
                let names = |key: &ServiceKey| advertised.advert.services.iter().any(|service| service.key == *key);
                heard.services.retain(|key, _| names(key));
            }
            for service in advertised.advert.services {
                if heard.services.get(&service.key).is_none_or(|known| known.state != service.state) {
                    heard.changes.push((Instant::now(), service.key, service.state, service.reason.clone()));
                }
                heard.services.insert(service.key, service);
            }
        }
        ParentEvent::Withdrawn { reason } => heard.withdrawn = Some(reason),
        ParentEvent::Ended { .. } => heard.ended += 1,
        ParentEvent::Ordered { .. } | ParentEvent::Claimed { .. } | ParentEvent::Epoch(_) => {}
    }
}
