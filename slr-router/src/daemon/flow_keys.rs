//! Keys of the augmented echo (docs/wire.md): which epoch they are of, which host is granted which, and what the program accepts.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use slr_model::{Identity, NodeName, Role, VirtualSubnet};
use slr_session::epochs::Epochs;
use slr_session::registry::ConnectionId;
use slr_wire::{EpochMaster, FlowEpoch, FlowKeyGrant, FlowKeys, Message, bounds};

use super::Daemon;
use crate::config;

/// So many hosts are granted keys at once, and the next so many a moment later: what a thousand of them have to be sent waits in
/// memory until they have acknowledged it. All have theirs within a second; the keys before are good for longer.
const GRANTED_AT_ONCE: usize = 32;
const GRANTED_APART: Duration = Duration::from_millis(20);

/// The epoch, and who has still to be granted keys of it.
#[derive(Debug)]
pub struct Keyring {
    epochs: Epochs,
    ungranted: VecDeque<ConnectionId>,
    granted: Option<Instant>,
}

impl Keyring {
    /// Goes on from the epoch that an earlier daemon wrote down.
    pub fn new(control: &config::Control, known: Option<u32>, now: Instant) -> Self {
        Self { epochs: Epochs::new(control.flow_key_rotation, known, now), ungranted: VecDeque::new(), granted: None }
    }

    /// The epoch of the keys that are granted.
    pub fn epoch(&self) -> u32 {
        self.epochs.current()
    }

    /// How often another router told of an epoch that is too far ahead.
    pub fn refused(&self) -> u64 {
        self.epochs.refused()
    }

    /// When [`Daemon::keep_keys`] has something to do.
    pub fn due(&self) -> Instant {
        let next = self.granted.filter(|_| !self.ungranted.is_empty()).map(|at| at + GRANTED_APART);
        next.map_or(self.epochs.poll_timeout(), |next| next.min(self.epochs.poll_timeout()))
    }

    /// Those who are granted keys now.
    fn next(&mut self, now: Instant) -> Vec<ConnectionId> {
        if self.granted.is_some_and(|at| at + GRANTED_APART > now) {
            return Vec::new();
        }
        self.granted = Some(now).filter(|_| !self.ungranted.is_empty());
        self.ungranted.drain(..GRANTED_AT_ONCE.min(self.ungranted.len())).collect()
    }
}

/// The virtual subnets that a router with these serves for a node with that certificate: what both have.
fn shared<'a>(subnets: impl Iterator<Item = VirtualSubnet> + 'a, identity: &'a Identity) -> BTreeSet<IpNet> {
    let both = |own: IpNet, theirs: IpNet| match () {
        () if own.contains(&theirs) => Some(theirs),
        () if theirs.contains(&own) => Some(own),
        () => None,
    };
    subnets.flat_map(|own| identity.subnets.iter().filter_map(move |theirs| both(own.net(), theirs.net()))).collect()
}

/// A host's keys, at each of its tunnel addresses.
fn grants(master: &EpochMaster, name: &NodeName, tunnels: &[IpAddr], subnets: &BTreeSet<IpNet>) -> Vec<FlowKeyGrant> {
    let grant =
        |subnet: IpNet, server: IpAddr| FlowKeyGrant { subnet, server, key: *master.key(name, server, subnet).bytes() };
    let all = subnets.iter().flat_map(|subnet| tunnels.iter().map(|server| grant(*subnet, *server)));
    all.take(bounds::FLOW_KEYS_MAX).collect()
}

impl Daemon {
    /// The master key of an epoch, if this router has the trust domain's secret.
    pub(super) fn flow_master(&self, epoch: u32) -> Option<EpochMaster> {
        let control = self.core.in_force()?.settings.control.as_ref()?;
        control.flow_secret.as_ref().map(|secret| secret.master(epoch))
    }

    /// Another configuration is in force: keys may be of another secret, and of other subnets.
    pub(super) fn follow_keys(&mut self, control: &config::Control) {
        let Some(keyring) = &mut self.keyring else { return };
        keyring.epochs.configure(control.flow_key_rotation);
        self.accept_epochs();
        self.grant_all();
    }

    /// A child was welcomed.
    pub(super) fn grant(&self, id: ConnectionId) {
        let (Some(control), Some(keyring), Some(loaded)) = (&self.control, &self.keyring, self.core.in_force()) else {
            return;
        };
        let Some(child) = self.core.fleet().registry().owner(id) else { return };
        let epoch = keyring.epoch();
        let told = match (child.role(), child.identity(), self.flow_master(epoch)) {
            (Role::Host, Some(identity), Some(master)) => {
                let subnets = shared(loaded.settings.subnets.iter().map(|subnet| subnet.prefix), identity);
                control
                    .hub()
                    .grant(id, FlowKeys { epoch, keys: grants(&master, child.name(), child.tunnels(), &subnets) })
            }
            (Role::Host, ..) => return,
            _ => control.hub().tell_epoch(id, epoch),
        };
        if let Err(error) = told {
            tracing::debug!(%id, "not told of flow keys: {error}");
        }
    }

    /// Another router says which epoch it knows.
    pub(super) fn hear_epoch(&mut self, router: &NodeName, epoch: u32, now: Instant) {
        let Some(keyring) = &mut self.keyring else { return };
        let refused = keyring.refused();
        if keyring.epochs.heard(now, epoch) {
            tracing::info!(%router, epoch, "flow keys are of another router's epoch from now on");
            self.begin_epoch();
        } else if keyring.refused() != refused {
            tracing::warn!(
                %router,
                epoch,
                own = keyring.epoch(),
                "an epoch of flow keys too far ahead is refused; if it is right, restart this router without its state.json"
            );
        }
    }

    /// A certificate was revoked.
    pub(super) fn revoke_keys(&mut self, now: Instant) {
        if let Some(keyring) = &mut self.keyring {
            keyring.epochs.revoked(now);
        }
    }

    /// Tells a router that was just connected.
    pub(super) fn tell_epoch_to(&self, router: &NodeName) {
        if let (Some(control), Some(keyring)) = (&self.control, &self.keyring) {
            let message = Message::FlowEpoch(FlowEpoch { epoch: keyring.epoch() });
            // One that is not there hears of it when it is.
            let _ = control.hub().send_to_peer(router, Arc::new(message));
        }
    }

    /// The same for a parent.
    pub(super) fn tell_epoch_up(&self, parent: &NodeName) {
        if let (Some(control), Some(keyring)) = (&self.control, &self.keyring)
            && let Some(link) = control.link(parent)
        {
            link.tell_epoch(keyring.epoch());
        }
    }

    /// Does what is due. Called in each turn.
    pub(super) fn keep_keys(&mut self, now: Instant) {
        let Some(keyring) = &mut self.keyring else { return };
        if keyring.epochs.handle_timeout(now) {
            tracing::info!(epoch = keyring.epoch(), "flow keys are of the next epoch from now on");
            self.begin_epoch();
        }
        let Some(keyring) = &mut self.keyring else { return };
        for id in keyring.next(now) {
            self.grant(id);
        }
    }

    /// Everybody hears of another epoch, and a restart does not go back behind it.
    fn begin_epoch(&mut self) {
        self.accept_epochs();
        self.grant_all();
        let control = self.core.in_force().and_then(|loaded| loaded.settings.control.clone());
        for router in control.iter().flat_map(|control| control.peers.iter().chain(&control.neighbours)) {
            self.tell_epoch_to(&router.name);
        }
        for parent in control.iter().flat_map(|control| &control.parents) {
            self.tell_epoch_up(&parent.name);
        }
        self.save();
    }

    /// The program takes what is signed with keys of these epochs; nothing without a secret.
    fn accept_epochs(&self) {
        let accepted = self.keyring.iter().flat_map(|keyring| keyring.epochs.accepted());
        let masters: Vec<_> = accepted.filter_map(|epoch| Some((epoch, *self.flow_master(epoch)?.bytes()))).collect();
        if let Err(error) = self.core.plane().set_advert_masters(&masters) {
            tracing::error!("what hosts say by way of their clients is not taken in this epoch: {error}");
        }
    }

    fn grant_all(&mut self) {
        if let (Some(control), Some(keyring)) = (&self.control, &mut self.keyring) {
            let connections = control.hub().connections();
            keyring.ungranted = connections.into_iter().map(|connection| connection.id).collect();
            keyring.granted = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slr_wire::FlowSecret;

    fn identity(subnets: &[&str]) -> Identity {
        let mut uris = vec!["slr://example.org/host/h1".to_owned()];
        uris.extend(subnets.iter().map(|subnet| format!("slr://example.org/host/h1?subnet={subnet}")));
        Identity::from_uris(uris.iter().map(String::as_str)).unwrap()
    }

    fn nets(texts: &[&str]) -> BTreeSet<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn keys_are_for_what_router_and_certificate_both_have() {
        let own = ["192.0.2.0/24", "2001:db8:1::/48", "198.18.0.0/15"];
        let found = |theirs: &[&str]| {
            let identity = identity(theirs);
            shared(own.into_iter().map(|text| text.parse().unwrap()), &identity)
        };
        assert_eq!(found(&["192.0.2.0/24"]), nets(&["192.0.2.0/24"]));
        assert_eq!(found(&["192.0.2.128/25", "192.0.2.9/32"]), nets(&["192.0.2.128/25", "192.0.2.9/32"]), "parts");
        assert_eq!(found(&["192.0.0.0/16", "2001:db8::/32"]), nets(&["192.0.2.0/24", "2001:db8:1::/48"]));
        assert_eq!(found(&["203.0.113.0/24"]), nets(&[]));
    }

    #[test]
    fn a_host_has_a_key_for_each_subnet_at_each_address_and_no_more_than_fit() {
        let master = FlowSecret::new([1; FlowSecret::LEN]).master(7);
        let (name, tunnels) = ("h1".parse().unwrap(), ["10.1.11.2".parse().unwrap(), "fd00::2".parse().unwrap()]);
        let all = grants(&master, &name, &tunnels, &nets(&["192.0.2.0/24", "2001:db8:1::/48"]));
        assert_eq!(all.len(), 4);
        for grant in &all {
            assert_eq!(grant.key(), master.key(&name, grant.server, grant.subnet));
        }
        let many = (0..300u32).map(|n| IpNet::new(std::net::Ipv4Addr::from(n << 8).into(), 24).unwrap()).collect();
        assert_eq!(grants(&master, &name, &tunnels, &many).len(), bounds::FLOW_KEYS_MAX);
    }
}
