//! The thread: commands and answers in, sweeps, judgement, echoes and nudges out.

use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use slr_dataplane::host::{StallKind, Sweeper, TcpState};
use slr_model::{FlowKey, NodeName};
use slr_session::echoes::{Due, Echoes, Output, Rates};
use slr_wire::{AdvertKey, FlowAdvert, FlowAdvertError, FlowKeys, datagram};
use tokio::sync::watch;

use super::Report;
use super::keys::Keys;
use super::sockets::Sockets;
use super::ways::{Asked, Source, Trials};
use crate::status::WayOutcome;

/// Between two sweeps while flows speak: what a stall is found late by.
const SWEEP_EVERY: Duration = Duration::from_millis(10);
/// A sweep that takes long is followed by so many times its length without one, so that sweeps take a tenth of a core at most.
const SWEEP_REST: u32 = 9;
/// After a sweep that failed.
const SWEEP_AGAIN: Duration = Duration::from_secs(1);
/// How often the report is renewed.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// What the thread is told.
pub enum Command {
    /// A router has granted keys.
    Grant(NodeName, FlowKeys),
    /// How many echoes.
    Rates(Rates),
    /// Try the way out.
    Try(Asked),
}

/// Whether there is anything to sweep.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sweeping {
    At(Instant),
    /// No flow speaks: the first that does makes the sweeper's descriptor readable.
    Asleep,
}

pub struct Worker {
    keys: Keys,
    sockets: Sockets,
    sweeper: Sweeper,
    echoes: Echoes<TcpState>,
    trials: Trials,
    commands: mpsc::Receiver<Command>,
    /// A byte here says that there is a command; its end says that we are done.
    wake: UnixStream,
    renew: watch::Sender<Report>,
    report: Report,
    report_at: Instant,
    sweeping: Sweeping,
    sequence: u16,
}

impl Worker {
    pub fn new(
        keys: Keys,
        sockets: Sockets,
        sweeper: Sweeper,
        echoes: Echoes<TcpState>,
        commands: mpsc::Receiver<Command>,
        wake: UnixStream,
        renew: watch::Sender<Report>,
    ) -> Self {
        let (report, report_at, sweeping) = (Report::default(), Instant::now(), Sweeping::At(Instant::now()));
        let trials = Trials::default();
        Self { keys, sockets, sweeper, echoes, trials, commands, wake, renew, report, report_at, sweeping, sequence: 0 }
    }

    /// Until the other end of `wake` is closed.
    pub fn run(mut self) {
        while self.obey() {
            // Answers before sweeps: who has answered is not asked again.
            self.read();
            self.sweep();
            self.act();
            self.try_ways();
            self.renew_report();
            self.sleep();
        }
    }

    /// Takes commands; false at the end.
    fn obey(&mut self) -> bool {
        let mut bytes = [0; 64];
        if matches!(self.wake.read(&mut bytes), Ok(0)) {
            return false;
        }
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Grant(router, keys) => self.keys.grant(router, keys),
                Command::Rates(rates) => self.echoes.set_rates(rates),
                Command::Try(asked) => self.trials.begin(Instant::now(), asked),
            }
        }
        true
    }

    fn read(&mut self) {
        let now = Instant::now();
        let Self { sockets, keys, echoes, trials, report, .. } = self;
        sockets.read(|bytes| match keys.own(bytes) {
            Some(advert) if trials.answered(now, advert.serial) => {}
            Some(advert) => echoes.answered(now, advert.serial),
            None => report.edge.forged += 1,
        });
    }

    fn sweep(&mut self) {
        let begun = Instant::now();
        if self.sweeping == Sweeping::Asleep && self.is_called() {
            self.sweeping = Sweeping::At(begun);
        }
        let Sweeping::At(at) = self.sweeping else { return };
        if at > begun {
            return;
        }
        // What speaks between the look and the sleep wakes nobody: look again.
        let is_silent = self.sweep_once(begun).and_then(|watched| {
            Ok(watched == 0 && self.sweeper.sleep().is_ok() && self.sweep_once(Instant::now())? == 0)
        });
        match is_silent {
            Ok(true) => {
                self.sweeping = Sweeping::Asleep;
                return;
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!("flows cannot be looked at for stalls: {error}");
                self.sweeping = Sweeping::At(begun + SWEEP_AGAIN);
                return;
            }
        }
        let took = begun.elapsed();
        self.sweeping = Sweeping::At(begun + SWEEP_EVERY.max(took * (1 + SWEEP_REST)));
    }

    /// How many flows speak.
    fn sweep_once(&mut self, now: Instant) -> io::Result<usize> {
        let swept = self.sweeper.sweep()?;
        swept.over.iter().for_each(|flow| self.echoes.over(flow));
        for stall in &swept.stalled {
            let due = if stall.kind == StallKind::Receiving { Due::Expected } else { Due::Owed };
            tracing::debug!(flow = %stall.flow, kind = ?stall.kind, quiet = ?stall.quiet, srtt = ?stall.srtt, "stalled");
            self.echoes.stalled(now, stall.flow, due, stall.srtt, stall.tcp);
        }
        self.report.sweeps += 1;
        self.report.swept_for += now.elapsed();
        self.report.watched = swept.watched;
        Ok(swept.watched)
    }

    fn act(&mut self) {
        self.echoes.handle_timeout(Instant::now());
        while let Some(output) = self.echoes.poll_output() {
            match output {
                Output::Ask { serial, flows } => self.ask(serial, &flows),
                Output::Nudge { flow, state } => {
                    let sequence = state.snd_una.wrapping_sub(1);
                    if let Some(segment) = datagram::nudge(flow, sequence, state.rcv_nxt, state.timestamps) {
                        self.send(flow, &segment);
                    }
                }
            }
        }
    }

    fn try_ways(&mut self) {
        let mut trials = std::mem::take(&mut self.trials);
        trials.handle_timeout(Instant::now(), |flow, source| {
            let serial = self.echoes.take_serial();
            let (advert, key) = self.keys.advert(serial, &[flow]).ok_or(WayOutcome::NoKey)?;
            let from = match source {
                Source::Virtual => advert.virtual_address,
                Source::Own(address) => address,
            };
            let unsendable = |why: String| WayOutcome::Unsendable(why);
            let datagram = self.request(&advert, &key, from).map_err(|error| unsendable(error.to_string()))?;
            self.sockets.send(advert.client, &datagram).map_err(|error| unsendable(error.to_string()))?;
            Ok(serial)
        });
        self.trials = trials;
    }

    fn ask(&mut self, serial: u64, flows: &[FlowKey]) {
        let Some((advert, key)) = self.keys.advert(serial, flows) else {
            self.report.edge.without_key += 1;
            return;
        };
        match self.request(&advert, &key, advert.virtual_address) {
            Ok(datagram) => self.send(flows[0], &datagram),
            Err(error) => tracing::error!("an echo cannot be made, which is a bug: {error}"),
        }
    }

    /// An echo request to the client, with its IP header.
    fn request(&mut self, advert: &FlowAdvert, key: &AdvertKey, from: IpAddr) -> Result<Vec<u8>, FlowAdvertError> {
        // A fresh identifier each time: a translator on the way makes a new mapping, and does not take it for an old one's late answer.
        self.sequence = self.sequence.wrapping_add(1);
        let message = advert.echo_request_from(from, key, self.sequence, advert.serial as u16)?;
        Ok(datagram::icmp(from, advert.client, &message))
    }

    fn send(&mut self, flow: FlowKey, datagram: &[u8]) {
        if let Err(error) = self.sockets.send(flow.client().ip(), datagram) {
            self.report.edge.unsendable += 1;
            tracing::debug!(%flow, "an echo or a nudge was not sent: {error}");
        }
    }

    fn renew_report(&mut self) {
        let now = Instant::now();
        if now < self.report_at {
            return;
        }
        self.report_at = now + REPORT_EVERY;
        self.report.counters = self.echoes.counters();
        self.report.asking = self.echoes.asking();
        self.report.epoch = self.keys.epoch();
        self.renew.send_replace(self.report);
    }

    /// Whether a flow has spoken since the sweeper fell asleep.
    fn is_called(&mut self) -> bool {
        let called = wait(&[self.sweeper_fd()], Some(Duration::ZERO));
        if called {
            let _ = self.sweeper.wake();
        }
        called
    }

    /// Until something is due or comes in.
    fn sleep(&self) {
        let sweep = if let Sweeping::At(at) = self.sweeping { Some(at) } else { None };
        let report = (self.report.counters != self.echoes.counters()).then_some(self.report_at);
        let due = [sweep, self.echoes.poll_timeout(), self.trials.poll_timeout(), report].into_iter().flatten().min();
        let [v4, v6] = self.sockets.descriptors();
        let mut descriptors = vec![self.wake.as_fd(), v4, v6];
        if self.sweeping == Sweeping::Asleep {
            descriptors.push(self.sweeper_fd());
        }
        wait(&descriptors, due.map(|at| at.saturating_duration_since(Instant::now())));
    }

    fn sweeper_fd(&self) -> BorrowedFd<'_> {
        self.sweeper.as_fd()
    }
}

/// Whether one of them became readable; `None`: as long as it takes.
fn wait(descriptors: &[BorrowedFd<'_>], timeout: Option<Duration>) -> bool {
    let mut wait: Vec<PollFd> = descriptors.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    matches!(ppoll(&mut wait, timeout.map(TimeSpec::from_duration), None), Ok(1..))
}
