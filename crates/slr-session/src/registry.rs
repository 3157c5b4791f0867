//! Who serves what, and how it is: one registry for each router, over all its children.
//!
//! The state of each (host, service) comes from three things: what the host says (adverts), whether it is heard (they
//! come in time), and whether it is reached (keepalives through its tunnel). Losing one of the last two takes new
//! flows away and leaves the pins; losing both, or the host saying so, un-pins. Because a fault of this router looks
//! like the loss of everybody, a loss counts only after a window, and a loss of most hosts of a service not at all:
//! they are *held* and an alarm is raised. `docs/failure-model.md` has the times.
//!
//! Pure: `now` comes in and never goes back, events and the next deadline come out. The caller handles timers
//! when [`Registry::poll_timeout`] says, before it hands in what arrived later, and drains [`Registry::poll_event`]
//! after each call. Costs: an advert that changes nothing finds its host and compares each service in place; a change
//! of state costs the logarithm of the hosts; a loss looks once at each host of the service.

mod admission;
mod adverts;
mod contact;
mod event;
mod hello;
mod hosts;
mod liveness;
mod removal;
mod settings;
mod snapshot;
mod state;
mod timers;
mod vanish;
mod view;

use std::collections::BTreeMap;
use std::time::Instant;

use slr_model::{HopId, NodeName, ServiceKey};

use self::admission::Gone;
use self::event::Events;
use self::hosts::{Hosts, Index};
use self::timers::{Timer, Timers};
use self::vanish::Members;

pub use self::adverts::NotOwner;
pub use self::event::{Alarm, AlarmKey, Event};
pub use self::hello::{Admitted, ConnectionId, Hello, Refusal, RefusalCode, SessionId};
pub use self::liveness::PathReport;
pub use self::settings::Settings;
pub use self::snapshot::{Adopted, HostSnapshot, ServiceSnapshot, Snapshot};
pub use self::state::{Cause, Reason, ServiceState};
pub use self::view::{ContactView, HostView, PathView, ServiceView};

/// Most hosts: each is a hop of the kernel's table.
pub const HOSTS_MAX: usize = HopId::MAX as usize;

/// Most services of a host: what a whole advert carries.
pub const SERVICES_MAX: usize = 1_024;

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Adverts taken.
    pub adverts: u64,
    /// Adverts on connections that own no name (any more).
    pub adverts_not_owner: u64,
    /// Services in adverts that were older than what was known of them.
    pub services_stale: u64,
    /// Services in adverts that the certificate does not allow, or that were too many.
    pub services_refused: u64,
    /// Connections that replaced an older one of their name.
    pub superseded: u64,
    /// Hellos refused.
    pub hellos_refused: u64,
    /// Deadlines put off by a window because this process had not run for longer than one.
    pub windows_extended: u64,
}

/// All children of a router. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Registry {
    settings: Settings,
    hosts: Hosts,
    /// By service, the hosts that advertise it.
    members: BTreeMap<ServiceKey, Members>,
    /// Sessions of names that were removed lately. At most [`HOSTS_MAX`].
    gone: BTreeMap<NodeName, Gone>,
    /// At most one for a service, a name and a tunnel address that is known.
    alarms: BTreeMap<AlarmKey, Alarm>,
    timers: Timers,
    events: Events,
    generation: u64,
    counters: Counters,
}

impl Registry {
    /// A registry without hosts.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            hosts: Hosts::default(),
            members: BTreeMap::new(),
            gone: BTreeMap::new(),
            alarms: BTreeMap::new(),
            timers: Timers::default(),
            events: Events::default(),
            generation: 0,
            counters: Counters::default(),
        }
    }

    /// Works by these settings from now on. Deadlines that run are counted from when they began.
    pub fn configure(&mut self, settings: Settings, now: Instant) {
        self.settings = settings;
        for index in self.hosts.indices() {
            let host = self.hosts.get(index);
            let (heard_at, is_heard, settled_at) = (host.heard_at, host.is_heard(), host.settled_at);
            if let (Some(heard_at), true) = (heard_at, is_heard) {
                self.hosts.get_mut(index).silent_at = Some(heard_at + self.settings.silent_after);
                self.watch_for_advert(index, heard_at, now);
            }
            if let (Some(settled_at), false) = (settled_at, is_heard) {
                self.timers.set(Timer::Forget(index), settled_at + self.settings.forget_after);
            }
            self.judge_host(index, now);
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// When [`Registry::handle_timeout`] is to be called next; `None`: when something else happened.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The next event, connections to close first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Grows whenever something changed that placement or pins depend on: a state, a tunnel address, a weight that a
    /// host says. Loads and flows change with each advert and are looked at each interval anyway.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Events that were dropped because nobody had read them.
    pub fn events_lost(&self) -> u64 {
        self.events.lost
    }

    /// Alarms that are raised, by what they are about.
    pub fn alarms(&self) -> impl Iterator<Item = &Alarm> {
        self.alarms.values()
    }

    /// Judges every service of the host again.
    fn judge_host(&mut self, index: Index, now: Instant) {
        for at in 0..self.hosts.get(index).services.len() {
            self.judge_service(index, at, now);
        }
    }

    /// Judges one service of the host again, and notes a change of state.
    fn judge_service(&mut self, index: Index, at: usize, now: Instant) {
        let host = self.hosts.get_mut(index);
        // Doubt keeps a host from going down; it does not bring one back that went before.
        let doubted = host.services[at].state != ServiceState::Down
            && self.members.get(&host.services[at].key).is_some_and(|members| members.is_held());
        let evidence = host.evidence(&host.services[at], self.settings.await_path, doubted);
        let (to, cause) = state::judge(evidence);
        if host.services[at].state == to && host.services[at].reason.cause == cause {
            return;
        }
        let detail: Box<str> = match (cause, &host.contact) {
            (Cause::Said, _) => host.services[at].said_reason.clone(),
            (Cause::Unheard | Cause::Unreached | Cause::Doubted, hosts::Contact::Lost { why, .. }) => why.clone(),
            _ => "".into(),
        };
        let reason = Reason::new(cause, detail);
        let service = &mut host.services[at];
        service.reason = reason.clone();
        let from = service.state;
        if from == to {
            return;
        }
        service.state = to;
        service.since = now;
        if to == ServiceState::Active && from != ServiceState::Draining {
            service.returned_at = Some(now);
        }
        let (name, key) = (host.name.clone(), service.key);
        self.note_change(name, key, from, to, reason);
        self.count_active(&key, from, to);
        self.review_hold(&key, now);
    }

    fn note_change(&mut self, name: NodeName, key: ServiceKey, from: ServiceState, to: ServiceState, reason: Reason) {
        self.generation += 1;
        self.events.push(Event::State { name, key, from, to, reason });
    }

    fn raise(&mut self, key: AlarmKey, names: Vec<NodeName>, text: String, now: Instant) {
        if let Some(alarm) = self.alarms.get_mut(&key) {
            // No news, but more may be known.
            (alarm.names, alarm.text) = (names, text);
            return;
        }
        let alarm = Alarm { key: key.clone(), since: now, names, text };
        self.events.push(Event::AlarmRaised(alarm.clone()));
        self.alarms.insert(key, alarm);
    }

    fn clear(&mut self, key: &AlarmKey) {
        self.timers.cancel(&Timer::Alarm(key.clone()));
        if let Some(alarm) = self.alarms.remove(key) {
            self.events.push(Event::AlarmCleared(alarm));
        }
    }
}
