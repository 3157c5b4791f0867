//! What the tasks and the parents tell, and what is said to the parents. Draining, and the daemon's own end.

use std::collections::BTreeMap;
use std::time::Instant;

use slr_control::LinkEvent;
use slr_daemon::notify;
use slr_model::{HostState, NodeName};
use slr_session::conversation::ChildEvent;
use slr_wire::{Action, Order};

use super::Daemon;
use crate::drain::{Cause, Hearing, Phase};
use crate::health::Finding;
use crate::load::Reading;
use crate::sockets::Count;
use crate::standing;
use crate::status::Drained;

impl Daemon {
    /// A check found something. Said at once: routers shall know of a dead server within the second.
    pub(super) fn find(&mut self, finding: Finding) {
        if self.standing.found(finding) {
            self.say();
        }
    }

    /// A load source gave something; the next beat says it.
    pub(super) fn read(&mut self, reading: Reading) {
        if let Some(complaint) = self.standing.read(reading, Instant::now()) {
            tracing::warn!("{complaint}");
        }
    }

    /// Connections were counted.
    pub(super) fn count(&mut self, count: Count) {
        if let Err(why) = &count.survey {
            self.figures.complain("connections cannot be counted", why);
        }
        self.standing.counted(count.survey, count.at);
    }

    /// A parent tells something.
    pub(super) async fn hear(&mut self, event: LinkEvent) {
        let before = self.state.learned.clone();
        match event.event {
            ChildEvent::Welcomed(welcome) => self.state.learned.sources(&event.parent, welcome.tunnel_sources),
            ChildEvent::Roster(roster) => {
                let hosts = roster.nodes.into_iter().map(|node| (node.name, node.tunnel_addresses)).collect();
                self.state.learned.hosts(&event.parent, hosts);
            }
            ChildEvent::Order(order) => self.obey(event.parent, order),
            ChildEvent::FlowKeys(keys) => self.echoes.grant(event.parent, keys),
            // Logged by the link, and shown.
            ChildEvent::Epoch(_) | ChildEvent::Heard(_) | ChildEvent::Refused(_) | ChildEvent::Lost { .. } => {}
        }
        if self.state.learned != before {
            self.remember();
            let settings = self.settings.clone();
            match self.make(&settings).await {
                Ok(_) => tracing::info!("tunnels are taken as parents say: {}", self.summary()),
                Err(error) => tracing::error!("what a parent told about tunnels cannot be put in force: {error:#}"),
            }
        }
    }

    fn obey(&mut self, name: NodeName, order: Order) {
        let outcome = match order.action {
            Action::Drain => {
                self.drain(Cause::Router { name: name.clone(), requested_by: order.requested_by });
                Ok(())
            }
            Action::Undrain => self.undrain(),
        };
        self.parents.ordered(&name, order.id, outcome);
    }

    /// Takes no new flows from now on, also after a restart.
    pub(super) fn drain(&mut self, cause: Cause) {
        if self.standing.draining() == Some(&cause) {
            return;
        }
        tracing::info!("{}: takes no new flows", cause.reason());
        self.standing.drain(cause.clone());
        self.surveyor.set_eager(true);
        if cause != Cause::Stop {
            self.state.drained = Some(cause);
            self.remember();
        }
        self.say();
    }

    /// Takes new flows again.
    pub(super) fn undrain(&mut self) -> Result<(), String> {
        if self.stop_at.is_some() {
            return Err("hostd ends: it drains because it was told to stop".to_owned());
        }
        if self.standing.draining().is_some() {
            tracing::info!("undrained: takes new flows");
        }
        self.standing.undrain();
        self.surveyor.set_eager(false);
        self.state.drained = None;
        self.remember();
        self.say();
        Ok(())
    }

    fn remember(&self) {
        if let Some(store) = &self.store
            && let Err(error) = store.write(&self.state)
        {
            tracing::error!("a restart will not know what is so now: {error:#}");
        }
    }

    /// Says what is true now.
    pub(super) fn say(&mut self) {
        let Some((advert, changes)) = self.standing.advert(Instant::now()) else { return };
        for change in changes {
            let (service, state, reason) = (change.key, change.state, change.reason);
            match state {
                HostState::Down => tracing::warn!(%service, %state, "{reason}"),
                HostState::Active | HostState::Draining => tracing::info!(%service, %state, "{reason}"),
            }
        }
        self.parents.offer(advert);
    }

    /// What each parent knows of a drain.
    pub(super) fn hearing(&self) -> Vec<Hearing> {
        // Acknowledged may be what was said before this drain began: its states tell.
        self.parents.hearing(|states: &BTreeMap<_, HostState>| states.values().all(|state| !state.takes_new_flows()))
    }

    /// How far a drain is.
    pub(super) fn drained(&mut self) -> Drained {
        let hearing = self.hearing();
        Drained {
            phase: self.standing.phase(&hearing, Instant::now()),
            cause: self.standing.draining().cloned(),
            flows: self.standing.flows(),
            unheard: standing::names(&hearing, |parent| parent.is_connected && !parent.has_heard),
            unconnected: standing::names(&hearing, |parent| !parent.is_connected),
            problem: self.standing.count_problem().unwrap_or_default().to_owned(),
        }
    }

    /// Load values are put together, a drain is looked at, figures are handed over.
    pub(super) fn beat(&mut self) {
        self.say();
        let drained = self.drained();
        if self.figures.has_changed_phase(drained.phase) {
            tracing::info!(flows = drained.flows, "drain: {}", drained.phase.words());
        }
        self.publish(&drained);
        let Some(stop_at) = self.stop_at else { return };
        let nobody_hears = drained.phase == Phase::Unheard && drained.flows == 0;
        if drained.phase == Phase::Safe || nobody_hears || Instant::now() >= stop_at {
            self.has_ended = true;
        }
    }

    /// SIGTERM: drains for the configured time, then ends. A second one ends at once.
    pub(super) fn stop(&mut self) {
        let time = self.settings.drain.on_stop;
        if self.stop_at.is_some() || time.is_zero() || self.settings.control.is_none() {
            self.has_ended = true;
            return;
        }
        self.stop_at = Some(Instant::now() + time);
        tracing::info!("told to end: drains for {} s at most; again to end at once", time.as_secs());
        if self.standing.draining().is_none() {
            self.drain(Cause::Stop);
        }
    }

    /// The last words. A host without flows takes its services back. One with flows just falls silent: what is pinned to it
    /// stays, and its data plane goes on.
    pub(super) async fn finish(&mut self) {
        notify::stopping();
        self.capturing.end(&mut self.host);
        let drained = self.drained();
        if drained.phase == Phase::Safe {
            self.parents.withdraw("drained, and hostd ends").await;
            tracing::info!("withdrawn; ends");
        } else {
            tracing::info!(flows = drained.flows, "ends; packets keep flowing until `hostd unload`");
        }
    }
}
