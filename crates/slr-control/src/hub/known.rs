//! Certificates of children that were admitted lately, so that a revocation reaches those that are not connected.

use std::collections::BTreeMap;
use std::sync::Arc;

use slr_model::NodeName;
use slr_wire::Code;

use super::{HubEvent, Shared};
use crate::{Certificate, Material};

/// Names that are remembered: as many as a router has hops for.
const KNOWN_MAX: usize = slr_model::HopId::TABLE_LEN;

/// The newest certificate of each name.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<NodeName, Arc<Certificate>>);

impl Known {
    /// Notes what a child was admitted with.
    pub fn insert(&mut self, certificate: Arc<Certificate>) {
        let name = certificate.identity.name.clone();
        if self.0.len() < KNOWN_MAX || self.0.contains_key(&name) {
            self.0.insert(name, certificate);
        }
    }

    /// Forgets and returns those that are revoked.
    fn take_revoked(&mut self, material: &Material) -> Vec<Arc<Certificate>> {
        let mut revoked = Vec::new();
        self.0.retain(|_, certificate| {
            let good = !material.is_revoked(certificate);
            if !good {
                revoked.push(certificate.clone());
            }
            good
        });
        revoked
    }
}

/// Tells of nodes that are revoked while they have no connection; those that have one end it themselves.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut trust = shared.endpoint.trust().subscribe();
    let mut closed = shared.endpoint.closed();
    loop {
        tokio::select! {
            changed = trust.changed() => if changed.is_err() { return },
            _ = closed.wait_for(|closed| *closed) => return,
        }
        let material = trust.borrow_and_update().clone();
        let absent: Vec<_> = {
            let mut state = shared.lock();
            let revoked = state.known.take_revoked(&material);
            let connected = |certificate: &Certificate| {
                state.children.values().any(|child| child.view.certificate.identity.name == certificate.identity.name)
            };
            revoked.into_iter().filter(|certificate| !connected(certificate)).collect()
        };
        for certificate in absent {
            let identity = &certificate.identity;
            let why = crate::Refusal::revoked(identity).to_string();
            tracing::warn!(name = %identity.name, role = %identity.role, serial = %certificate.serial, "{why}");
            let event = HubEvent::Distrusted { name: identity.name.clone(), id: None, code: Code::Revoked, why };
            shared.tell(event).await;
        }
    }
}
