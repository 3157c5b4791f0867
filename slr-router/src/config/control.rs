//! What the control plane is configured with: who may connect, how often is advertised, when silence means something.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use slr_model::NodeName;
use slr_wire::FlowSecret;

/// Where the state that outlives the daemon is kept when the configuration names no place.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/slr-router";

/// `[control]` and the routers that it connects with.
#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    /// Where children and peers connect.
    pub listen: Vec<SocketAddr>,
    /// Certificate of the trust domain's authority.
    pub ca: PathBuf,
    /// This router's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Certificates that are no longer good.
    pub crl: Option<PathBuf>,
    /// Folder of what outlives the daemon.
    pub state_dir: PathBuf,
    /// How often children advertise.
    pub advert_interval: Duration,
    /// How long after a child's last advert it is silent.
    pub silent_after: Duration,
    /// How long a silent host keeps its place, while we see how many others fell silent with it.
    pub vanish_window: Duration,
    /// How long hosts of the daemon before us hold while their sessions come back.
    pub adopt_hold: Duration,
    /// How long a silent host is remembered.
    pub forget_after: Duration,
    /// The cluster's other members.
    pub peers: Vec<Neighbour>,
    /// Routers of the tier above.
    pub parents: Vec<Neighbour>,
    /// Routers of other clusters, in front of the same virtual subnets: they are asked about flows that nobody here knows.
    pub neighbours: Vec<Neighbour>,
    /// Whether peers and neighbours are asked about such flows.
    pub ask_others: bool,
    /// What the trust domain's routers share, to know what a host says of its flows by way of their clients; `None`: such words are
    /// not taken, and hosts are granted no keys for them.
    pub flow_secret: Option<FlowSecret>,
    /// How long keys made of it are granted.
    pub flow_key_rotation: Duration,
}

/// Another router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name, which its certificate must say.
    pub name: NodeName,
    /// Where it listens, tried in turn.
    pub addresses: Vec<SocketAddr>,
}

/// `[keepalive]`: how the way to each host is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Between two probes of a host.
    pub interval: Duration,
    /// How long an answer may take.
    pub reply_wait: Duration,
    /// So many in a row without an answer, those that insist among them, and the way is lost.
    pub lost_after: u32,
}
