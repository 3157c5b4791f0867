//! What Prometheus gets: a snapshot each second, of what the daemon has at hand.

use std::time::{Duration, Instant, SystemTime};

use super::Daemon;
use crate::drain::Phase;
use crate::echo::Report;
use crate::metrics::{
    Check, Config, Control, Reason, Recovery, SERVICE_STATES, SESSION_STATES, Service, Snapshot, Subnet,
};
use crate::status::Drained;

/// Scrapers come every few seconds at most.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// The same complaint is logged again after this long.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// What is counted for the figures alone, and what was said last.
pub(super) struct Figures {
    config: Config,
    control: Control,
    published_at: Option<Instant>,
    phase: Phase,
    complained: Option<(String, Instant)>,
}

impl Figures {
    /// Of a daemon whose first configuration is in force.
    pub fn started() -> Self {
        let config = Config { is_last_good: true, in_force_since_s: unix_s(), ..Config::default() };
        Self { config, control: Control::default(), published_at: None, phase: Phase::Serving, complained: None }
    }

    /// The loop has turned.
    pub fn turned(&mut self, took: Duration) {
        self.control.turns += 1;
        self.control.busy += took;
        self.control.longest = self.control.longest.max(took);
    }

    /// A configuration was given.
    pub fn reloaded(&mut self, is_good: bool) {
        self.config.is_last_good = is_good;
        if is_good {
            self.config.reloads_applied += 1;
            self.config.in_force_since_s = unix_s();
        } else {
            self.config.reloads_refused += 1;
        }
    }

    /// Whether a drain has come to another phase.
    pub fn has_changed_phase(&mut self, phase: Phase) -> bool {
        std::mem::replace(&mut self.phase, phase) != phase
    }

    /// Logs what is wrong, but not the same again and again.
    pub fn complain(&mut self, what: &str, why: &str) {
        let text = format!("{what}: {why}");
        let is_old = |(said, at): &(String, Instant)| *said == text && at.elapsed() < COMPLAIN_EVERY;
        if !self.complained.as_ref().is_some_and(is_old) {
            tracing::error!("{text}");
            self.complained = Some((text, Instant::now()));
        }
    }
}

fn unix_s() -> Option<u64> {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok().map(|past| past.as_secs())
}

impl Daemon {
    /// Hands over what is known, if it is time.
    pub(super) fn publish(&mut self, drained: &Drained) {
        if self.figures.published_at.is_some_and(|at| at.elapsed() < PUBLISH_EVERY) {
            return;
        }
        self.figures.published_at = Some(Instant::now());
        match self.snapshot(drained) {
            Ok(snapshot) => {
                self.exporter.publish(snapshot);
                self.figures.control.longest = Duration::ZERO;
            }
            Err(error) => self.figures.complain("figures cannot be read", &format!("{error:#}")),
        }
    }

    fn snapshot(&self, drained: &Drained) -> anyhow::Result<Snapshot> {
        let now = Instant::now();
        let reasons = self.host.counters()?.into_iter().map(|(reason, counter)| Reason {
            reason: reason.name(),
            verdict: reason.verdict().as_str(),
            packets: counter.packets,
            bytes: counter.bytes,
        });
        let subnets = self.subnets()?.into_iter().map(|subnet| Subnet {
            subnet: subnet.prefix,
            account: None,
            received_packets: subnet.received_packets,
            received_bytes: subnet.received_bytes,
            sent_packets: subnet.sent_packets,
            sent_bytes: subnet.sent_bytes,
        });
        let sessions = self.parents.rows(&self.hearing()).into_iter();
        let failures = self.standing.load_failures().iter();
        Ok(Snapshot {
            reasons: reasons.collect(),
            subnets: subnets.collect(),
            services: self.services(now),
            checks: self.checks(),
            loads: self.standing.loads(now),
            load_failures: failures.map(|(name, count)| (name.clone(), *count)).collect(),
            sessions: sessions.filter_map(|row| Some((row.parent, known(&SESSION_STATES, &row.state)?))).collect(),
            handshakes_failed: self.parents.handshakes_failed(),
            messages_bad: self.parents.messages_bad(),
            recovery: recovery(&self.echoes.report()),
            is_draining: drained.cause.is_some(),
            flows: drained.flows,
            config: self.figures.config,
            control: self.figures.control,
            certificates: self.parents.certificate_ends(),
        })
    }

    fn services(&self, now: Instant) -> Vec<Service> {
        let rows = self.standing.service_rows(now).into_iter();
        let service = |row: crate::status::Service| {
            Some(Service {
                key: row.key,
                state: known(&SERVICE_STATES, &row.state)?,
                state_age: Duration::from_millis(row.state_age_ms?),
                flows: row.flows,
                loads: row.loads,
            })
        };
        rows.filter_map(service).collect()
    }

    fn checks(&self) -> Vec<Check> {
        let rows = self.standing.health_rows().into_iter();
        let check = |row: crate::status::Check| Check {
            key: row.key,
            check: known(&["tcp", "http", "udp", "command"], &row.kind).unwrap_or_default(),
            is_healthy: row.health == "up",
            successes: row.successes,
            failures: row.failures,
            took: row.took_us.map(Duration::from_micros),
        };
        rows.map(check).collect()
    }
}

fn recovery(report: &Report) -> Recovery {
    Recovery {
        stalls: report.stalls().into(),
        echoes: report.echoes().into(),
        watched: report.watched as u64,
        swept_for: report.swept_for,
        key_epoch: report.epoch.map_or(0, u64::from),
    }
}

/// The word as metrics have it.
fn known(words: &[&'static str], word: &str) -> Option<&'static str> {
    words.iter().find(|known| **known == word).copied()
}
