//! A registry under observation: every call goes through here, is noted as plain facts, and what the registry then says is
//! compared with what the facts allow.
//!
//! The facts are a model that is simpler than the registry: it knows when each host was last heard and reached and what
//! it said, not when anything is due. Where times leave a choice, it allows both answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use slr_model::{Advert, HostState, Identity, NodeName, ServiceKey};
use slr_session::registry::{
    AlarmKey, Cause, ConnectionId, Event, Hello, PathReport, PathView, Registry, ServiceState, SessionId, Settings,
};

/// Asks of a host that is not heard: ten a second, for as long as it may take until it is settled that it is lost.
const ASKS_MAX: u32 = 60;

/// What a host said of a service.
#[derive(Clone, Copy, Debug)]
struct Said {
    state: HostState,
    /// On the connection that there is; `None`: on an earlier one.
    sequence: Option<u64>,
}

/// What is known of a host.
#[derive(Clone, Debug, Default)]
struct Facts {
    owner: Option<ConnectionId>,
    session: SessionId,
    heard_at: Option<Instant>,
    hello_at: Option<Instant>,
    /// When its connection was lost, if no hello or advert came since.
    cut_at: Option<Instant>,
    path_lost_at: Option<Instant>,
    is_path_doubted: bool,
    /// Asks since it was heard.
    asks: u32,
    /// Whether enough of them have no answer while its path has none either: it need not count as heard.
    may_be_given_up: bool,
    /// Whether its tunnel has ever answered.
    was_reached: bool,
    adopted_at: Option<Instant>,
    /// When it came back after that: what is lost has its window from then.
    back_at: Option<Instant>,
    full_sequence: u64,
    services: BTreeMap<ServiceKey, Said>,
}

/// The states as they are, by host and service.
pub type States = BTreeMap<(NodeName, ServiceKey), ServiceState>;

/// What kind of call changed something: only some may take the last host of a service away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    /// A host or an operator said so.
    Said,
    /// It was found here.
    Found,
}

/// A registry and the facts.
pub struct Observer {
    pub registry: Registry,
    facts: BTreeMap<NodeName, Facts>,
    states: States,
    generation: u64,
    closed: BTreeSet<ConnectionId>,
    /// Connections that the registry wants closed, for whoever plays the edge.
    pub to_close: Vec<ConnectionId>,
    /// Connections that the registry wants asked.
    pub to_ask: Vec<ConnectionId>,
    /// Changes of state that were told.
    pub changes: u64,
    /// When this process ran again after it had not for longer than a window.
    resumed_at: Option<Instant>,
    /// Calls so far.
    pub steps: u64,
}

impl Observer {
    pub fn new(settings: Settings) -> Self {
        Self {
            registry: Registry::new(settings),
            facts: BTreeMap::new(),
            states: States::new(),
            generation: 0,
            closed: BTreeSet::new(),
            to_close: Vec::new(),
            to_ask: Vec::new(),
            changes: 0,
            resumed_at: None,
            steps: 0,
        }
    }

    pub fn welcome(&mut self, identity: Identity, hello: Hello, connection: ConnectionId, now: Instant) -> bool {
        let (name, session, allowed) = (identity.name.clone(), hello.session, identity.subnets.clone());
        let before = self.facts.get(&name).map(|facts| (facts.owner, facts.session));
        let outcome = self.registry.welcome(identity, hello, connection, now);
        if let Ok(admitted) = &outcome {
            assert_eq!(admitted.known, before.is_some(), "{name}");
            assert_eq!(admitted.superseded, before.and_then(|(owner, _)| owner), "{name}");
            if let Some((Some(_), old)) = before {
                assert!(session > old, "{name}: session {session} took over from {old}, which was connected");
            }
            let facts = self.facts.entry(name).or_default();
            facts.owner = Some(connection);
            (facts.session, facts.hello_at, facts.full_sequence) = (session, Some(now), 0);
            facts.asks = 0;
            facts.services.retain(|key, _| allowed.iter().any(|subnet| subnet.net().contains(&key.subnet.net())));
            facts.services.values_mut().for_each(|said| said.sequence = None);
        }
        self.check(Call::Said, now);
        outcome.is_ok()
    }

    pub fn advert(
        &mut self,
        connection: ConnectionId,
        sequence: u64,
        full: bool,
        advert: Advert,
        now: Instant,
    ) -> bool {
        let owner = self.facts.values_mut().find(|facts| facts.owner == Some(connection));
        let is_owner = owner.is_some();
        if let Some(facts) = owner {
            (facts.heard_at, facts.cut_at) = (Some(now), None);
            (facts.asks, facts.may_be_given_up) = (0, false);
            facts.back_at = facts.adopted_at.take().map(|_| now).or(facts.back_at);
            if sequence >= facts.full_sequence {
                for service in &advert.services {
                    let said = Said { state: service.state, sequence: Some(sequence) };
                    let known = facts.services.entry(service.key).or_insert(said);
                    if known.sequence.is_none_or(|known| known <= sequence) {
                        *known = said;
                    }
                }
                if full {
                    facts.full_sequence = sequence;
                    facts.services.retain(|_, said| said.sequence.is_some_and(|known| known >= sequence));
                }
            }
        }
        let taken = self.registry.advert(connection, sequence, full, advert, now);
        assert_eq!(taken.is_ok(), is_owner, "{connection} spoke for a name");
        self.check(Call::Said, now);
        is_owner
    }

    pub fn withdraw(&mut self, connection: ConnectionId, now: Instant) {
        self.facts.retain(|_, facts| facts.owner != Some(connection));
        self.registry.withdraw(connection, "going away", now);
        self.check(Call::Said, now);
    }

    pub fn remove(&mut self, name: &NodeName, cause: Cause, now: Instant) {
        let is_known = self.facts.remove(name).is_some();
        assert_eq!(self.registry.remove(name, cause, "", now), is_known);
        self.check(Call::Said, now);
    }

    pub fn release_hold(&mut self, key: &ServiceKey, now: Instant) {
        self.registry.release_hold(key, now);
        self.check(Call::Said, now);
    }

    pub fn connection_lost(&mut self, connection: ConnectionId, now: Instant) {
        if let Some(facts) = self.facts.values_mut().find(|facts| facts.owner == Some(connection)) {
            facts.owner = None;
            facts.cut_at = Some(facts.cut_at.unwrap_or(now));
        }
        self.registry.connection_lost(connection, "timed out", now);
        self.check(Call::Found, now);
    }

    pub fn path(&mut self, name: &NodeName, report: PathReport, now: Instant) {
        if let Some(facts) = self.facts.get_mut(name) {
            match report {
                PathReport::Lost => facts.path_lost_at = Some(facts.path_lost_at.unwrap_or(now)),
                PathReport::Alive { .. } => {
                    // Asks for a late advert go on, whatever is reported of a path that was well.
                    if facts.path_lost_at.is_some() || facts.is_path_doubted {
                        facts.asks = 0;
                    }
                    (facts.path_lost_at, facts.was_reached) = (None, true);
                }
                PathReport::Doubted => {}
            }
            facts.is_path_doubted = report == PathReport::Doubted;
            facts.judge_asks(self.registry.settings());
        }
        self.registry.path(name, report, now);
        self.check(Call::Found, now);
    }

    /// Does everything that is due until `end`, each at its time.
    pub fn run_until(&mut self, end: Instant) {
        while let Some(at) = self.registry.poll_timeout().filter(|&at| at <= end) {
            self.handle_timeout(at);
            assert!(self.registry.poll_timeout().is_none_or(|next| next > at), "a timer fires again at once");
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let window = self.registry.settings().vanish_window;
        if self.registry.poll_timeout().is_some_and(|at| now > at + window) {
            self.resumed_at = Some(now);
        }
        self.registry.handle_timeout(now);
        self.check(Call::Found, now);
    }

    /// The next process, from what this one wrote down.
    pub fn restart(&mut self, now: Instant) {
        let snapshot = self.registry.snapshot(now);
        let text = serde_json::to_string(&snapshot).expect("a snapshot is plain data");
        let mut next = Registry::new(self.registry.settings().clone());
        let adopted = next.adopt(serde_json::from_str(&text).expect("what was written can be read"), now);
        assert_eq!(adopted.skipped, Vec::<String>::new());
        assert_eq!(next.snapshot(now), snapshot, "a round trip changes nothing");
        self.registry = next;
        while self.registry.poll_event().is_some() {}
        self.generation = self.registry.generation();
        self.to_close.clear();
        self.to_ask.clear();
        for (name, facts) in &mut self.facts {
            let view = self.registry.host(name).expect("every host is in the snapshot");
            facts.owner = None;
            facts.adopted_at = Some(now);
            facts.services.values_mut().for_each(|said| said.sequence = None);
            facts.path_lost_at = matches!(view.path(), PathView::Lost { .. }).then_some(now);
            (facts.is_path_doubted, facts.asks) = (false, 0);
        }
        assert!(self.views().eq(self.told()), "a restart changes no state");
    }

    /// The states as the views have them, in order.
    fn views(&self) -> impl Iterator<Item = (&NodeName, ServiceKey, ServiceState)> {
        let hosts = self.registry.hosts();
        hosts.flat_map(|host| host.services().map(move |service| (host.name(), *service.key(), service.state())))
    }

    /// The states as the events told them, in order.
    fn told(&self) -> impl Iterator<Item = (&NodeName, ServiceKey, ServiceState)> {
        self.states.iter().map(|((name, key), state)| (name, *key, *state))
    }

    /// Compares everything with the facts.
    fn check(&mut self, call: Call, now: Instant) {
        self.steps += 1;
        let events: Vec<Event> = std::iter::from_fn(|| self.registry.poll_event()).collect();
        if !events.is_empty() {
            let before = self.states.clone();
            let is_cleared = events.iter().any(|event| matches!(event, Event::AlarmCleared(_)));
            events.into_iter().for_each(|event| self.take_event(event));
            let is_changed = before != self.states;
            assert!(!is_changed || self.registry.generation() > self.generation, "a state changed, the generation not");
            if call == Call::Found {
                check_rings(&before, &self.states, is_cleared);
            }
        }
        assert!(self.views().eq(self.told()), "the events tell another story than the views");
        self.generation = self.registry.generation();
        self.check_owners();
        self.check_holds();
        for host in self.registry.hosts() {
            let facts = &self.facts[host.name()];
            assert_eq!(host.services().count(), facts.services.len(), "{}", host.name());
            for service in host.services() {
                let (key, state) = (*service.key(), service.state());
                let said = facts.services.get(&key).unwrap_or_else(|| panic!("{key} of {} is removed", host.name()));
                assert_eq!(service.said(), said.state);
                let is_alarm = self.registry.alarms().any(|alarm| alarm.key == AlarmKey::Vanish(key));
                let settings = self.registry.settings();
                let certain = facts.certain(settings, self.resumed_at, now);
                if let Err(rule) = allow(facts, said, certain, state, (service.is_held(), is_alarm)) {
                    panic!("{} {key} is {state} ({}): {rule}; {facts:?} at {now:?}", host.name(), service.reason());
                }
            }
        }
    }

    fn take_event(&mut self, event: Event) {
        match event {
            Event::State { name, key, from, to, .. } => {
                self.changes += 1;
                let known = match to {
                    ServiceState::Removed => self.states.remove(&(name, key)),
                    _ => self.states.insert((name, key), to),
                };
                assert_eq!(known.unwrap_or(ServiceState::Removed), from, "{key} went from another state");
            }
            Event::Close { connection, .. } => {
                assert!(self.closed.insert(connection), "{connection} is closed twice");
                self.to_close.push(connection);
            }
            Event::Ask { connection } => {
                let owner = self.facts.values_mut().find(|facts| facts.owner == Some(connection));
                let facts = owner.unwrap_or_else(|| panic!("{connection} is asked and owns no name"));
                facts.asks += 1;
                assert!(facts.asks <= ASKS_MAX, "{connection} is asked without end");
                facts.judge_asks(self.registry.settings());
                self.to_ask.push(connection);
            }
            Event::HostRemoved { name, .. } => {
                self.facts.remove(&name);
            }
            _ => {}
        }
    }

    /// One connection for a name, one name for a connection, and none that is closed.
    fn check_owners(&self) {
        let mut seen = BTreeSet::new();
        assert_eq!(self.registry.hosts_len(), self.facts.len());
        for host in self.registry.hosts() {
            let owner = host.connection().map(|(connection, ..)| connection);
            let facts = self.facts.get(host.name()).unwrap_or_else(|| panic!("{} is removed", host.name()));
            assert_eq!(owner, facts.owner, "{} has another owner", host.name());
            if let Some(connection) = owner {
                assert!(seen.insert(connection), "{connection} owns two names");
                assert!(!self.closed.contains(&connection), "{connection} is closed and owns {}", host.name());
                let owned = self.registry.owner(connection).map(|owned| owned.name().clone());
                assert_eq!(owned.as_ref(), Some(host.name()));
            }
        }
    }

    /// An alarm for each service with held hosts, and for no other.
    fn check_holds(&self) {
        let held: BTreeSet<AlarmKey> = self
            .registry
            .services()
            .filter(|key| !self.registry.held_names(key).is_empty())
            .map(AlarmKey::Vanish)
            .collect();
        let alarms = self.registry.alarms().map(|alarm| alarm.key.clone());
        let vanish: BTreeSet<AlarmKey> = alarms.filter(|key| matches!(key, AlarmKey::Vanish(_))).collect();
        assert_eq!(held, vanish);
    }
}

/// What is found here never empties a ring, and takes at most half of it at a time.
fn check_rings(before: &States, after: &States, is_cleared: bool) {
    let active = |states: &States| {
        let mut counts = BTreeMap::<ServiceKey, usize>::new();
        states.iter().filter(|(_, state)| state.takes_new_flows()).for_each(|((_, key), _)| {
            *counts.entry(*key).or_default() += 1;
        });
        counts
    };
    let now = active(after);
    for (key, was) in active(before) {
        let is = now.get(&key).copied().unwrap_or(0);
        assert!(is > 0, "the ring of {key} is empty, it had {was} hosts");
        assert!(is_cleared || 2 * is >= was, "{key} lost most of its hosts at once: {was}, then {is}");
    }
}

/// What is certain of a host at a moment.
#[derive(Clone, Copy, Debug)]
struct Certain {
    is_heard: bool,
    is_unheard: bool,
    is_unreached: bool,
}

impl Facts {
    fn judge_asks(&mut self, settings: &Settings) {
        let is_path_well = !self.is_path_doubted && self.path_lost_at.is_none();
        self.may_be_given_up |= self.asks >= settings.asks_lost && !is_path_well;
    }

    fn certain(&self, settings: &Settings, resumed_at: Option<Instant>, now: Instant) -> Certain {
        // A window, and a longer one if others are late.
        let slack = settings.vanish_window + settings.advert_interval;
        // An adopted host is given its time, whatever its path does; a stopped process gives a window again.
        let adopted_until = self.adopted_at.map(|at| at + settings.adopt_hold);
        let later = [adopted_until, self.back_at, resumed_at];
        let is_long_past = |at: Instant| now >= later.into_iter().flatten().fold(at, Instant::max) + slack;
        Certain {
            is_heard: self.cut_at.is_none()
                && self.adopted_at.is_none()
                && !self.may_be_given_up
                && self.heard_at.is_some_and(|at| now < at + settings.silent_after),
            is_unheard: self.lost_by(settings).is_some_and(is_long_past),
            is_unreached: self.path_lost_at.is_some_and(is_long_past),
        }
    }

    /// When it was unheard, at the latest: a hello gives it time once more.
    fn lost_by(&self, settings: &Settings) -> Option<Instant> {
        let heard = self.heard_at.or(self.hello_at).map(|at| at + settings.silent_after * 2);
        self.adopted_at.or(heard.map(|at| self.cut_at.map_or(at, |cut_at| at.max(cut_at))))
    }
}

/// Whether the state may be so; if not, the rule it breaks.
fn allow(
    facts: &Facts,
    said: &Said,
    certain: Certain,
    state: ServiceState,
    (is_held, is_alarm): (bool, bool),
) -> Result<(), &'static str> {
    use ServiceState::{Active, Down, Silent};
    let rule = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
    let Certain { is_heard, is_unheard, is_unreached } = certain;
    let word = ServiceState::from(said.state);
    rule(state == word || matches!(state, Silent | Down), "it is what the host says, or silent, or down")?;
    if word == Down {
        return rule(state == Down, "down was said");
    }
    rule(!is_held || state == Active && is_alarm, "a held host is active, and there is an alarm")?;
    // After a new connection, each service waits for its own word.
    let is_word_heard = is_heard && said.sequence.is_some();
    rule(!is_held || !is_word_heard || facts.path_lost_at.is_some(), "a host that is back is not held")?;
    rule(state != Down || !is_word_heard && facts.path_lost_at.is_some(), "down is said, or unheard and unreached")?;
    if is_heard && facts.path_lost_at.is_none() {
        if !facts.was_reached {
            return rule(state != Active, "a host that was never reached takes no flows");
        }
        let may_wait = said.sequence.is_none() && state == Silent;
        return rule(state == word || may_wait, "a host that is heard and reached is what it says");
    }
    rule(is_held || state != Active || !is_unheard && !is_unreached, "a host that is lost takes no flows")?;
    rule(is_held || is_alarm || state == Down || !is_unheard || !is_unreached, "a host that is lost twice is down")
}
