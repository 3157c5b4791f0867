//! A child's connection to one of its parents: hostd and the SLRs of lower tiers have one for each parent.
//!
//! [`ChildLink::spawn`] starts a task that dials, says hello, adverts what the daemon offers, and tells the daemon what
//! the parent says. It goes on until [`ChildLink::withdraw`], or until the link is dropped (the connection then ends
//! without a withdrawal: to the parent the child is silent, and its flows stay).
//!
//! A renewed certificate of either end is changed over to without a gap: a second connection is opened with it, and the
//! first one ends when the second is welcomed.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ipnet::IpNet;
use slr_model::{Advert, FlowKey, HostState, Identity, NodeName, ServiceKey};
use slr_session::conversation::{Child, ChildEvent, ChildPhase, ChildSettings, Counters};
use slr_wire::Code;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use crate::endpoint::{Endpoint, Target};
use crate::run::Run;

/// Answers and a withdrawal that wait for the task: an operator gives an order at a time.
const COMMANDS_MAX: usize = 32;
/// The same complaint is logged again after this long.
const REPEAT_AFTER: Duration = Duration::from_secs(60);
/// A parent's certificate is looked at again before so much of its remaining life is over, in parts of ten.
const REFRESH_TENTHS: u32 = 8;
/// But not more often than this.
const REFRESH_MIN: Duration = Duration::from_secs(1);

/// What a parent says to the daemon.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkEvent {
    /// Which parent.
    pub parent: NodeName,
    /// What. The tunnel sources of a welcome are those that the parent's certificate allows.
    pub event: ChildEvent,
}

/// How a link stands, for tables and metrics.
#[derive(Clone, Debug)]
pub struct LinkStatus {
    /// The parent, as configured.
    pub target: Target,
    /// Where the conversation is.
    pub phase: ChildPhase,
    /// Since when.
    pub since: Instant,
    /// Number of the connection.
    pub session: u64,
    /// Where the parent was reached.
    pub remote: Option<SocketAddr>,
    /// Who it is by its certificate.
    pub identity: Option<Arc<Identity>>,
    /// Whether adverts reach it.
    pub heard: bool,
    /// The states that it was told last and has acknowledged.
    pub acknowledged: Option<BTreeMap<ServiceKey, HostState>>,
    /// Why the last connection ended, or was not to be had.
    pub last_ending: Option<String>,
    /// What came in and was not taken.
    pub counters: Counters,
}

/// A parent's link. Dropping it ends the connection.
#[derive(Debug)]
pub struct ChildLink {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<LinkStatus>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
enum Command {
    Ordered { id: u64, outcome: Result<(), String> },
    Withdraw { reason: String },
    Claim { flows: Arc<[FlowKey]> },
    Epoch(u32),
}

impl ChildLink {
    /// Starts the link. Nothing is advertised while the offer is `None`; every change of it reaches the parent.
    pub fn spawn(
        endpoint: Endpoint,
        target: Target,
        settings: ChildSettings,
        seed: u64,
        offer: watch::Receiver<Option<Advert>>,
        events: mpsc::Sender<LinkEvent>,
    ) -> Self {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let now = Instant::now();
        let status = LinkStatus {
            target: target.clone(),
            phase: ChildPhase::Waiting,
            since: now,
            session: 0,
            remote: None,
            identity: None,
            heard: false,
            acknowledged: None,
            last_ending: None,
            counters: Counters::default(),
        };
        let (status, watched) = watch::channel(status);
        let child = Child::new(settings, seed, now);
        let task = Task {
            run: Run::dialling(child, endpoint.clone(), target.clone()),
            next: None,
            refresh_at: None,
            endpoint,
            target,
            events,
            status,
            heard: false,
            said: None,
        };
        Self { commands, status: watched, task: tokio::spawn(task.run(offer, receiver)) }
    }

    /// Answers an order.
    pub fn ordered(&self, id: u64, outcome: Result<(), String>) {
        // An answer too many is one that nobody asked for.
        let _ = self.commands.try_send(Command::Ordered { id, outcome });
    }

    /// Tells the parent that this node has these flows. While the link is busy, or there is no session, they are not told:
    /// their next packets are searched for again.
    pub fn claim(&self, flows: Arc<[FlowKey]>) {
        let _ = self.commands.try_send(Command::Claim { flows });
    }

    /// Tells the parent, router to router, which epoch flow keys are of.
    pub fn tell_epoch(&self, epoch: u32) {
        // Told again with the next one, and when the parent is connected again.
        let _ = self.commands.try_send(Command::Epoch(epoch));
    }

    /// Goes away in order: the parent forgets this node's services. The link ends; see [`ChildLink::finished`].
    pub fn withdraw(&self, reason: &str) {
        let _ = self.commands.try_send(Command::Withdraw { reason: reason.to_owned() });
    }

    /// Waits until the link has ended after a withdrawal, for two seconds at most.
    pub async fn finished(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(2), &mut self.task).await;
    }

    /// How it stands.
    pub fn status(&self) -> watch::Ref<'_, LinkStatus> {
        self.status.borrow()
    }
}

impl Drop for ChildLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Task {
    run: Run<Child>,
    /// The one that takes over when it is welcomed: for a renewed certificate.
    next: Option<Run<Child>>,
    /// When to see whether the parent has a renewed certificate.
    refresh_at: Option<Instant>,
    endpoint: Endpoint,
    target: Target,
    events: mpsc::Sender<LinkEvent>,
    status: watch::Sender<LinkStatus>,
    /// Whether adverts reach the parent.
    heard: bool,
    /// The last complaint that was logged.
    said: Option<(String, Instant)>,
}

impl Task {
    async fn run(mut self, mut offer: watch::Receiver<Option<Advert>>, mut commands: mpsc::Receiver<Command>) {
        let mut trust = self.endpoint.trust().subscribe();
        let mut serial = trust.borrow_and_update().own().serial.clone();
        offer.mark_changed();
        let mut offering = true;
        while self.run.conversation.phase() != ChildPhase::Ended {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                changed = trust.changed() => {
                    let newest = trust.borrow_and_update().own().serial.clone();
                    if changed.is_ok() && newest != serial {
                        serial = newest;
                        info!(parent = %self.target.name, %serial, "changing over to our renewed certificate");
                        self.begin_next();
                    }
                }
                changed = offer.changed(), if offering => {
                    offering = changed.is_ok();
                    let advert = offer.borrow_and_update().clone();
                    self.offer(advert);
                }
                () = at(self.refresh_at) => {
                    self.refresh_at = None;
                    self.begin_next();
                }
                () = self.run.step() => {}
                () = step(&mut self.next) => {}
            }
            self.settle().await;
        }
        self.run.closed().await;
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Ordered { id, outcome } => self.run.conversation.ordered(id, outcome),
            Command::Claim { flows } => self.run.conversation.claim(Instant::now(), &flows),
            Command::Epoch(epoch) => self.run.conversation.tell_epoch(epoch),
            Command::Withdraw { reason } => {
                if let Some(mut next) = self.next.take() {
                    next.close(Code::GoingAway, &reason);
                }
                self.run.conversation.withdraw(&reason);
            }
        }
    }

    fn offer(&mut self, advert: Option<Advert>) {
        let Some(advert) = advert else { return };
        let now = Instant::now();
        for run in std::iter::once(&mut self.run).chain(&mut self.next) {
            if let Err(error) = run.conversation.offer(now, advert.clone()) {
                warn!(parent = %self.target.name, "what is offered cannot be advertised: {error}");
            }
        }
    }

    /// Opens a second connection, which takes over when it is welcomed.
    fn begin_next(&mut self) {
        let latest = self.next.as_mut().unwrap_or(&mut self.run);
        let child = latest.conversation.successor(Instant::now());
        self.next = Some(Run::dialling(child, self.endpoint.clone(), self.target.clone()));
    }

    /// Carries out what both conversations put out, and tells the daemon.
    async fn settle(&mut self) {
        let mut events = Vec::new();
        if let Some(next) = &mut self.next {
            next.settle(&mut events);
            if events.iter().any(|event| matches!(event, ChildEvent::Welcomed(_))) {
                self.take_over();
            } else {
                // The daemon has a connection; that the second one is not there yet is no news for it.
                events.drain(..).for_each(|event| debug!(parent = %self.target.name, ?event, "second connection"));
            }
        }
        self.run.settle(&mut events);
        if self.next.is_some() {
            // The parent ends the first connection before the second one hears of it.
            let superseded = |event: &ChildEvent| match event {
                ChildEvent::Refused(refused) => refused.code == Code::Superseded,
                ChildEvent::Lost { code, .. } => *code == Some(Code::Superseded),
                _ => false,
            };
            events.retain(|event| !superseded(event));
        }
        for event in events {
            self.tell(event).await;
        }
        self.report();
    }

    fn take_over(&mut self) {
        if let Some(next) = self.next.take() {
            let mut old = std::mem::replace(&mut self.run, next);
            old.close(Code::Superseded, "a newer connection of this node has taken over");
            info!(parent = %self.target.name, "changed over to a new connection");
        }
    }

    async fn tell(&mut self, mut event: ChildEvent) {
        let parent = &self.target.name;
        match &mut event {
            ChildEvent::Welcomed(welcome) => {
                let certificate = self.run.line().map(|line| line.certificate().clone());
                if let Some(certificate) = &certificate {
                    let allowed = |prefix: &IpNet| certificate.identity.allows_tunnel_prefix(*prefix);
                    for prefix in welcome.tunnel_sources.iter().filter(|prefix| !allowed(prefix)) {
                        warn!(%parent, "its tunnels from {prefix} are refused; its certificate does not have that prefix: renew it with slr-ca renew {parent} --tunnel {prefix}");
                    }
                    welcome.tunnel_sources.retain(allowed);
                    let left = certificate.not_after.duration_since(SystemTime::now()).unwrap_or_default();
                    let wait = (left / 10 * REFRESH_TENTHS).max(REFRESH_MIN);
                    self.refresh_at = Instant::now().checked_add(wait);
                }
                info!(%parent, interval_ms = welcome.advert_interval_ms, "welcomed");
                (self.heard, self.said) = (true, None);
            }
            ChildEvent::Heard(heard) => {
                self.heard = *heard;
                info!(%parent, heard, "whether the parent hears our adverts");
            }
            ChildEvent::Refused(refused) => {
                let text = format!("refused: {}: {}; {}", refused.code, refused.reason, refused.remedy);
                self.complain(text);
            }
            ChildEvent::Lost { why, .. } => {
                self.heard = false;
                let text = format!("no connection: {why}");
                self.complain(text);
            }
            ChildEvent::Roster(_) | ChildEvent::Order(_) | ChildEvent::FlowKeys(_) | ChildEvent::Epoch(_) => {}
        }
        let event = LinkEvent { parent: self.target.name.clone(), event };
        if self.run.conversation.phase() == ChildPhase::Ended {
            // The daemon ends and may read no more.
            let _ = self.events.try_send(event);
        } else if self.events.send(event).await.is_err() {
            debug!("nobody listens to the link any more");
        }
    }

    /// Logs what is wrong, but not the same again and again.
    fn complain(&mut self, text: String) {
        let (parent, now) = (&self.target.name, Instant::now());
        match &self.said {
            Some((said, at)) if *said == text && now.duration_since(*at) < REPEAT_AFTER => debug!(%parent, "{text}"),
            _ => {
                warn!(%parent, "{text}");
                self.said = Some((text, now));
            }
        }
    }

    fn report(&self) {
        let (phase, session) = (self.run.conversation.phase(), self.run.conversation.session());
        let counters = self.run.conversation.counters();
        let acknowledged = self.run.conversation.acknowledged();
        self.status.send_if_modified(|status| {
            let same = (status.phase, status.session, status.counters) == (phase, session, counters)
                && status.acknowledged.as_ref() == acknowledged;
            if !same {
                let line = self.run.line();
                if status.phase != phase {
                    status.since = Instant::now();
                }
                (status.phase, status.session, status.counters) = (phase, session, counters);
                status.heard = self.heard;
                status.acknowledged = acknowledged.cloned();
                status.remote = line.map(|line| line.connection().remote_address());
                status.identity = line.map(|line| line.certificate().identity.clone());
                status.last_ending = self.run.last_ending().map(ToString::to_string);
            }
            !same
        });
    }
}

/// Waits for a time, or for ever.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => pending().await,
    }
}

/// Waits for what happens on a connection, or for ever if there is none.
async fn step(run: &mut Option<Run<Child>>) {
    match run {
        Some(run) => run.step().await,
        None => pending().await,
    }
}
