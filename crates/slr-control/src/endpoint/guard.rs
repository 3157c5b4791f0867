//! The connections that are open, and ending those whose certificates are no longer good.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use quinn::Connection;
use rustls::pki_types::{CertificateDer, UnixTime};
use tracing::warn;

use super::Shared;
use crate::line::{OwnEnding, close};
use crate::refusal::{Refusal, Whose};
use crate::{Certificate, Ending, Material, POLL};

/// Warnings about our own files are repeated so often while they last.
const WARN_EVERY: Duration = Duration::from_secs(3_600);

/// An open connection, seen from outside of its task.
pub(super) struct Watched {
    pub connection: Connection,
    pub certificate: Arc<Certificate>,
    pub own_ending: OwnEnding,
    /// The other end dialled.
    pub accepted: bool,
}

/// All open connections. At most as many as the endpoint takes, and those it dials.
#[derive(Default)]
pub(super) struct Guard {
    watched: Mutex<(u64, BTreeMap<u64, Watched>)>,
}

impl Guard {
    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Watched>)> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a connection until it ends.
    pub fn watch(self: &Arc<Self>, watched: Watched) {
        let connection = watched.connection.clone();
        let id = {
            let mut guard = self.lock();
            guard.0 += 1;
            let id = guard.0;
            guard.1.insert(id, watched);
            id
        };
        let guard = self.clone();
        tokio::spawn(async move {
            connection.closed().await;
            guard.lock().1.remove(&id);
        });
    }

    /// How many connections others have opened to this node.
    pub fn accepted(&self) -> usize {
        self.lock().1.values().filter(|watched| watched.accepted).count()
    }

    /// Ends every connection for which `judge` has a reason.
    pub fn end(&self, judge: impl Fn(&Watched) -> Option<Ending>) {
        for watched in self.lock().1.values() {
            if let Some(ending) = judge(watched) {
                let identity = &watched.certificate.identity;
                let first = watched.own_ending.set(ending.clone()).is_ok();
                if first {
                    warn!(name = %identity.name, role = %identity.role, remote = %watched.connection.remote_address(),
                        serial = %watched.certificate.serial, "connection ended: {ending}");
                }
                close(&watched.connection, ending.code.unwrap_or(slr_wire::Code::Role), &ending.to_string());
            }
        }
    }
}

/// Polls the files and the clock for as long as the endpoint lives.
pub(super) async fn run(endpoint: Weak<Shared>) {
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut warned_at = tokio::time::Instant::now();
    let mut known: Option<Arc<Material>> = None;
    loop {
        ticks.tick().await;
        let Some(shared) = endpoint.upgrade().filter(|shared| !*shared.closed.borrow()) else { return };
        shared.trust.poll();
        let (newest, now) = (shared.trust.current(), SystemTime::now());
        // What is installed at the start may be older than what is current at the first tick.
        let changed = known.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &newest));
        if changed {
            shared.install(&newest);
        }
        if known.as_ref().is_some_and(|known| !newest.same_authorities(known)) {
            shared.guard.end(|watched| distrusted(&newest, watched));
        }
        shared.guard.end(|watched| {
            let (code, refusal) = newest.check(&watched.certificate, now).err()?;
            Some(Ending::refused(code, refusal))
        });
        if warned_at.elapsed() >= WARN_EVERY {
            warned_at = tokio::time::Instant::now();
            newest.warnings(now).iter().for_each(|warning| warn!("{warning}"));
        }
        known = Some(newest);
    }
}

/// Whether a connection's certificate is not one of the authorities that are trusted now.
fn distrusted(material: &Material, watched: &Watched) -> Option<Ending> {
    let chain = watched.connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let error = material.check_chain(&chain, UnixTime::now()).err()?;
    let refusal = Refusal::from_alert(48, Whose::Theirs, &error.to_string());
    Some(Ending::refused(slr_wire::Code::Role, refusal))
}
