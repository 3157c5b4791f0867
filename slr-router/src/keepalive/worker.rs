//! The thread: answers in, judgement, questions out, in turns that are [`TICK`] apart.
//!
//! It is a thread of its own and no task of the daemon's loop: a loop that builds rings for 20 ms neither delays a
//! question nor lengthens a round trip. It ends with its [`Keepalives`](super::Keepalives), at the latest one turn later.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use slr_model::NodeName;
use tokio::sync::{mpsc as queue, watch};

use super::prober::{BATCH, Change, Output, Probe, Prober, TICK};
use super::settings::Settings;
use super::sockets::Sockets;
use super::target::Target;
use super::{EdgeCounts, Report};

/// How often the report is renewed: as often as hosts are weighed, for that is when somebody looks.
const REPORT_EVERY: Duration = Duration::from_millis(400);
/// Longest sleep with nothing to do.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What the thread is told.
pub enum Command {
    /// Ask these and no others.
    Watch(Vec<Target>),
    /// Other times, other sockets.
    Configure(Settings, Option<Box<Sockets>>),
}

pub struct Worker {
    pub prober: Prober,
    pub sockets: Sockets,
    pub commands: mpsc::Receiver<Command>,
    /// A byte here says that there is a command; its end says that we are done.
    pub wake: UnixStream,
    pub changes: queue::Sender<Change>,
    pub report: watch::Sender<Arc<Report>>,
    /// Changes that the queue had no room for: the latest of each target, so they are bounded by the targets.
    pub unsent: BTreeMap<(NodeName, IpAddr), Change>,
    pub edge: EdgeCounts,
}

impl Worker {
    /// Until the other end of `wake` is closed.
    pub fn run(mut self) {
        let mut report_due = Instant::now();
        loop {
            let turn = Instant::now();
            if !self.obey(turn) {
                return;
            }
            // Answers before judgement: what came in time counts, however late this turn is.
            self.read();
            self.work();
            self.tell();
            if turn >= report_due {
                self.renew_report();
                report_due = turn + REPORT_EVERY;
            }
            self.sleep(turn, report_due);
        }
    }

    /// Takes commands; false at the end.
    fn obey(&mut self, now: Instant) -> bool {
        let mut bytes = [0; 64];
        if matches!(self.wake.read(&mut bytes), Ok(0)) {
            return false;
        }
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Watch(targets) => {
                    let left_out = self.prober.watch(targets, now);
                    if left_out > 0 {
                        tracing::warn!(left_out, "more keepalive targets than the bound: these are not asked");
                    }
                }
                Command::Configure(settings, sockets) => {
                    self.prober.configure(settings, now);
                    if let Some(sockets) = sockets {
                        self.sockets = *sockets;
                    }
                }
            }
        }
        true
    }

    fn read(&mut self) {
        let read = self.sockets.read(|reply, received| self.prober.handle_input(reply, received));
        self.edge.malformed += read.malformed;
        self.edge.read_errors += read.failed;
    }

    /// All that is due, a batch at a time: each has its own time stamp.
    fn work(&mut self) {
        loop {
            let now = Instant::now();
            self.prober.handle_timeout(now);
            let mut probes: Vec<Probe> = Vec::with_capacity(BATCH);
            while let Some(output) = self.prober.poll_output() {
                match output {
                    Output::Send(probe) => probes.push(probe),
                    Output::Changed(change) => {
                        self.unsent.insert((change.name.clone(), change.address), change);
                    }
                }
            }
            if !probes.is_empty() {
                self.edge.unsendable += self.sockets.send(&probes) as u64;
            }
            if self.prober.poll_timeout().is_none_or(|at| at > now) {
                return;
            }
        }
    }

    /// Tells changes, as far as the queue has room. The rest has its turn later.
    fn tell(&mut self) {
        while let Some((key, change)) = self.unsent.pop_first() {
            if self.changes.try_send(change.clone()).is_err() {
                self.unsent.insert(key, change);
                return;
            }
        }
    }

    fn renew_report(&mut self) {
        let (targets, counts, edge) = (self.prober.report(), self.prober.counts(), self.edge);
        // The old one is dropped here and not by whoever reads: the daemon's loop does not free a thousand names.
        drop(self.report.send_replace(Arc::new(Report { targets, counts, edge })));
    }

    /// Until something is due or comes in, and a tick at least: many answers are one turn, and one wake-up.
    fn sleep(&mut self, turn: Instant, report_due: Instant) {
        std::thread::sleep((turn + TICK).saturating_duration_since(Instant::now()));
        let due = self.prober.poll_timeout().map_or(report_due, |at| at.min(report_due));
        let now = Instant::now();
        let timeout = due.saturating_duration_since(now).min(SLEEP_MAX);
        let mut wait: Vec<PollFd> = vec![PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        wait.extend(self.sockets.descriptors().map(|socket| PollFd::new(socket, PollFlags::POLLIN)));
        if ppoll(&mut wait, Some(TimeSpec::from_duration(timeout)), None).is_err() {
            tracing::debug!("keepalives: the wait was interrupted");
        }
    }
}
