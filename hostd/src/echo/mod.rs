//! Flows that stall are told to their clients, who tell a router: the augmented echo (docs/wire.md; the seed's Fig. 10).
//!
//! ```text
//!   kernel ── stalls ──► thread: Sweeper, Echoes, Sockets ── echo request ──► client
//!                             ▲                                                  │ echo reply
//!                             └── through its tunnel ◄── a router, which learns ◄┘ the flow again
//! ```
//!
//! A thread of its own: a sweep every few milliseconds neither waits for the daemon's loop nor delays it. [`Echoes`] decides,
//! pure; [`sockets`] and the data plane's sweeper are its edges.
//!
//! [`Echoes`]: slr_session::echoes::Echoes

mod keys;
mod sockets;
mod ways;
mod worker;

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use slr_dataplane::host::Host;
use slr_model::NodeName;
use slr_session::echoes::{Counters, Echoes, Rates};
use slr_wire::FlowKeys;
use tokio::sync::watch;

use keys::Keys;
use sockets::Sockets;
pub use ways::Asked;
use worker::{Command, Worker};

/// What the thread has done, and is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What became of stalls.
    pub counters: Counters,
    /// What went wrong at the edges.
    pub edge: EdgeCounts,
    /// Flows that speak.
    pub watched: usize,
    /// Flows that are asked about now.
    pub asking: usize,
    /// Sweeps so far.
    pub sweeps: u64,
    /// Time that they took.
    pub swept_for: Duration,
    /// Epoch of the newest keys; `None`: no router has given any.
    pub epoch: Option<u32>,
}

/// What went wrong at the edges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EdgeCounts {
    /// Echoes that were not sent: no router has given a key for the subnet.
    pub without_key: u64,
    /// Datagrams that the kernel did not take.
    pub unsendable: u64,
    /// Messages that look like an answer and are none of ours: malformed, or of another key.
    pub forged: u64,
}

/// The thread, until it is dropped.
pub struct EchoThread {
    commands: mpsc::Sender<Command>,
    wake: Option<UnixStream>,
    report: watch::Receiver<Report>,
    thread: Option<JoinHandle<()>>,
}

impl EchoThread {
    /// Starts, without keys, in the network namespace of this thread.
    pub fn start(name: &NodeName, host: &Host, rates: Rates) -> Result<Self> {
        let sockets = Sockets::open().context("cannot open raw sockets for echoes; they need CAP_NET_RAW")?;
        let sweeper = host.sweeper().context("flows cannot be watched for stalls")?;
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let (commands, orders) = mpsc::channel();
        let (renew, report) = watch::channel(Report::default());
        let worker =
            Worker::new(Keys::of(name.clone()), sockets, sweeper, Echoes::new(rates, serial()?), orders, woken, renew);
        let thread = std::thread::Builder::new().name("echoes".into()).spawn(move || worker.run())?;
        Ok(Self { commands, wake: Some(wake), report, thread: Some(thread) })
    }

    /// A router grants keys.
    pub fn grant(&self, router: NodeName, keys: FlowKeys) {
        self.order(Command::Grant(router, keys));
    }

    /// Other rates, from now on.
    pub fn set_rates(&self, rates: Rates) {
        self.order(Command::Rates(rates));
    }

    /// Try the way out.
    pub fn try_ways(&self, asked: Asked) {
        self.order(Command::Try(asked));
    }

    /// At most a second old.
    pub fn report(&self) -> Report {
        *self.report.borrow()
    }

    fn order(&self, command: Command) {
        // A thread that has ended shows in the log. A full pipe has woken it already.
        let _ = self.commands.send(command);
        let _ = self.wake.as_ref().map(|mut wake| wake.write(&[0]));
    }
}

impl Drop for EchoThread {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread of the echoes had failed");
        }
    }
}

/// Greater than what an earlier process has used, unless the clock was set back: nanoseconds since 1970.
fn serial() -> io::Result<u64> {
    let past = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?;
    u64::try_from(past.as_nanos()).map_err(io::Error::other)
}
