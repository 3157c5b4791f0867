//! Who owns a name.

use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use slr_model::Identity;

use super::hosts::{Connection, Contact, Host, Index, Path};
use super::timers::Timer;
use super::{
    Admitted, AlarmKey, Cause, ConnectionId, Event, HOSTS_MAX, Hello, Refusal, RefusalCode, Registry, SessionId,
};

/// Most tunnel addresses of a node: one of each family.
const TUNNELS_MAX: usize = 2;

/// The last session of a name that was removed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub session: SessionId,
}

impl Registry {
    /// A node that authenticated as `identity` says hello on `connection`.
    ///
    /// One connection owns a name. A later session of the name takes it over without any change of state, so that
    /// certificates are renewed and daemons restarted unnoticed; an earlier one is refused. A name or a tunnel address
    /// that a living node uses is not given to another one.
    pub fn welcome(
        &mut self,
        identity: Identity,
        hello: Hello,
        connection: ConnectionId,
        now: Instant,
    ) -> Result<Admitted, Refusal> {
        let admitted = self.admit(identity, hello, connection, now);
        self.counters.hellos_refused += u64::from(admitted.is_err());
        admitted
    }

    fn admit(
        &mut self,
        identity: Identity,
        hello: Hello,
        connection: ConnectionId,
        now: Instant,
    ) -> Result<Admitted, Refusal> {
        check_tunnels(&identity, &hello)?;
        self.check_gone(&identity, &hello)?;
        let known = self.hosts.find(&identity.name);
        if let Some(index) = known {
            self.check_contest(index, &hello, now)?;
        }
        let displaced = self.check_addresses(&identity, &hello, known, now)?;
        if known.is_none() && displaced.is_empty() && self.hosts.len() >= HOSTS_MAX {
            let why = format!("{HOSTS_MAX} nodes are registered, and there is no room for {}", identity.name);
            return Err(Refusal::new(RefusalCode::Full, why, "remove nodes that are gone, or add a site"));
        }
        for index in displaced {
            self.remove_host(index, Cause::AddressTaken, identity.name.as_str(), now);
        }
        let index = known.unwrap_or_else(|| self.hosts.insert(Host::new(identity.name.clone(), identity.role)));
        let superseded = self.take_over(index, identity, hello, connection, now);
        Ok(Admitted { superseded, known: known.is_some() })
    }

    /// An older session of a name that was removed does not bring it back.
    fn check_gone(&self, identity: &Identity, hello: &Hello) -> Result<(), Refusal> {
        match self.gone.get(&identity.name) {
            Some(gone) if hello.session <= gone.session => {
                let why = format!("session {} of {} ended, and it was removed", gone.session, identity.name);
                Err(Refusal::new(RefusalCode::Superseded, why, "connect again as a later session"))
            }
            _ => Ok(()),
        }
    }

    /// Whether the name may pass from the one that has it.
    fn check_contest(&mut self, index: Index, hello: &Hello, now: Instant) -> Result<(), Refusal> {
        let owner = self.hosts.get(index);
        if owner.is_away() {
            // No contest. A clock that was set back heals so: whoever is there has the name.
            return Ok(());
        }
        let elsewhere = owner.connection.is_some_and(|connection| connection.remote.ip() != hello.remote.ip());
        let is_living = owner.connection.is_some() && owner.is_heard();
        let is_reached = matches!(owner.path, Path::Alive { .. } | Path::Assumed);
        let is_moved = !hello.tunnels.iter().any(|address| owner.tunnels.contains(address));
        let (name, session) = (owner.name.clone(), owner.session);
        let remote = owner.connection.map_or_else(|| "an earlier run".to_owned(), |at| at.remote.to_string());
        let two = format!("{} and {remote} both use the name {name}", hello.remote);
        let remedy = "stop one of them, and give each node a certificate of its own";
        if hello.session == session || (is_moved && is_living && is_reached) {
            self.raise_conflict(AlarmKey::Name(name.clone()), vec![name], format!("{two}: {remedy}"), now);
            return Err(Refusal::new(RefusalCode::NameInUse, two, remedy));
        }
        if hello.session < session {
            if elsewhere && is_living {
                self.raise_conflict(AlarmKey::Name(name.clone()), vec![name.clone()], format!("{two}: {remedy}"), now);
            }
            let why = format!("session {} of {name} is superseded by {session} from {remote}", hello.session);
            let remedy =
                "if this is the right node, stop the other; if the clock was set back, wait until it is silent";
            return Err(Refusal::new(RefusalCode::Superseded, why, remedy));
        }
        Ok(())
    }

    /// Whether other names have the tunnel addresses. Those that are away lose them: an address that the certificate
    /// authority gave to a new name is a machine that was renamed.
    fn check_addresses(
        &mut self,
        identity: &Identity,
        hello: &Hello,
        known: Option<Index>,
        now: Instant,
    ) -> Result<Vec<Index>, Refusal> {
        let mut displaced = Vec::new();
        for &address in &hello.tunnels {
            let Some(other) = self.hosts.of_tunnel(address).filter(|&other| Some(other) != known) else { continue };
            let owner = self.hosts.get(other);
            if owner.is_away() {
                displaced.push(other);
                continue;
            }
            let why = format!("{} and {} both have the tunnel address {address}", identity.name, owner.name);
            let remedy = "correct the tunnel address of one of them, in its configuration and its certificate";
            let names = vec![owner.name.clone(), identity.name.clone()];
            self.raise_conflict(AlarmKey::Tunnel(address), names, format!("{why}: {remedy}"), now);
            return Err(Refusal::new(RefusalCode::TunnelTaken, why, remedy));
        }
        displaced.sort_unstable();
        displaced.dedup();
        Ok(displaced)
    }

    fn raise_conflict(&mut self, key: AlarmKey, names: Vec<slr_model::NodeName>, text: String, now: Instant) {
        self.timers.set(Timer::Alarm(key.clone()), now + self.settings.conflict_memory);
        self.raise(key, names, text, now);
    }

    fn take_over(
        &mut self,
        index: Index,
        identity: Identity,
        hello: Hello,
        connection: ConnectionId,
        now: Instant,
    ) -> Option<ConnectionId> {
        let owner = Connection { id: connection, remote: hello.remote, since: now };
        let superseded = self.hosts.set_connection(index, Some(owner)).map(|old| old.id);
        if let Some(old) = superseded {
            self.counters.superseded += 1;
            let why = format!("{} has a later session, {}", identity.name, hello.session);
            let remedy = "nothing, if the node connected again; else see who else uses its name";
            self.events.close(old, Refusal::new(RefusalCode::Superseded, why, remedy));
        }
        let (name, session) = (identity.name.clone(), hello.session);
        self.events.push(Event::Connected { name, session, superseded });
        let host = self.hosts.get_mut(index);
        host.role = identity.role;
        host.identity = Some(identity);
        host.session = hello.session;
        host.version = hello.version;
        (host.answers_asks, host.asks) = (hello.answers_asks, 0);
        host.source_prefixes = hello.source_prefixes;
        (host.sequence, host.full_sequence) = (0, 0);
        host.refused.clear();
        for service in &mut host.services {
            service.sequence = None;
        }
        self.move_tunnels(index, hello.tunnels, now);
        self.drop_not_allowed(index, now);
        self.await_advert(index, now);
        superseded
    }

    fn move_tunnels(&mut self, index: Index, tunnels: Vec<IpAddr>, now: Instant) {
        let host = self.hosts.get_mut(index);
        if host.tunnels == tunnels {
            return;
        }
        let is_moved = !host.tunnels.iter().any(|address| tunnels.contains(address));
        self.generation += 1;
        if is_moved {
            // What is known is known of another address.
            host.path = Path::Unknown;
            (host.path_lost, host.is_path_doubted) = (false, false);
        }
        self.hosts.set_tunnels(index, tunnels);
        if is_moved {
            self.find_well(index, now);
        }
    }

    fn drop_not_allowed(&mut self, index: Index, now: Instant) {
        for at in (0..self.hosts.get(index).services.len()).rev() {
            let host = self.hosts.get(index);
            if !host.may_serve(&host.services[at].key) {
                self.remove_service(index, at, Cause::NotAllowed, "", now);
            }
        }
    }

    /// A hello is no advert: it gives a node that was heard lately time for one, once, and brings nobody back.
    fn await_advert(&mut self, index: Index, now: Instant) {
        let silent_after = self.settings.silent_after;
        // Its loss is settled: only an advert undoes that.
        let is_given_up = self.timers.at(&Timer::Forget(index)).is_some();
        let is_awaited = self.timers.at(&Timer::Advert(index)).is_some();
        let host = self.hosts.get_mut(index);
        let was_awaited = host.silent_at.filter(|_| is_awaited && host.is_heard());
        let deadline = (now + silent_after).min(host.heard_at.unwrap_or(now) + silent_after * 2);
        if host.is_adopted || is_given_up || deadline <= now {
            return;
        }
        if !host.is_heard() {
            host.contact = Contact::Heard;
            self.find_well(index, now);
        }
        let host = self.hosts.get_mut(index);
        // The time of a contact that was lost is no longer of use.
        host.silent_at = Some(was_awaited.map_or(deadline, |before| before.max(deadline)));
        self.watch_for_advert(index, now, now);
    }
}

fn check_tunnels(identity: &Identity, hello: &Hello) -> Result<(), Refusal> {
    let count = |is_v4: bool| hello.tunnels.iter().filter(|address| address.is_ipv4() == is_v4).count();
    if hello.tunnels.is_empty() || hello.tunnels.len() > TUNNELS_MAX || count(true) > 1 || count(false) > 1 {
        let why = format!("{} names {} tunnel addresses", identity.name, hello.tunnels.len());
        let remedy = "name one tunnel address, or one of each family";
        return Err(Refusal::new(RefusalCode::TunnelsInvalid, why, remedy));
    }
    let claimed =
        hello.tunnels.iter().map(|&address| IpNet::from(address)).chain(hello.source_prefixes.iter().copied());
    for claim in claimed {
        if !identity.tunnels.iter().any(|allowed| allowed.contains(&claim)) {
            let why = format!("the certificate of {} does not have the tunnel address {claim}", identity.name);
            let remedy = "issue a certificate with it, or correct the address in the node's configuration";
            return Err(Refusal::new(RefusalCode::TunnelNotAllowed, why, remedy));
        }
    }
    Ok(())
}
