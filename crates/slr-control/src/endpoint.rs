//! The sockets of the control channel: QUIC with mutual TLS, dialled and taken on the same ports.
//!
//! An endpoint belongs to a daemon and lives as long. It has a task for each socket that listens and one that polls the
//! files of [`Trust`]; every connection adds QUIC's own task and the one of its conversation.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use quinn::{ClientConfig, ServerConfig, TransportConfig};
use slr_model::{NodeName, Role};
use slr_wire::Code;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

mod accept;
mod guard;
mod limits;
mod reset;
mod socket;
mod transport;

pub use accept::AcceptCounters;
pub(crate) use accept::Accepted;

use crate::line::Line;
use crate::trust::SharedRule;
use crate::{Ending, Material, Rule, Trust};
use accept::{Door, admit};
use guard::Guard;
pub(crate) use reset::ResetKey;
use socket::BatchedSocket;

/// The port that SLRs listen on unless configured otherwise.
pub const DEFAULT_PORT: u16 = 6_100;
/// Lines that wait for the one who takes them. Beyond it their handshakes wait.
const ACCEPTED_MAX: usize = 64;
/// The socket's buffer: a datagram from each of four thousand nodes at the same moment.
const SOCKET_BUFFER: usize = 4 << 20;
/// Handshakes of strangers that QUIC holds before they are looked at, and the bytes that came with them.
const INCOMING_MAX: usize = 512;
const INCOMING_BYTES: u64 = 16 << 10;
const INCOMING_BYTES_ALL: u64 = 4 << 20;
/// When an endpoint closes, its connections get this long to say so.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// QUIC wants a server's name where a node has its own in the certificate; nobody reads it.
const NO_SERVER_NAME: &str = "slr.invalid";

/// Where an endpoint listens and how much it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSettings {
    /// Addresses to listen on; none for a node that only dials.
    pub listen: Vec<SocketAddr>,
    /// Connections of others at the same time. A router has room for 4,096 hosts, each twice while it renews.
    pub connections_max: usize,
    /// Handshakes that one source may begin at once, and each second.
    pub handshakes_burst: u32,
    /// See `handshakes_burst`.
    pub handshakes_per_s: u32,
}

impl Default for EndpointSettings {
    fn default() -> Self {
        Self { listen: Vec::new(), connections_max: 8_192, handshakes_burst: 40, handshakes_per_s: 20 }
    }
}

/// An address that cannot be used.
#[derive(Debug, Error)]
#[error("cannot use UDP address {address}: {source}; correct `listen`, or stop what uses the address")]
pub struct BindError {
    /// Which.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// A node to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What it is; its certificate must say the same.
    pub role: Role,
    /// What it is called; its certificate must say the same.
    pub name: NodeName,
    /// Where it listens; tried one after the other. Never empty in a good configuration.
    pub addresses: Vec<SocketAddr>,
}

/// The control channel's sockets. Clones are the same endpoint.
#[derive(Clone)]
pub struct Endpoint(Arc<Shared>);

struct Shared {
    trust: Arc<Trust>,
    sockets: Vec<quinn::Endpoint>,
    rule: Option<SharedRule>,
    guard: Arc<Guard>,
    door: Door,
    dialling: Arc<TransportConfig>,
    accepting: Arc<TransportConfig>,
    closed: watch::Sender<bool>,
}

impl Shared {
    /// Has new handshakes use the newest certificates.
    fn install(&self, material: &Material) {
        let Some(rule) = &self.rule else { return };
        for socket in &self.sockets {
            let mut config = ServerConfig::with_crypto(Arc::new(material.server_tls(rule.clone())));
            config
                .transport_config(self.accepting.clone())
                // Nodes have addresses of their own; one that moves connects again.
                .migration(false)
                .max_incoming(INCOMING_MAX)
                .incoming_buffer_size(INCOMING_BYTES)
                .incoming_buffer_size_total(INCOMING_BYTES_ALL);
            config.validation_token.sent(0);
            socket.set_server_config(Some(config));
        }
    }
}

impl Endpoint {
    /// Opens the sockets of a node that only dials.
    pub fn dialling(trust: Arc<Trust>) -> Result<Self, BindError> {
        Self::open(EndpointSettings::default(), trust, None).map(|(endpoint, _)| endpoint)
    }

    /// The same, dialling from these addresses, one a family: for a machine with several, or a process that is several
    /// nodes.
    pub fn dialling_from(addresses: Vec<SocketAddr>, trust: Arc<Trust>) -> Result<Self, BindError> {
        let settings = EndpointSettings { listen: addresses, ..EndpointSettings::default() };
        Self::open(settings, trust, None).map(|(endpoint, _)| endpoint)
    }

    /// Opens the sockets of a node that listens, and tells who came in.
    pub(crate) fn listening(
        settings: EndpointSettings,
        trust: Arc<Trust>,
        rule: Rule,
    ) -> Result<(Self, mpsc::Receiver<Accepted>), BindError> {
        Self::open(settings, trust, Some(Arc::new(RwLock::new(rule))))
    }

    fn open(
        settings: EndpointSettings,
        trust: Arc<Trust>,
        rule: Option<SharedRule>,
    ) -> Result<(Self, mpsc::Receiver<Accepted>), BindError> {
        let reset = trust.current().reset_key().clone();
        let sockets = if settings.listen.is_empty() { bind_any(&reset)? } else { bind_all(&settings.listen, &reset)? };
        let door = Door::new(settings.handshakes_per_s, settings.handshakes_burst, settings.connections_max);
        let shared = Arc::new(Shared {
            trust,
            sockets,
            rule,
            guard: Arc::new(Guard::default()),
            door,
            dialling: transport::transport(false),
            accepting: transport::transport(true),
            closed: watch::Sender::new(false),
        });
        shared.install(&shared.trust.current());
        let (accepted, lines) = mpsc::channel(ACCEPTED_MAX);
        if shared.rule.is_some() {
            for socket in &shared.sockets {
                tokio::spawn(accept::run(shared.clone(), socket.clone(), accepted.clone()));
            }
        }
        tokio::spawn(guard::run(Arc::downgrade(&shared)));
        Ok((Self(shared), lines))
    }

    /// Who this node is and whom it believes.
    pub fn trust(&self) -> &Arc<Trust> {
        &self.0.trust
    }

    /// The addresses in use, in the order of the settings; for port 0, those that were given.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.0.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// What was taken and turned away.
    pub fn counters(&self) -> AcceptCounters {
        self.0.door.counters()
    }

    /// Changes who may dial this node, and ends the connections of those who may no longer.
    pub(crate) fn set_rule(&self, rule: Rule) {
        let Some(shared_rule) = &self.0.rule else { return };
        *shared_rule.write().unwrap_or_else(PoisonError::into_inner) = rule.clone();
        let own = self.0.trust.current().own().identity.clone();
        self.0.guard.end(|watched| {
            let refusal = rule.check(&own, &watched.certificate.identity).err().filter(|_| watched.accepted)?;
            Some(Ending::refused(Code::Removed, refusal))
        });
    }

    /// Opens a connection to a node and its stream. `attempt` chooses among the addresses.
    pub(crate) async fn dial(&self, target: &Target, attempt: u64) -> Result<Line, Ending> {
        let count = target.addresses.len().max(1) as u64;
        let Some(&address) = target.addresses.get((attempt % count) as usize) else {
            return Err(Ending::new(None, format!("{} has no address", target.name), "configure one"));
        };
        let of_family =
            |socket: &&quinn::Endpoint| socket.local_addr().is_ok_and(|local| local.is_ipv4() == address.is_ipv4());
        let Some(socket) = self.0.sockets.iter().find(of_family) else {
            let why = format!("no socket of the family of {address}");
            return Err(Ending::new(None, why, "listen on an address of that family, or give another address"));
        };
        let material = self.0.trust.current();
        let rule = Rule::Dialled { role: target.role, name: target.name.clone() };
        let mut config = ClientConfig::new(Arc::new(material.client_tls(rule)));
        config.transport_config(self.0.dialling.clone());
        let connecting = socket.connect_with(config, address, NO_SERVER_NAME);
        let connecting = connecting.map_err(|error| Ending::not_dialled(&error))?;
        let connection = connecting.await.map_err(|error| unanswered(target, address, &error))?;
        let (certificate, own_ending) = admit(&self.0, &connection, false)?;
        let stream = connection.open_bi().await.map_err(|error| Ending::of_connection(&error))?;
        Ok(Line::new(connection, stream, own_ending, certificate))
    }

    /// Closes every connection; nobody waits for the others to know.
    pub(crate) fn close_now(&self, code: Code, reason: &str) {
        self.0.closed.send_replace(true);
        for socket in &self.0.sockets {
            socket.close(quinn::VarInt::from_u32(code.number()), reason.as_bytes());
        }
    }

    /// Whether the endpoint is closed, and news of that.
    pub(crate) fn closed(&self) -> watch::Receiver<bool> {
        self.0.closed.subscribe()
    }

    /// Closes every connection and waits, a second at most, until the others know.
    pub async fn close(&self, code: Code, reason: &str) {
        self.close_now(code, reason);
        for socket in &self.0.sockets {
            let _ = timeout(CLOSE_WITHIN, socket.wait_idle()).await;
        }
    }
}

/// An attempt that failed. Silence has many causes, so the words say where to look.
fn unanswered(target: &Target, address: SocketAddr, error: &quinn::ConnectionError) -> Ending {
    match error {
        quinn::ConnectionError::TimedOut => Ending::new(
            None,
            format!("{} {} does not answer at {address}", target.role, target.name),
            "see that it runs, that the address is right, and that UDP passes there",
        ),
        error => Ending::of_connection(error),
    }
}

fn bind_all(addresses: &[SocketAddr], reset: &ResetKey) -> Result<Vec<quinn::Endpoint>, BindError> {
    let bind = |&address: &SocketAddr| bind(address, reset).map_err(|source| BindError { address, source });
    addresses.iter().map(bind).collect()
}

/// A port of each family that the machine has.
fn bind_any(reset: &ResetKey) -> Result<Vec<quinn::Endpoint>, BindError> {
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    match (bind(v4, reset), bind(v6, reset)) {
        (Err(source), Err(_)) => Err(BindError { address: v4, source }),
        (v4, v6) => Ok([v4, v6].into_iter().flatten().collect()),
    }
}

fn bind(address: SocketAddr, reset: &ResetKey) -> io::Result<quinn::Endpoint> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // Each family has its own socket, so that both may listen on the same port.
        socket.set_only_v6(true)?;
    }
    // The kernel gives as much of it as it is allowed to.
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    let socket = Arc::new(BatchedSocket::new(socket.into())?);
    quinn::Endpoint::new_with_abstract_socket(reset.endpoint_config(), None, socket, Arc::new(quinn::TokioRuntime))
}
