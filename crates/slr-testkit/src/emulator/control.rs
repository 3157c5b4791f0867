//! The control socket: one JSON request per message, one JSON reply per message (`SOCK_SEQPACKET`, so neither side frames).

use super::{Counters, PROTOCOL_VERSION, Shape, ShapeChange};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// The largest message: a reply about some 250 links.
pub(super) const MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// The emulator answers between two batches of frames; this is far more.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a client asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Report all links.
    Show,
    /// Change a link.
    Change {
        /// One end's node.
        a: String,
        /// The other end's node.
        b: String,
        /// Only the direction that leaves this node; `None` is both.
        from: Option<String>,
        /// What to change.
        change: ShapeChange,
    },
}

/// What the emulator answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// [`PROTOCOL_VERSION`] of the emulator.
    pub version: u32,
    /// All links, or why not.
    pub links: Result<Vec<LinkReport>, String>,
}

/// One emulated link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinkReport {
    /// Node at the A end.
    pub a: String,
    /// Node at the B end.
    pub b: String,
    /// From A to B.
    pub a_to_b: DirectionReport,
    /// From B to A.
    pub b_to_a: DirectionReport,
}

/// One direction of an emulated link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DirectionReport {
    /// The emulation in force.
    pub shape: Shape,
    /// What happened to its frames.
    pub counters: Counters,
}

/// Sends one request to the emulator behind `socket` and returns the state of all links after it.
pub fn ask(socket: &Path, request: &Request) -> Result<Vec<LinkReport>> {
    let mut connection = Socket::new(Domain::UNIX, Type::SEQPACKET, None).context("open a control socket")?;
    connection.set_read_timeout(Some(REPLY_TIMEOUT))?;
    connection
        .connect(&SockAddr::unix(socket)?)
        .with_context(|| format!("connect to the link emulator at {}: is the lab up?", socket.display()))?;
    connection.send(&serde_json::to_vec(request)?).context("send to the link emulator")?;
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    let len = connection.read(&mut buffer).context("no answer from the link emulator")?;
    let reply: Reply = serde_json::from_slice(&buffer[..len]).context("answer of the link emulator")?;
    if reply.version != PROTOCOL_VERSION {
        bail!("the link emulator speaks version {}, we speak {PROTOCOL_VERSION}: rebuild slr-linkemu", reply.version);
    }
    reply.links.map_err(anyhow::Error::msg)
}
