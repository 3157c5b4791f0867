//! The task that keeps links current. It owns two netlink sockets, one that asks and one that listens; the daemon gives
//! it targets and takes its latest [`Report`], both through slots that hold one value: nothing queues up.
//!
//! One thing per turn, in this order: new targets, a notification, a due look. Notifications only mark what is to be
//! looked at again; the look itself comes [`DEBOUNCE`] after the first of a burst. After a look that took long, the next
//! waits [`REST`] times as long, so that a storm of route changes leaves the daemon most of its time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use rtnetlink::{Error, Handle, MulticastGroup, new_connection, new_multicast_connection};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::facts::{Facts, NeighbourKey};
use super::netlink::{self, Scope};
use super::{Report, Target};

/// From the first notification of a burst to the look. Templates follow within 100 ms: this, and a look.
const DEBOUNCE: Duration = Duration::from_millis(10);
/// How many times its own duration a look rests afterwards: it may take a fifth of a core at most.
const REST: u32 = 4;
/// Everything is looked at this often though nothing was heard: a lost notification costs this much and no more.
const RECHECK: Duration = Duration::from_secs(10);
/// A neighbour that does not answer, or that the kernel does not manage, is asked for again after this long.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// One that vanished from the kernel's table is asked for again after this long: nobody else is asking.
const ASK_VANISHED: Duration = Duration::from_millis(100);

/// What tells us that a link may have changed.
const GROUPS: &[MulticastGroup] = &[
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
];

/// The daemon's end. Dropping it ends the task; neighbours stay managed, since pinned templates still point to them.
#[derive(Debug)]
pub struct Watcher {
    targets: watch::Sender<(u64, Vec<Target>)>,
    reports: watch::Receiver<Report>,
    tasks: Vec<JoinHandle<()>>,
}

impl Watcher {
    /// Opens the sockets and starts the task. Needs a tokio runtime.
    pub fn start() -> Result<Self> {
        let (asking, handle, _) = new_connection().context("cannot open a netlink socket")?;
        let (listening, _, notifications) =
            new_multicast_connection(GROUPS).context("cannot listen to netlink notifications")?;
        let (targets, wanted) = watch::channel((0, Vec::new()));
        let (publish, reports) = watch::channel(Report::default());
        let task = Task {
            handle,
            targets: wanted,
            publish,
            facts: Facts::default(),
            asked: BTreeMap::new(),
            wanted: BTreeSet::new(),
            due: None,
            not_before: Instant::now(),
        };
        let tasks = vec![tokio::spawn(asking), tokio::spawn(listening), tokio::spawn(task.run(notifications))];
        Ok(Self { targets, reports, tasks })
    }

    /// Watches these hosts from now on. Returns the generation that reports about them carry.
    pub fn watch(&self, targets: Vec<Target>) -> u64 {
        let generation = self.targets.borrow().0 + 1;
        self.targets.send_replace((generation, targets));
        generation
    }

    /// The next report that differs from the last. Cancel-safe. An error means that netlink is gone.
    pub async fn next(&mut self) -> Result<Report> {
        self.reports.changed().await.context("the netlink watcher ended")?;
        Ok(self.reports.borrow_and_update().clone())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

struct Task {
    handle: Handle,
    targets: watch::Receiver<(u64, Vec<Target>)>,
    publish: watch::Sender<Report>,
    facts: Facts,
    /// When each neighbour was last asked for.
    asked: BTreeMap<NeighbourKey, Instant>,
    /// The neighbours that links depend on.
    wanted: BTreeSet<NeighbourKey>,
    /// What is to be looked at, and when.
    due: Option<(Scope, Instant)>,
    not_before: Instant,
}

impl Task {
    async fn run<M>(mut self, mut notifications: M)
    where
        M: futures_util::Stream<Item = Notification> + Unpin,
    {
        let mut recheck = Instant::now() + RECHECK;
        loop {
            let at = self.due.map_or(recheck, |(_, at)| at.min(recheck));
            tokio::select! {
                biased;
                // 1. New targets: somebody waits for them.
                changed = self.targets.changed() => {
                    if changed.is_err() {
                        return; // the daemon dropped its end
                    }
                    self.due = Some((Scope::Everything, Instant::now()));
                }
                // 2. A notification: mark what it touches.
                notification = notifications.next() => match notification {
                    Some((message, _)) => {
                        if let Some(scope) = netlink::scope(&message.payload, &self.wanted) {
                            self.mark(scope, (Instant::now() + DEBOUNCE).max(self.not_before));
                        }
                    }
                    None => return,
                },
                // 3. Time to look.
                () = sleep_until(at) => {
                    let scope = self.due.take().map_or(Scope::Everything, |(scope, _)| scope);
                    let scope = if recheck <= Instant::now() { scope.max(Scope::Everything) } else { scope };
                    if scope >= Scope::Everything {
                        recheck = Instant::now() + RECHECK;
                    }
                    self.look(scope).await;
                }
            }
        }
    }

    /// Something is to be looked at by `at`. The first of a burst sets the time, later ones can only widen the scope.
    fn mark(&mut self, scope: Scope, at: Instant) {
        self.due = Some(self.due.map_or((scope, at), |(marked, earlier)| (marked.max(scope), earlier.min(at))));
    }

    async fn look(&mut self, scope: Scope) {
        let begun = Instant::now();
        if let Err(error) = self.observe(scope).await {
            // The last report stands; the next look is due at the recheck or the next notification.
            tracing::warn!(%error, "netlink lookup failed; links stay as they were");
        }
        self.not_before = Instant::now() + begun.elapsed() * REST;
    }

    async fn observe(&mut self, scope: Scope) -> Result<(), Error> {
        let (generation, targets) = self.targets.borrow_and_update().clone();
        match scope {
            Scope::Everything | Scope::Interfaces => self.facts = netlink::gather(&self.handle, &targets).await?,
            Scope::Neighbours => self.facts.neighbours = netlink::neighbours(&self.handle).await?,
        }
        if scope == Scope::Interfaces {
            self.asked.clear();
        }
        let wanted = self.facts.neighbours_wanted(&targets);
        let released: Vec<NeighbourKey> = self.wanted.difference(&wanted).copied().collect();
        self.wanted = wanted;
        let interfaces = &self.facts.interfaces;
        let report = Report {
            generation,
            links: self.facts.links(&targets),
            interfaces: interfaces.iter().map(|(index, interface)| (interface.name.clone(), *index)).collect(),
        };
        self.publish.send_if_modified(|last| {
            let differs = *last != report;
            *last = report;
            differs
        });
        self.tend(released).await;
        Ok(())
    }

    /// Has the kernel resolve the neighbours that links depend on, and lets go of those that none does any more.
    async fn tend(&mut self, released: Vec<NeighbourKey>) {
        for key in released {
            self.asked.remove(&key);
            let managed = self.facts.neighbours.get(&key).is_some_and(|neighbour| neighbour.managed);
            if managed && let Err(error) = netlink::resolve(&self.handle, key, false).await {
                tracing::debug!(%error, address = %key.1, "neighbour stays managed");
            }
        }
        for key in self.wanted.clone() {
            if !self.facts.needs_asking(&key) {
                continue;
            }
            let pause = if self.facts.neighbours.contains_key(&key) { ASK_AGAIN } else { ASK_VANISHED };
            match self.asked.get(&key).map(|at| *at + pause) {
                Some(later) if later > Instant::now() => self.mark(Scope::Neighbours, later),
                _ => self.ask(key).await,
            }
        }
    }

    async fn ask(&mut self, key: NeighbourKey) {
        self.asked.insert(key, Instant::now());
        if let Err(error) = netlink::resolve(&self.handle, key, true).await {
            tracing::warn!(%error, address = %key.1, ifindex = key.0, "neighbour cannot be asked for");
        }
    }
}

type Notification =
    (rtnetlink::packet_core::NetlinkMessage<rtnetlink::packet_route::RouteNetlinkMessage>, rtnetlink::sys::SocketAddr);
