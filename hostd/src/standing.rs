//! What this host knows of its own services, loads and flows, and what it therefore says. Pure: the loop hands in what the
//! tasks found, and takes out adverts and rows for people.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use slr_model::{Advert, HostState, NodeName, ServiceKey};

use crate::advert::{Parts, Verdicts};
use crate::config::Settings;
use crate::drain::{Cause, Drain, Hearing, Phase};
use crate::health::{Finding, Outcome};
use crate::load::{Board, Reading};
use crate::sockets::Survey;
use crate::status;

/// How long a daemon that starts says nothing until every check has its first verdict: longer than the shipped checks need
/// to find a server frozen. Silence costs nothing, for routers keep the flows of a silent host; to call a service active
/// might be a lie. What a slower check has not found out by then is said to drain.
const FIRST_WORDS_WITHIN: Duration = Duration::from_millis(1_500);

/// The counts that metrics want of a check, and its last duration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tries that succeeded.
    pub successes: u64,
    /// Tries that failed.
    pub failures: u64,
    /// How long the last one took.
    pub took: Option<Duration>,
}

/// A change of a service's state, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which service.
    pub key: ServiceKey,
    /// What it is now.
    pub state: HostState,
    /// Why.
    pub reason: String,
}

/// See the module.
#[derive(Debug)]
pub struct Standing {
    services: Vec<crate::config::Served>,
    verdicts: Verdicts,
    tallies: BTreeMap<ServiceKey, Tally>,
    load_failures: BTreeMap<String, u64>,
    board: Board,
    survey: Survey,
    drain: Drain,
    settle: Duration,
    /// What was said last, and since when.
    said: BTreeMap<ServiceKey, (HostState, Instant)>,
    started_at: Instant,
    has_spoken: bool,
    /// Why connections cannot be counted, if they cannot.
    count_problem: Option<String>,
}

impl Standing {
    /// Nothing is known yet; drained already if the daemon before was.
    pub fn new(settings: &Settings, drained: Option<Cause>, now: Instant) -> Self {
        Self {
            services: settings.services.clone(),
            verdicts: Verdicts::new(),
            tallies: BTreeMap::new(),
            load_failures: BTreeMap::new(),
            board: Board::new(settings.sources.clone(), settings.formulas.clone()),
            survey: Survey::default(),
            drain: Drain::resumed(drained),
            settle: settings.drain.settle,
            said: BTreeMap::new(),
            started_at: now,
            has_spoken: false,
            count_problem: None,
        }
    }

    /// From now on these settings; what is known of services that stay is kept.
    pub fn configure(&mut self, settings: &Settings) {
        self.services.clone_from(&settings.services);
        self.board.set(settings.sources.clone(), settings.formulas.clone());
        self.settle = settings.drain.settle;
        let checked = |key: &ServiceKey| settings.services.iter().any(|s| s.key == *key && s.check.is_some());
        self.verdicts.retain(|key, _| checked(key));
        self.tallies.retain(|key, _| checked(key));
        self.said.retain(|key, _| settings.services.iter().any(|served| served.key == *key));
        let sources = &settings.sources;
        self.load_failures.retain(|name, _| sources.iter().any(|source| source.name.as_str() == name));
    }

    /// Takes what a check found; true if the service's health changed. One of a service that is gone is nothing.
    pub fn found(&mut self, finding: Finding) -> bool {
        let checks = self.services.iter().filter(|served| served.key == finding.key);
        let Some(check) = checks.filter_map(|served| served.check.as_ref()).next() else { return false };
        let tally = self.tallies.entry(finding.key).or_default();
        match &finding.outcome {
            Outcome::Success => tally.successes += 1,
            Outcome::Failure(_) => tally.failures += 1,
        }
        tally.took = Some(finding.took);
        self.verdicts.entry(finding.key).or_default().take(finding.outcome, check.rise, check.fall)
    }

    /// Takes what a load source gave. The first failure after a success is returned, for the log.
    pub fn read(&mut self, reading: Reading, now: Instant) -> Option<String> {
        let mut complaint = None;
        if let Err(why) = &reading.value {
            *self.load_failures.entry(reading.name.to_string()).or_default() += 1;
            let is_new = !self.board.is_failing(&reading.name);
            complaint = is_new.then(|| format!("load value {} cannot be had: {why}", reading.name));
        }
        self.board.take(reading, now);
        complaint
    }

    /// Takes a count of connections, begun at `at`, or why there is none.
    pub fn counted(&mut self, survey: Result<Survey, String>, at: Instant) {
        match survey {
            Ok(survey) => {
                self.drain.count(survey.total(), at);
                self.survey = survey;
                self.count_problem = None;
            }
            Err(why) => self.count_problem = Some(why),
        }
    }

    /// Why connections cannot be counted, if they cannot.
    pub fn count_problem(&self) -> Option<&str> {
        self.count_problem.as_deref()
    }

    /// Begins a drain.
    pub fn drain(&mut self, cause: Cause) {
        self.drain.begin(cause);
    }

    /// Ends it.
    pub fn undrain(&mut self) {
        self.drain.end();
    }

    /// Why this host drains, if it does.
    pub fn draining(&self) -> Option<&Cause> {
        self.drain.cause()
    }

    /// Connections at virtual addresses.
    pub fn flows(&self) -> u64 {
        self.survey.total()
    }

    /// What is to be said now, with what has changed since; `None` until the first word.
    pub fn advert(&mut self, now: Instant) -> Option<(Advert, Vec<Change>)> {
        let is_time = now.saturating_duration_since(self.started_at) >= FIRST_WORDS_WITHIN;
        // Once is enough: a service that a reload adds does not silence the others.
        self.has_spoken = self.has_spoken || is_time || self.parts().are_known();
        if !self.has_spoken {
            return None;
        }
        let advert = self.parts().advert(now);
        let mut changes = Vec::new();
        for service in &advert.services {
            if self.said.get(&service.key).is_none_or(|(state, _)| *state != service.state) {
                self.said.insert(service.key, (service.state, now));
                let reason = service.reason.clone();
                changes.push(Change { key: service.key, state: service.state, reason });
            }
        }
        Some((advert, changes))
    }

    /// How far the drain is, given what each parent knows.
    pub fn phase(&mut self, parents: &[Hearing], now: Instant) -> Phase {
        self.drain.phase(parents, self.settle, now)
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            services: &self.services,
            verdicts: &self.verdicts,
            board: &self.board,
            survey: &self.survey,
            draining: self.drain.cause(),
        }
    }

    /// Each service, for people.
    pub fn service_rows(&self, now: Instant) -> Vec<status::Service> {
        let (parts, flows) = (self.parts(), self.parts().flows());
        let row = |served: &crate::config::Served| {
            let (state, reason) = parts.state(served);
            let age = self.said.get(&served.key).map(|(_, since)| now.saturating_duration_since(*since));
            let flows = flows[&served.key];
            status::Service {
                key: served.key,
                state: state.to_string(),
                state_age_ms: age.map(|age| age.as_millis() as u64),
                reason,
                flows,
                weight: served.weight.get(),
                loads: self.board.service(&served.key, flows, now),
            }
        };
        self.services.iter().map(row).collect()
    }

    /// Each check, for people.
    pub fn health_rows(&self) -> Vec<status::Check> {
        let row = |served: &crate::config::Served| {
            let check = served.check.as_ref()?;
            let tally = self.tallies.get(&served.key).copied().unwrap_or_default();
            let verdict = self.verdicts.get(&served.key).cloned().unwrap_or_default();
            Some(status::Check {
                key: served.key,
                kind: check.kind.name().to_owned(),
                address: check.address,
                health: verdict.health().word().to_owned(),
                reason: verdict.reason(),
                successes: tally.successes,
                failures: tally.failures,
                took_us: tally.took.map(|took| took.as_micros() as u64),
            })
        };
        self.services.iter().filter_map(row).collect()
    }

    /// Each load value, for people.
    pub fn load_rows(&self, now: Instant) -> Vec<status::Load> {
        self.board.rows(self.survey.total(), now).into_iter().map(Into::into).collect()
    }

    /// Load values of the host.
    pub fn loads(&self, now: Instant) -> slr_model::Loads {
        self.board.host(self.survey.total(), now)
    }

    /// How often each source has failed.
    pub fn load_failures(&self) -> &BTreeMap<String, u64> {
        &self.load_failures
    }
}

/// Names of parents with one property, for people.
pub fn names<'a>(parents: &'a [Hearing], which: impl Fn(&Hearing) -> bool + 'a) -> Vec<NodeName> {
    parents.iter().filter(|parent| which(parent)).map(|parent| parent.parent.clone()).collect()
}
