//! Keepalives through the tunnels: is the path to a host alive, how long is it, how much does it lose?
//!
//! A question goes through the tunnel to the host, whose XDP program answers it straight back: neither an overloaded host
//! nor a restarting hostd looks dead, but a dead host, a broken link or tunnel does. [`Prober`] decides, pure;
//! [`Keepalives`] is its thread with sockets; the daemon's loop tells it whom to ask and hears what changes.
//!
//! ```text
//!   daemon ── watch(targets), configure ──► thread: Prober + Sockets ══ tunnel ══► host's XDP
//!          ◄── next(): Alive | Lost ─────            ▲                                │
//!          ◄── report(): rtt, loss ──────            └───────── the answer ───────────┘
//! ```

mod datagram;
mod prober;
mod secret;
mod settings;
mod sockets;
mod target;
#[cfg(test)]
mod tests;
mod window;
mod worker;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use thiserror::Error;
use tokio::sync::{mpsc as queue, watch};

pub use prober::{Change, TargetReport};
pub use settings::Settings;
pub use sockets::Addresses;
pub use target::{Path, Target};

use prober::{Counts, Prober};
use secret::Secret;
use sockets::{SocketError, Sockets};
use worker::{Command, Worker};

/// Changes that wait for the daemon's loop. Beyond that the thread keeps the latest of each target.
const CHANGES_MAX: usize = 1_024;

/// Everything that is known, as of a moment ago.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Every target, by name and address.
    pub targets: Vec<TargetReport>,
    /// What became of probes and answers.
    pub counts: Counts,
    /// What went wrong at the sockets.
    pub edge: EdgeCounts,
}

/// What went wrong at the sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EdgeCounts {
    /// Probes that could not be sent: no source prefix or address of ours of the family, no route, no room. They count as
    /// unanswered.
    pub unsendable: u64,
    /// Datagrams at the answers' port that are no answers.
    pub malformed: u64,
    /// System calls that failed.
    pub read_errors: u64,
}

/// Why keepalives cannot begin.
#[derive(Debug, Error)]
pub enum StartError {
    /// No sockets.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// No thread, no randomness, no descriptors.
    #[error("cannot start the keepalive thread: {0}")]
    System(#[from] io::Error),
}

/// The thread has ended, which it does not do by itself: a bug.
#[derive(Debug, Error)]
#[error("the keepalive thread has failed; the log says why")]
pub struct Ended;

/// Asks hosts until it is dropped.
#[derive(Debug)]
pub struct Keepalives {
    settings: Settings,
    addresses: Addresses,
    commands: mpsc::Sender<Command>,
    wake: Option<UnixStream>,
    changes: queue::Receiver<Change>,
    report: watch::Receiver<Arc<Report>>,
    thread: Option<JoinHandle<()>>,
}

impl Keepalives {
    /// Starts, without targets, in the network namespace of this thread.
    pub fn start(settings: Settings, addresses: Addresses) -> Result<Self, StartError> {
        let sockets = Sockets::open(&addresses)?;
        let (wake, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        let (commands, orders) = mpsc::channel();
        let (told, changes) = queue::channel(CHANGES_MAX);
        let (renew, report) = watch::channel(Arc::default());
        let worker = Worker {
            prober: Prober::new(settings, random_secret()?, Instant::now()),
            sockets,
            commands: orders,
            wake: woken,
            changes: told,
            report: renew,
            unsent: BTreeMap::new(),
            edge: EdgeCounts::default(),
        };
        let thread = std::thread::Builder::new().name("keepalives".into()).spawn(move || worker.run())?;
        Ok(Self { settings, addresses, commands, wake: Some(wake), changes, report, thread: Some(thread) })
    }

    /// Asks these from now on, and no others. Those asked already keep what is known of them; a new one is
    /// [`Path::Unknown`] and changes from that.
    pub fn watch(&self, targets: Vec<Target>) {
        self.order(Command::Watch(targets));
    }

    /// Other times or addresses, from now on. If the sockets cannot be had, everything stays as it is.
    pub fn configure(&mut self, settings: Settings, addresses: Addresses) -> Result<(), StartError> {
        let sockets = if addresses == self.addresses { None } else { Some(Box::new(Sockets::open(&addresses)?)) };
        (self.settings, self.addresses) = (settings, addresses);
        self.order(Command::Configure(settings, sockets));
        Ok(())
    }

    /// The next change. Cancel-safe.
    pub async fn next(&mut self) -> Result<Change, Ended> {
        self.changes.recv().await.ok_or(Ended)
    }

    /// Every target's path and figures, at most 0.4 s old.
    pub fn report(&self) -> Arc<Report> {
        Arc::clone(&self.report.borrow())
    }

    fn order(&self, command: Command) {
        // A thread that has ended shows in `next`. A full pipe has woken it already.
        let _ = self.commands.send(command);
        let _ = self.wake.as_ref().map(|mut wake| wake.write(&[0]));
    }
}

impl Drop for Keepalives {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the keepalive thread had failed");
        }
    }
}

fn random_secret() -> io::Result<Secret> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight of sixteen"));
    Ok(Secret::new([word(0), word(8)]))
}
