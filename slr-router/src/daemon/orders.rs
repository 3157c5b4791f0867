//! What an operator asks for beside looking and reloading: drains, holds to release, hosts to remove, changes to try.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use slr_daemon::admin::Call;
use slr_model::{NodeName, ServiceKey};
use slr_session::registry::Cause;
use slr_wire::Action;

use super::Daemon;
use crate::{diff, forget};

/// An order is answered within this time: the conversation gives up sooner.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// What a host is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// No new flows, on any service.
    Drain,
    /// New flows again.
    Undrain,
}

impl From<Order> for Action {
    fn from(order: Order) -> Self {
        match order {
            Order::Drain => Action::Drain,
            Order::Undrain => Action::Undrain,
        }
    }
}

impl Daemon {
    /// Hands an order on to a host; the answer comes when the host has answered.
    pub(super) fn order(&mut self, call: Call, host: &NodeName, order: Order, by: &str) {
        let given = self.give(host, order, by);
        let receiver = match given {
            Ok(receiver) => receiver,
            Err(error) => return call.answer(Err::<(), _>(format!("{error:#}"))),
        };
        let host = host.clone();
        tokio::spawn(async move {
            let answer = match tokio::time::timeout(ANSWER_WITHIN, receiver).await {
                Ok(Ok(outcome)) => outcome.map_err(|why| format!("{host} refuses: {why}")),
                Ok(Err(_)) | Err(_) => Err(format!("{host} did not answer; `slr-router show sessions` says how it is")),
            };
            call.answer(answer);
        });
    }

    fn give(
        &self,
        host: &NodeName,
        order: Order,
        by: &str,
    ) -> Result<tokio::sync::oneshot::Receiver<Result<(), String>>> {
        let known = self.core.fleet().registry().host(host.as_str());
        let known = known.with_context(|| {
            format!("no host {host} has connected; one of the hosts file is drained there, with state = \"draining\"")
        })?;
        let (id, ..) = known.connection().with_context(|| {
            format!("{host} has no session, so nobody can tell it; `slr-router show sessions` says why")
        })?;
        let control = self.control.as_ref().context("this router has no control plane")?;
        control.hub().order(id, order.into(), by).with_context(|| format!("{host} cannot be told"))
    }

    /// The operator knows better than the rule: what vanished is lost.
    pub(super) fn release_hold(&mut self, call: Call, service: &ServiceKey) {
        let now = Instant::now();
        let released = self.core.tell(now, |registry| registry.release_hold(service, now));
        call.answer(if released > 0 {
            Ok(())
        } else {
            Err(format!("no host of {service} is held; `slr-router show alarms` lists those that are"))
        });
    }

    /// Forgets a host.
    pub(super) fn remove(&mut self, call: Call, host: &NodeName) {
        let now = Instant::now();
        let removed = self.core.tell(now, |registry| registry.remove(host, Cause::Operator, "slr-router remove", now));
        call.answer(if removed {
            Ok(())
        } else {
            Err(format!("no host {host} is known; one of the hosts file is removed there"))
        });
    }

    /// Forgets flows that the operator names.
    pub(super) fn forget_flows(&mut self, call: Call, which: &forget::Which) {
        let forgotten = self.core.plane().forget_flows(|flow| which.has(flow));
        if let Ok(flows) = &forgotten {
            tracing::info!(flows, ?which, "flows forgotten by order");
        }
        call.answer(forgotten.map_err(|error| error.to_string()));
    }

    /// What another configuration would move.
    pub(super) fn diff(&mut self, call: Call, config: &Path) {
        let found = super::load(config, self.core.in_force().map(|loaded| &loaded.settings))
            .and_then(|loaded| diff::of(&self.core, &loaded, Instant::now()));
        call.answer(found.map_err(|error| format!("{error:#}")));
    }
}
