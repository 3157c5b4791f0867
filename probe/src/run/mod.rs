//! `probe run`: opens flows, keeps their number, and reports what became of them.
//!
//! Everything runs on one thread: a task per concurrent flow (a *slot*, in which one finite flow follows another), one
//! that measures the thread's own lateness, one that watches for SIGINT, one that shows progress. A run is over when
//! the duration has passed, when the finite kinds have used up their budgets, or at SIGINT; then `stop` is set, flows
//! finish what they are at within their own time limits, and the report is made.

mod args;
mod clock;
mod connection;
mod environment;
mod failure;
mod flow;
mod flows_out;
pub mod histogram;
mod identity;
pub mod kind;
mod lateness;
pub mod ledger;
mod plan;
mod progress;
pub mod report;
mod source;
mod table;
mod tally;
mod tcp_info;
mod timeline;

use std::{
    cell::{Cell, RefCell},
    io::{self, Write},
    rc::Rc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use tokio::{
    sync::watch,
    task::{JoinHandle, LocalSet, spawn_local},
    time::sleep,
};

pub use args::RunArgs;
use environment::{Environment, Group};
use flow::Flow;
use flows_out::FlowsOut;
use identity::Identities;
use lateness::Lateness;
use ledger::Ledger;
pub use report::Report;
use source::Sources;

/// Pause of a slot whose flow failed: a refused connect fails in microseconds, and retried at once would be a flood.
const FAILURE_PAUSE: Duration = Duration::from_millis(10);

/// Makes the run and prints its report; true when nothing failed.
pub fn run(args: RunArgs) -> Result<bool> {
    crate::limits::raise_descriptor_limit();
    let json = args.json;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    let report = LocalSet::new().block_on(&runtime, conduct(args))?;
    let mut out = io::stdout().lock();
    match json {
        true => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
        false => writeln!(out, "{}", table::show(&report))?,
    }
    Ok(report.ok)
}

async fn conduct(args: RunArgs) -> Result<Report> {
    let mut session = Session::start(args, None)?;
    let has_finite = !session.finite.is_empty();
    join(std::mem::take(&mut session.finite)).await?;
    if has_finite {
        session.stop();
    }
    session.finish().await
}

/// What a drill wants beyond an ordinary run.
pub struct DrillTraffic {
    /// Time over which idle flows speak again once they are woken.
    pub idle_spread: Duration,
    /// Pause between two flows of the http kind in one slot.
    pub pause: Duration,
}

/// Flows under way.
pub struct Session {
    environment: Rc<Environment>,
    groups: Vec<Rc<Group>>,
    stop: Rc<watch::Sender<bool>>,
    wake: watch::Sender<bool>,
    finite: Slots,
    lasting: Slots,
    aside: [JoinHandle<()>; 4],
    lateness: Rc<RefCell<Lateness>>,
    interrupted: Rc<Cell<bool>>,
    started_at_unix_ms: u64,
}

impl Session {
    /// Opens the flows; for a drill everything about them is kept. Inside a `LocalSet`.
    pub fn start(args: RunArgs, drill: Option<DrillTraffic>) -> Result<Self> {
        let plans = plan::groups(&args)?;
        let groups: Vec<_> = plans.into_iter().map(|plan| Group::new(plan, &args)).collect();
        let ((stop, stopped), (wake, woken)) = (watch::channel(false), watch::channel(false));
        let stop = Rc::new(stop);
        let environment = Rc::new(environment(args, stopped, woken, drill)?);
        let started_at_unix_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_millis() as u64);
        let lateness = Rc::new(RefCell::new(Lateness::new()));
        let interrupted = Rc::new(Cell::new(false));
        let aside = [
            spawn_local(lateness::measure(Rc::clone(&lateness))),
            spawn_local(progress::show(groups.clone(), environment.began)),
            spawn_local(watch_for_interrupt(Rc::clone(&stop), Rc::clone(&interrupted))?),
            spawn_local(stop_after(environment.args.duration, Rc::clone(&stop))),
        ];
        let (finite, lasting) = open_slots(&environment, &groups);
        Ok(Self { environment, groups, stop, wake, finite, lasting, aside, lateness, interrupted, started_at_unix_ms })
    }

    /// Has idle flows speak again.
    pub fn wake(&self) {
        self.wake.send_replace(true);
    }

    /// Starts nothing new.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// The book of a drill's flows.
    pub fn ledger(&self) -> Option<&Ledger> {
        self.environment.ledger.as_ref()
    }

    /// Waits until the run is over, by its duration or by a signal.
    pub fn until_stopped(&self) -> impl Future<Output = ()> + use<> {
        self.environment.until_stopped()
    }

    /// A signal ended the run.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.get()
    }

    /// Waits for the last flow to end, and tells what became of all.
    pub async fn finish(&mut self) -> Result<Report> {
        join(std::mem::take(&mut self.finite)).await?;
        join(std::mem::take(&mut self.lasting)).await?;
        for task in &self.aside {
            task.abort();
        }
        if let Some(out) = &self.environment.flows_out {
            out.borrow_mut().finish()?;
        }
        let (lateness, interrupted) = (self.lateness.borrow(), self.interrupted.get());
        Ok(Report::new(&self.environment, &self.groups, &lateness, self.started_at_unix_ms, interrupted))
    }
}

fn environment(
    args: RunArgs,
    stop: watch::Receiver<bool>,
    wake: watch::Receiver<bool>,
    drill: Option<DrillTraffic>,
) -> Result<Environment> {
    // The time of the start keeps late datagrams of an earlier run with the same seed from passing for this run's.
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_nanos() as u64);
    let began = Instant::now();
    Ok(Environment {
        sources: Sources::new(&args.source_ranges, args.source_freebind)?,
        flows_out: args.flows_out.as_deref().map(FlowsOut::create).transpose()?.map(RefCell::new),
        identities: RefCell::new(Identities::default()),
        pattern: crate::pattern::Pattern::new(),
        began,
        stop,
        wake,
        nonces: Cell::new(since_epoch),
        ledger: drill.is_some().then(|| Ledger::new(began)),
        idle_spread: drill.as_ref().map_or(args.interval, |drill| drill.idle_spread),
        pause: drill.as_ref().map_or(Duration::ZERO, |drill| drill.pause),
        args,
    })
}

type Slots = Vec<JoinHandle<()>>;

/// Starts a task per concurrent flow: those of kinds that come to an end, and those that last as long as the run.
fn open_slots(environment: &Rc<Environment>, groups: &[Rc<Group>]) -> (Slots, Slots) {
    let total: u32 = groups.iter().map(|group| group.plan.flows).sum();
    let (mut finite, mut lasting) = (Vec::new(), Vec::new());
    let mut opened = 0;
    for group in groups {
        for number in 0..group.plan.flows {
            let delay = environment.args.ramp * opened / total;
            opened += 1;
            let task = spawn_local(slot(Rc::clone(environment), Rc::clone(group), number, delay));
            if group.plan.kind.is_finite() { finite.push(task) } else { lasting.push(task) }
        }
    }
    (finite, lasting)
}

/// Keeps one flow open: the same one, or one after another while there is work left.
async fn slot(environment: Rc<Environment>, group: Rc<Group>, number: u32, delay: Duration) {
    if !delay.is_zero() {
        tokio::select! {
            () = sleep(delay) => {}
            () = environment.until_stopped() => return,
        }
    }
    let kind = group.plan.kind;
    let mut scratch = kind::Scratch::new(kind);
    while !environment.is_stopped() && (!kind.is_finite() || group.take()) {
        let mut flow = Flow::begin(&environment, &group, number);
        let result = kind::drive(&mut flow, &mut scratch).await;
        let failed = result.is_err();
        flow.end(result);
        if !kind.is_finite() {
            return;
        }
        let between = if kind == kind::FlowKind::Http { environment.pause } else { Duration::ZERO };
        let pause = if failed { environment.pause.max(FAILURE_PAUSE) } else { between };
        if !pause.is_zero() {
            tokio::select! {
                () = sleep(pause) => {}
                () = environment.until_stopped() => {}
            }
        }
    }
}

async fn join(slots: Slots) -> Result<()> {
    for slot in slots {
        slot.await.context("a flow's task ended abnormally")?;
    }
    Ok(())
}

/// Sets `stop` when the duration has passed, if there is one.
async fn stop_after(duration: Option<Duration>, stop: Rc<watch::Sender<bool>>) {
    if let Some(duration) = duration {
        sleep(duration).await;
        stop.send_replace(true);
    }
}

/// The first SIGINT or SIGTERM ends the run with its report; the second ends the process.
fn watch_for_interrupt(
    stop: Rc<watch::Sender<bool>>,
    interrupted: Rc<Cell<bool>>,
) -> Result<impl Future<Output = ()> + use<>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if interrupted.replace(true) {
                std::process::exit(2);
            }
            eprintln!("probe: interrupted; finishing what is open (again to give up at once)");
            stop.send_replace(true);
        }
    })
}
