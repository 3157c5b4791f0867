//! The daemon's decisions: which configuration is in force, with which links, on which interfaces. No clock and no socket:
//! events and `now` come in, [`Output`]s and the next deadline come out; effects go through [`Plane`].
//!
//! A configuration is first *proposed*: it waits until its hosts are resolved, a second at most, so that a new subnet
//! does not begin with drops. Then it is put in force whole, or refused whole and the old one stays.
//!
//! ```text
//!  propose ──► proposed ── all hosts resolved, or Timer::Proposal ──► in force ◄── links or interfaces changed: applied again
//!                  └────── an interface or the tables refuse ──► refused; what was in force stays
//! ```

mod cluster;
mod control;
mod effect;
mod neighbours;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail};
use ipnet::IpNet;
use slr_dataplane::router::Link;
use slr_model::{NodeName, ServiceKey};
use slr_session::cluster::Cluster;

use super::changes::Changes;
use super::plane::Plane;
use super::timers::{Timer, Timers};
use crate::config::Settings;
use crate::desired::desired;
use crate::fleet::{Fleet, Hop};
use crate::hosts::Host;
use crate::links::{Report, Target};
use crate::overview::happenings::Happenings;

pub use self::control::Hours;
pub use self::effect::Effect;
use self::neighbours::Others;
pub use self::neighbours::{Ends, Neighbour};

/// How long a proposal waits for hosts to be resolved: an ARP exchange takes milliseconds, a dead host never answers.
const RESOLVE_WAIT: Duration = Duration::from_secs(1);
/// The same where nothing is forwarded yet, at boot perhaps: a fresh IPv6 address may not be used for one to two seconds (RFC 4862 5.4).
const FIRST_RESOLVE_WAIT: Duration = Duration::from_secs(3);
/// How long templates of the daemon before us serve hosts that we have not resolved yet.
pub const HOLD: Duration = Duration::from_secs(5);
/// How soon tables that refused templates are tried again.
const APPLY_AGAIN: Duration = Duration::from_secs(1);
/// How often an interface that is missing or refused the program is tried again.
const ATTACH_AGAIN: Duration = Duration::from_secs(5);
/// How often flows are aged. A flow lives this much longer than its time-out.
pub const SWEEP_EVERY: Duration = Duration::from_secs(SWEEP_S as u64);
const SWEEP_S: u32 = 5;
/// How often the walk that forgets silent flows goes on: between two of its parts everything else has its turn.
const SWEEP_ON_EVERY: Duration = Duration::from_millis(10);

/// A configuration with the hosts of its hosts file.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub settings: Settings,
    pub hosts: Vec<Host>,
}

/// What became of a proposal.
#[derive(Debug)]
pub enum Output {
    /// It is in force.
    InForce(Box<Changes>),
    /// It is not, and what was in force before still is.
    Refused(Error),
}

/// A configuration that waits for its hosts.
#[derive(Debug)]
struct Proposal {
    loaded: Loaded,
    /// The watcher's reports with this number are about its hosts.
    generation: u64,
}

/// The daemon's state.
#[derive(Debug)]
pub struct Core<P> {
    plane: P,
    in_force: Option<Loaded>,
    proposal: Option<Proposal>,
    fleet: Fleet,
    /// Next hops as the fleet last had them.
    hops: Vec<Hop>,
    /// The registry's generation that the rings were last made from.
    placed: u64,
    /// When that was, for a reason of the registry's or by the timer.
    placed_at: Option<Instant>,
    /// Services that went down, and have flows until the rings have followed. Bounded by the registry's.
    unpin: Vec<(NodeName, ServiceKey)>,
    /// Hosts may get flows that are not written down for a restart.
    has_joined: bool,
    effects: VecDeque<Effect>,
    happenings: Happenings,
    cluster: Option<Cluster>,
    /// Prefixes that parents send tunnels from, as they said when they were last connected.
    parents: BTreeMap<NodeName, Vec<IpNet>>,
    others: Others,
    /// An operator at a parent drains this router.
    is_draining: bool,
    hours: Hours,
    /// Templates of the daemon before us, by tunnel address; empty once [`HOLD`] is over.
    held: BTreeMap<IpAddr, Link>,
    report: Report,
    timers: Timers,
}

impl<P: Plane> Core<P> {
    /// A core that holds `held` templates of the daemon before us for a while. `hours` tells the time of day.
    pub fn new(plane: P, held: BTreeMap<IpAddr, Link>, hours: Hours, now: Instant) -> Self {
        let mut timers = Timers::default();
        timers.set(Timer::Sweep, now + SWEEP_EVERY);
        if !held.is_empty() {
            timers.set(Timer::Hold, now + HOLD);
        }
        Self {
            plane,
            in_force: None,
            proposal: None,
            fleet: Fleet::default(),
            hops: Vec::new(),
            placed: 0,
            placed_at: None,
            unpin: Vec::new(),
            has_joined: false,
            effects: VecDeque::new(),
            happenings: Happenings::default(),
            cluster: None,
            parents: BTreeMap::new(),
            others: Others::default(),
            is_draining: false,
            hours,
            held,
            report: Report::default(),
            timers,
        }
    }

    /// The data plane, for showing.
    pub fn plane(&self) -> &P {
        &self.plane
    }

    /// The data plane.
    pub fn plane_mut(&mut self) -> &mut P {
        &mut self.plane
    }

    /// The configuration in force.
    pub fn in_force(&self) -> Option<&Loaded> {
        self.in_force.as_ref()
    }

    /// The same; and before there is one, the first that is proposed.
    pub fn configured(&self) -> Option<&Loaded> {
        self.in_force().or(self.proposal.as_ref().map(|proposal| &proposal.loaded))
    }

    /// What the watcher said last.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Next hops.
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// Whether a configuration waits for its hosts.
    pub fn is_deciding(&self) -> bool {
        self.proposal.is_some()
    }

    /// When [`Core::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let cluster = self.cluster.as_ref().map(Cluster::poll_timeout);
        [self.timers.next(), self.fleet.registry().poll_timeout(), cluster].into_iter().flatten().min()
    }

    /// The hosts to watch under a configuration.
    pub fn targets(&self, loaded: &Loaded) -> Vec<Target> {
        self.hops_of(&self.fleet, loaded).iter().map(Target::from).collect()
    }

    /// Proposes a configuration whose hosts the watcher reports on under `generation`.
    pub fn propose(&mut self, loaded: Loaded, generation: u64, now: Instant) {
        let is_fresh = self.in_force.is_none() && self.held.is_empty();
        let wait = if is_fresh { FIRST_RESOLVE_WAIT } else { RESOLVE_WAIT };
        self.proposal = Some(Proposal { loaded, generation });
        self.timers.set(Timer::Proposal, now + wait);
    }

    /// Takes what the watcher found.
    pub fn handle_report(&mut self, report: Report, now: Instant) -> Option<Output> {
        let links_changed = self.report.links != report.links;
        self.report = report;
        let output = match &self.proposal {
            Some(proposal) if self.is_resolved(proposal) => Some(self.decide(now)),
            Some(_) => None,
            None => {
                if links_changed {
                    self.follow_links(now);
                }
                self.follow_interfaces();
                None
            }
        };
        self.mind_interfaces(now);
        output
    }

    /// Does one thing that is due.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Output> {
        self.mind_registry(now);
        self.mind_cluster(now);
        let mut output = None;
        match self.timers.expire(now)? {
            Timer::Proposal => output = Some(self.decide(now)),
            Timer::Policy => self.place(now),
            Timer::Save => self.effects.push_back(Effect::Save),
            Timer::Hold => {
                self.held.clear();
                self.follow_links(now);
            }
            Timer::Links => self.follow_links(now),
            Timer::Attach => self.follow_interfaces(),
            Timer::Sweep => {
                self.timers.set(Timer::Sweep, now + SWEEP_EVERY);
                self.age(now);
            }
            Timer::SweepOn => self.sweep(now),
        }
        self.mind_interfaces(now);
        output
    }

    /// An interface without the program is tried again in a while; a notification may come sooner.
    fn mind_interfaces(&mut self, now: Instant) {
        match (self.is_interface_missing(), self.timers.is_set(Timer::Attach)) {
            (true, false) => self.timers.set(Timer::Attach, now + ATTACH_AGAIN),
            (false, true) => self.timers.clear(Timer::Attach),
            _ => {}
        }
    }

    /// Whether the links of all hosts that may get packets are known, or held.
    fn is_resolved(&self, proposal: &Proposal) -> bool {
        let hops = self.hops_of(&self.fleet, &proposal.loaded);
        let mut needed = hops.iter().filter(|hop| hop.state.keeps_flows());
        self.report.generation >= proposal.generation && needed.all(|hop| self.link(hop).is_some())
    }

    fn decide(&mut self, now: Instant) -> Output {
        self.timers.clear(Timer::Proposal);
        let Some(Proposal { loaded, .. }) = self.proposal.take() else {
            return Output::Refused(Error::msg("nothing was proposed"));
        };
        let result = match self.in_force.take() {
            None => self.begin(&loaded, now),
            Some(old) => {
                let result = self.change(&old, &loaded, now);
                if result.is_err() {
                    self.in_force = Some(old);
                }
                result
            }
        };
        match result {
            Ok(changes) => {
                self.fleet.configure(&loaded.settings, now);
                self.plan_placing(&loaded, now);
                self.in_force = Some(loaded);
                // Whoever came while this was decided is not among those that are watched for it.
                self.effects.push_back(Effect::Watch);
                Output::InForce(Box::new(changes))
            }
            Err(error) => Output::Refused(error),
        }
    }

    /// The first configuration: tables first, so that no packet meets empty ones. An interface that is missing is tried
    /// again later, as long as there is one at all: a router with a dead card should serve on the other.
    fn begin(&mut self, loaded: &Loaded, now: Instant) -> Result<Changes> {
        let mut changes = self.apply(loaded, now)?;
        let mut refused = None;
        for interface in &loaded.settings.dataplane.interfaces {
            match self.plane.attach(interface, loaded.settings.dataplane.xdp.into()) {
                Ok(mode) => {
                    tracing::info!(interface, mode = mode.as_str(), "attached");
                    changes.interfaces_attached.push(interface.clone());
                }
                Err(error) => {
                    tracing::warn!("{error:#}");
                    refused = Some(error);
                }
            }
        }
        match refused {
            Some(error) if changes.interfaces_attached.is_empty() => {
                Err(error.context("no interface takes the program"))
            }
            _ => Ok(changes),
        }
    }

    /// Another configuration: new interfaces first, as only they can refuse; then the tables; then the interfaces that
    /// are no longer named.
    fn change(&mut self, old: &Loaded, new: &Loaded, now: Instant) -> Result<Changes> {
        let attached = self.attach_new(old, new)?;
        let mut changes = match self.apply(new, now) {
            Ok(changes) => changes,
            Err(error) => {
                self.detach_all(&attached);
                return Err(error);
            }
        };
        let interfaces = &new.settings.dataplane.interfaces;
        let gone: Vec<String> =
            old.settings.dataplane.interfaces.iter().filter(|i| !interfaces.contains(i)).cloned().collect();
        self.detach_all(&gone);
        changes.interfaces_attached = attached;
        changes.interfaces_detached = gone;
        Ok(changes)
    }

    fn attach_new(&mut self, old: &Loaded, new: &Loaded) -> Result<Vec<String>> {
        let mut attached = Vec::new();
        for interface in &new.settings.dataplane.interfaces {
            if old.settings.dataplane.interfaces.contains(interface) {
                continue;
            }
            if let Err(error) = self.plane.attach(interface, new.settings.dataplane.xdp.into()) {
                self.detach_all(&attached);
                bail!(error.context(format!("interface {interface} does not take the program")));
            }
            attached.push(interface.clone());
        }
        Ok(attached)
    }

    fn detach_all(&mut self, interfaces: &[String]) {
        for interface in interfaces {
            if let Err(error) = self.plane.detach(interface) {
                tracing::warn!(interface, "the program stays there: {error:#}");
            }
        }
    }

    /// Makes the tables say what `loaded` wants, with the hosts and links as they are known.
    fn apply(&mut self, loaded: &Loaded, now: Instant) -> Result<Changes> {
        self.weigh(loaded, now);
        self.write(loaded)
    }

    /// Makes the tables say what was weighed.
    fn write(&mut self, loaded: &Loaded) -> Result<Changes> {
        let mut wanted = desired(&loaded.settings, &self.hops, self.fleet.routes(), |hop| self.link(hop));
        let told = self.parents.values().flatten().filter(|prefix| !wanted.upstreams.contains(prefix));
        let told: Vec<IpNet> = told.copied().collect();
        wanted.upstreams.extend(told);
        self.others.write(&loaded.settings, &mut wanted);
        let unresolved = wanted.hosts.iter().filter(|host| host.state.keeps_flows() && host.link.is_none());
        let unresolved = unresolved.map(|host| host.name.to_string()).collect();
        let applied = self.plane.apply(&wanted).context("the data plane does not take the configuration")?;
        Ok(Changes::new(applied, unresolved))
    }

    /// How a host is reached: as resolved now, or as the daemon before us had it, while that is held.
    fn link(&self, hop: &Hop) -> Option<Link> {
        match self.report.links.get(&hop.name) {
            Some(Ok(link)) => Some(*link),
            _ => self.held.get(&hop.address).copied(),
        }
    }

    /// Whether packets can be sent to it.
    pub fn is_linked(&self, hop: &Hop) -> bool {
        self.link(hop).is_some()
    }

    /// Brings the templates up to date, now or in a while.
    fn follow_links(&mut self, now: Instant) {
        let Some(loaded) = self.in_force.take() else { return };
        match self.apply(&loaded, now) {
            Ok(changes) => {
                self.timers.clear(Timer::Links);
                changes.tell_followed();
            }
            Err(error) => {
                tracing::warn!("templates do not follow the network, which is tried again: {error:#}");
                self.timers.set(Timer::Links, now + APPLY_AGAIN);
            }
        }
        self.in_force = Some(loaded);
    }

    /// Puts the program on interfaces that came back, which have a new index then.
    fn follow_interfaces(&mut self) {
        let Some(loaded) = &self.in_force else { return };
        let attached = self.plane.attached();
        for interface in &loaded.settings.dataplane.interfaces {
            let index = self.report.interfaces.get(interface);
            if index.is_none() || attached.get(interface) == index {
                continue;
            }
            match self.plane.attach(interface, loaded.settings.dataplane.xdp.into()) {
                Ok(mode) => tracing::info!(interface, mode = mode.as_str(), "attached again"),
                Err(error) => tracing::warn!("{error:#}"),
            }
        }
    }

    fn is_interface_missing(&self) -> bool {
        let attached = self.plane.attached();
        let missing = |interface: &String| match self.report.interfaces.get(interface) {
            Some(index) => attached.get(interface) != Some(index),
            None => true,
        };
        self.in_force.as_ref().is_some_and(|loaded| loaded.settings.dataplane.interfaces.iter().any(missing))
    }

    fn age(&mut self, now: Instant) {
        if self.in_force.is_none() {
            return;
        }
        match self.plane.age(SWEEP_S) {
            Ok(()) => self.timers.set_earlier(Timer::SweepOn, now),
            Err(error) => tracing::warn!("flows are not aged: {error:#}"),
        }
    }

    fn sweep(&mut self, now: Instant) {
        let Some(loaded) = &self.in_force else { return };
        match self.plane.sweep(&loaded.settings.dataplane.sweep) {
            Ok(Some(report)) => tracing::debug!(?report, "flows aged"),
            Ok(None) => self.timers.set(Timer::SweepOn, now + SWEEP_ON_EVERY),
            Err(error) => tracing::warn!("silent flows are not forgotten: {error:#}"),
        }
    }
}
