//! The command: loads the program that captures, has the daemon put it on, and writes what it finds until told to end.

use std::fs::{self, File as Disk};
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{self, ExitCode};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use slr_daemon::admin::AdminError;
use slr_dataplane::capture::{Capture, Captured, Counts, Filter, Kind, monotonic};

use crate::desk::{LEASE, Order, RENEW_EVERY, Standing};
use crate::label::{self, Reason};
use crate::options::Options;
use crate::pcapng::{File, Side};
use crate::sink::{Sink, Told};

/// The program wakes nobody. The ring holds what comes at 180,000 packets a second in this time, at the usual snap length.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What differs between the daemons.
pub struct Setup<'a, Ask> {
    /// Whose packets.
    pub kind: Kind,
    /// The program, with its version.
    pub application: &'a str,
    /// Only packets that go to this host; a router's.
    pub host: Option<&'a str>,
    /// What usually helps when packets are dropped for a reason, by its number.
    pub remedy: fn(u32) -> Option<&'static str>,
    /// Asks the daemon.
    pub ask: Ask,
}

/// Captures until a signal, the number or the time that was asked for, or the daemon ends it. Exit code 1: the daemon has.
pub fn run<Ask>(setup: &Setup<'_, Ask>, options: &Options) -> Result<ExitCode>
where
    Ask: Fn(Order) -> Result<Standing, AdminError>,
{
    let reasons = label::reasons(setup.kind);
    let numbers = label::numbers(&reasons, &options.reason, options.dropped)?;
    let standing = (setup.ask)(Order::Tell)?;
    if let Some(pid) = standing.pid {
        bail!("process {pid} captures already{}; one can at a time", command_line(pid));
    }
    let filter = Filter {
        reasons: numbers,
        hop: hop_of(setup.host, &standing)?,
        client: options.client,
        virtual_host: options.virtual_host,
        share: options.sample,
        per_s: options.rate,
        snap: options.snap,
    };
    // Before the file is there: it is not emptied for nothing.
    let pins = standing.pins.as_deref().context("the daemon keeps nothing pinned")?;
    let capture = Capture::load(setup.kind, pins).context("cannot load the program that captures")?;
    let sink = sink(setup.application, options, &standing)?;
    let signals = take_over_signals()?;
    let pin = capture.pin(pins, process::id()).with_context(|| format!("cannot pin in {}", pins.display()))?;
    capture.set(&filter, LEASE)?;
    (setup.ask)(Order::Start { pid: process::id() })?;
    drop(pin);
    let interfaces: Vec<&str> = standing.interfaces.values().map(String::as_str).collect();
    eprintln!("capturing on {}; Ctrl-C ends", interfaces.join(", "));
    let now = Instant::now();
    let run = Run {
        setup,
        options,
        reasons,
        filter,
        standing,
        capture,
        sink,
        packets: 0,
        renew_at: now + RENEW_EVERY,
        end_at: options.seconds.map(|s| now + Duration::from_secs(s)),
    };
    run.run(&signals)
}

/// Index of the hop that leads to a host.
fn hop_of(host: Option<&str>, standing: &Standing) -> Result<Option<u16>> {
    let Some(host) = host else { return Ok(None) };
    match standing.hops.iter().find(|(_, name)| *name == host) {
        Some((hop, _)) => Ok(Some(*hop)),
        None => {
            let known: Vec<&str> = standing.hops.values().map(String::as_str).collect();
            bail!("no hop leads to a host `{host}`; there are {}", known.join(", "))
        }
    }
}

/// How another process was started, for people.
fn command_line(pid: u32) -> String {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&words).replace('\0', " ");
    if text.is_empty() { String::new() } else { format!(" ({})", text.trim_end()) }
}

/// Lines where somebody looks on, else a file.
fn sink(application: &str, options: &Options, standing: &Standing) -> Result<Sink> {
    if options.text || (options.out == Path::new("-") && io::stdout().is_terminal()) {
        return Ok(Sink::Lines(Box::new(BufWriter::new(io::stdout()))));
    }
    let comment = format!("captured by {}", std::env::args().collect::<Vec<_>>().join(" "));
    let mut file = File::new(open(&options.out)?, application.to_owned(), comment, options.snap)?;
    for (ifindex, name) in &standing.interfaces {
        file.interface(*ifindex, name, Side::Before)?;
    }
    Ok(Sink::File(file))
}

fn open(path: &Path) -> Result<Box<dyn Write>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufWriter::new(io::stdout())));
    }
    let file = Disk::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(Box::new(BufWriter::new(file)))
}

/// Signals that end a capture are read from a descriptor.
fn take_over_signals() -> Result<SignalFd> {
    let mut ends = SigSet::empty();
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().for_each(|signal| ends.add(signal));
    ends.thread_block().context("cannot take over signals")?;
    SignalFd::with_flags(&ends, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).context("cannot take over signals")
}

/// Why a capture ends.
enum End {
    /// It was told to.
    Asked,
    /// Nobody reads it any more.
    Unread,
    /// The daemon has ended it.
    Daemon(AdminError),
}

struct Run<'a, Ask> {
    setup: &'a Setup<'a, Ask>,
    options: &'a Options,
    reasons: Vec<Reason>,
    filter: Filter,
    standing: Standing,
    capture: Capture,
    sink: Sink,
    packets: u64,
    renew_at: Instant,
    end_at: Option<Instant>,
}

impl<Ask> Run<'_, Ask>
where
    Ask: Fn(Order) -> Result<Standing, AdminError>,
{
    fn run(mut self, signals: &SignalFd) -> Result<ExitCode> {
        let ended = self.until_the_end(signals);
        if !matches!(ended, Ok(End::Daemon(_))) {
            (self.setup.ask)(Order::Stop { pid: process::id() })
                .context("the capture cannot be ended; it ends by itself")?;
        }
        match ended? {
            End::Asked => self.conclude(ExitCode::SUCCESS),
            End::Unread => Ok(ExitCode::SUCCESS),
            End::Daemon(error) => {
                eprintln!("the capture ends: {error}");
                self.conclude(ExitCode::from(1))
            }
        }
    }

    fn until_the_end(&mut self, signals: &SignalFd) -> Result<End> {
        loop {
            let now = Instant::now();
            // Before anything is read: after a pause the ring may be another's for all we know.
            if now >= self.renew_at
                && let Err(error) = self.renew(now)?
            {
                return Ok(End::Daemon(error));
            }
            match self.write_out() {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(End::Unread),
                other => other.with_context(|| format!("cannot write {}", self.options.out.display()))?,
            }
            let is_over = self.end_at.is_some_and(|end| now >= end);
            if is_over || self.is_full() || signals.read_signal().is_ok_and(|signal| signal.is_some()) {
                return Ok(End::Asked);
            }
            self.wait(signals, now)?;
        }
    }

    fn is_full(&self) -> bool {
        self.options.count.is_some_and(|count| self.packets >= count)
    }

    /// Until it is time to look into the ring again, or a signal comes.
    fn wait(&self, signals: &SignalFd, now: Instant) -> Result<()> {
        let due = self.end_at.map_or(now + LOOK_EVERY, |end| end.min(now + LOOK_EVERY));
        let left = due.saturating_duration_since(now).as_millis() + 1;
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut descriptors = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut descriptors, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for packets"),
        }
    }

    /// Says that we are there. The inner error is the daemon's.
    fn renew(&mut self, now: Instant) -> Result<Result<(), AdminError>> {
        let standing = match (self.setup.ask)(Order::Renew { pid: process::id() }) {
            Ok(standing) => standing,
            Err(error) => return Ok(Err(error)),
        };
        // A hop's index may have changed hands; a host that is gone keeps its last one.
        if let Ok(hop) = hop_of(self.setup.host, &standing) {
            self.filter.hop = hop;
        }
        self.standing = standing;
        self.capture.set(&self.filter, LEASE)?;
        self.renew_at = now + RENEW_EVERY;
        Ok(Ok(()))
    }

    /// What was captured so far, into the file.
    fn write_out(&mut self) -> io::Result<()> {
        loop {
            let captured = self.capture.take().map_err(io::Error::other)?;
            if captured.is_empty() || self.is_full() {
                return self.sink.flush();
            }
            let since_1970 = since_1970();
            for packet in &captured {
                if self.is_full() {
                    break;
                }
                self.write(packet, since_1970)?;
                self.packets += 1;
            }
        }
    }

    /// Both frames of a packet. `since_1970`: what the monotonic clock is behind.
    fn write(&mut self, packet: &Captured, since_1970: Duration) -> io::Result<()> {
        let comment = label::comment(&self.reasons, packet, &self.standing.hops);
        let remedy = (self.setup.remedy)(packet.reason);
        let told = Told { comment: &comment, remedy, interfaces: &self.standing.interfaces };
        self.sink.packet(packet.at + since_1970, packet, &told)
    }

    fn conclude(mut self, code: ExitCode) -> Result<ExitCode> {
        if !self.is_full() {
            self.write_out()?; // what came before the program was off the interfaces
        }
        let counts = self.capture.counts()?;
        let missing = self.missing(counts);
        self.sink.finish(monotonic() + since_1970(), counts.limited + counts.lost, &missing)?;
        eprintln!("{} packets captured; {missing}", self.packets);
        Ok(code)
    }

    /// What is not in the file.
    fn missing(&self, counts: Counts) -> String {
        format!(
            "not in the file: {} that nobody looked at, over the rate of {}/s (--rate), and {} for want of room in the ring",
            counts.limited, self.options.rate, counts.lost
        )
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(monotonic())
}
