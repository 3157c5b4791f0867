//! What came out, for people and for programs.

use serde::{Deserialize, Serialize};
use slr_daemon::table::Table;

use super::restart::Restart;
use super::timing::Changes;
use crate::machine::{Machine, Noise};
use crate::statistics::Spread;
use crate::target::{Measure, Target, Verdict};
use crate::usage::{CpuShare, Memory};

/// Of a core, with a thousand hosts.
const CPU: Target = Target { measure: Measure::CorePercent, limit: 10.0 };
/// Resident at most.
const MEMORY: Target = Target { measure: Measure::MemoryMb, limit: 150.0 };
/// From a host's word to the rings, 99 of 100 times.
const CHANGE: Target = Target { measure: Measure::ChangeMs, limit: 100.0 };

/// All of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What it ran on.
    pub machine: Machine,
    /// What else ran; the hosts' process is among it.
    pub noise: Noise,
    /// Simulated hosts.
    pub hosts: usize,
    /// The router's memory before the first host.
    pub idle: Memory,
    /// And at the end.
    pub memory: Memory,
    /// CPU time under each kind of load.
    pub loads: Vec<Load>,
    /// Time from advert to ring.
    pub changes: Changes,
    /// Restarts of the router.
    pub restarts: Vec<Restart>,
}

/// CPU time under one kind of load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// `steady`: adverts say the same again and again; `drifting`: each has other loads than the last.
    pub kind: String,
    /// The router's process.
    pub router: CpuShare,
    /// Its memory afterwards.
    pub memory: Memory,
    /// The hosts' process, in per cent of a core.
    pub hosts_percent: f64,
    /// Keepalives that were answered, a second.
    pub keepalives_per_s: f64,
    /// Times that rings were published.
    pub publications: u64,
    /// Slots of all rings that went elsewhere in the end than at the beginning.
    pub slots_moved: u64,
    /// Connections that were lost meanwhile: none should be.
    pub sessions_lost: u64,
}

impl Report {
    /// The targets, in the order of the table.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts: Vec<Verdict> = self.loads.iter().map(|load| CPU.judge(load.router.percent)).collect();
        verdicts.push(MEMORY.judge(self.loads.iter().map(|load| load.memory.peak_mb).fold(0.0, f64::max)));
        verdicts.push(CHANGE.judge(Spread::of(&self.changes.out_ms).p99));
        verdicts
    }

    /// For a terminal.
    pub fn table(&self) -> String {
        let mut table = Table::new(["what", "measured", "target", ""]);
        let mut row = |what: String, measured: String, verdict: Option<&Verdict>| {
            let limit = verdict.map(Verdict::limit_text).unwrap_or_default();
            let outcome = verdict.map(Verdict::outcome).unwrap_or_default();
            table.row([what, measured, limit, outcome.to_owned()]);
        };
        let verdicts = self.verdicts();
        let (cpu, rest) = verdicts.split_at(self.loads.len());
        for (load, verdict) in self.loads.iter().zip(cpu) {
            let CpuShare { percent, user_percent, system_percent, threads, .. } = &load.router;
            let threads: Vec<String> = threads.iter().map(|(name, share)| format!("{name} {share:.1}")).collect();
            row(
                format!("CPU, {} loads", load.kind),
                format!(
                    "{percent:.1} % of a core (user {user_percent:.1}, system {system_percent:.1}; {})",
                    threads.join(", ")
                ),
                Some(verdict),
            );
        }
        let memory = self.memory;
        row(
            "memory".to_owned(),
            format!(
                "{:.1} MB resident, {:.1} MB at most ({:.1} MB its own; {:.1} MB resident before the first host)",
                memory.resident_mb, memory.peak_mb, memory.anonymous_mb, self.idle.resident_mb
            ),
            rest.first(),
        );
        let spread = |figures: &[f64]| {
            let Spread { p50, p99, max } = Spread::of(figures);
            format!("p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms, of {}", figures.len())
        };
        row("down or draining, to ring".to_owned(), spread(&self.changes.out_ms), rest.get(1));
        row("active again, to ring".to_owned(), spread(&self.changes.back_ms), None);
        for restart in &self.restarts {
            row(
                format!("restart by {}", restart.signal),
                format!(
                    "serves after {:.1} s, all sessions back after {:.1} s; down {}, slots moved {}, publications {}",
                    restart.serving_s,
                    restart.sessions_s,
                    restart.down(),
                    restart.slots_moved,
                    restart.publications
                ),
                None,
            );
        }
        table.to_string()
    }

    /// For the results' folder.
    pub fn markdown(&self) -> String {
        let loads: String = self.loads.iter().map(load_line).collect();
        let restarts: String = self.restarts.iter().map(restart_lines).collect();
        format!(
            "# Control plane with {} hosts, {}, {}\n\n`bench control --hosts {}`: simulated hosts (one process, a QUIC connection, \
             certificate, name and tunnel address each, half of them IPv6; 2 subnets x 2 services) against a real slr-router with \
             its data plane, in two namespaces with a veth pair. Shipped intervals: adverts 1 s, keepalives 400 ms. Keepalives \
             are answered by the simulator on raw sockets, as hostd's XDP program would. CPU: utime and stime of the router's \
             process. A change's time is from the moment that the simulated host changes its offer until no ring in the \
             kernel's (mapped) tables has the host; the longest time between two looks was {:.2} ms.\n\n```text\n{}\n```\n\n\
             {loads}\n{restarts}\n{}",
            self.hosts,
            self.machine.date,
            self.machine.host,
            self.hosts,
            self.changes.look_ms_max,
            self.table(),
            self.machine.markdown(&self.noise),
        )
    }
}

fn load_line(load: &Load) -> String {
    format!(
        "- {} loads, {:.0} s: {:.0} keepalives/s answered, rings published {} times, {} slots elsewhere in the end, {} sessions \
         lost; the hosts' process used {:.0} % of a core.\n",
        load.kind,
        load.router.seconds,
        load.keepalives_per_s,
        load.publications,
        load.slots_moved,
        load.sessions_lost,
        load.hosts_percent
    )
}

/// States over time, a line for each that differs from the one before.
fn restart_lines(restart: &Restart) -> String {
    let entered: Vec<String> = restart.entered.iter().map(|(state, n)| format!("{n} {state}")).collect();
    let entered = if entered.is_empty() { "none".to_owned() } else { entered.join(", ") };
    let mut text = format!("\n{}: changes of state logged by the next router: {entered}.\n\n```text\n", restart.signal);
    let mut last = String::new();
    for look in &restart.looks {
        let states: Vec<String> = look.states.iter().map(|(state, n)| format!("{n} {state}")).collect();
        let line = format!("{} sessions, {}, {} held", look.sessions, states.join(", "), look.held);
        if line != last {
            text += &format!("{:6.1} s  {line}\n", look.at_s);
            last = line;
        }
    }
    text + "```\n"
}
