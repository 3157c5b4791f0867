//! Ageing: the program only notes when a flow last spoke; here flows that have been silent for too long are forgotten.
//!
//! Nothing else ever removes a pin: not a flood, not a change of weights. While the daemon is away nothing ages; the table
//! may fill up, and new flows then ride the ring, which does not change either while the daemon is away.

use slr_model::FlowKey;

use super::Router;
use super::census::{Census, Counting, Generations};
use super::flow_key::Key;
use super::mirror::is_own;
use crate::abi::{flow, slr_const};
use crate::table::{MapError, Table};

/// Flows forgotten in a sweep that are told on. Of more, the mirrors' entries go when they are silent for too long there.
const FORGOTTEN_MAX: usize = 65_536;

/// When a flow is forgotten. Seconds of silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepPolicy {
    /// A TCP flow. RFC 5382 REQ-5 asks translators for 2 h 4 min at the least.
    pub tcp_idle_s: u32,
    /// A UDP flow. RFC 4787 REQ-5 asks for 2 minutes at the least and recommends 5.
    pub udp_idle_s: u32,
    /// A TCP flow whose client has sent FIN or RST: the other half may still be sending.
    pub closing_s: u32,
    /// Under pressure, a flow that was pinned and has not spoken since.
    pub unproven_s: u32,
    /// What share of a table in use is pressure, in per cent.
    pub pressure_percent: u8,
}

impl Default for SweepPolicy {
    fn default() -> Self {
        Self { tcp_idle_s: 4 * 3600, udp_idle_s: 300, closing_s: 120, unproven_s: 120, pressure_percent: 75 }
    }
}

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Pinned flows before it.
    pub pinned: u64,
    /// Forgotten because they were silent.
    pub idle: u64,
    /// Forgotten because they had ended.
    pub closed: u64,
    /// Forgotten under pressure because they never spoke again.
    pub unproven: u64,
    /// Forgotten because their host has gone, or went down: no packet would have followed them.
    pub unpinned: u64,
}

/// Why a flow is to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Idle,
    Closed,
    Unproven,
    Unpinned,
}

/// By what flows are judged.
struct Judge<'a> {
    policy: &'a SweepPolicy,
    generations: &'a Generations,
    now: u32,
}

impl Judge<'_> {
    /// `pressure`: the table is nearly full.
    fn judge(&self, flow: &flow, tcp: bool, pressure: bool) -> Option<Age> {
        if self.generations.has(flow) { judge(flow, tcp, self.now, pressure, self.policy) } else { Some(Age::Unpinned) }
    }
}

fn judge(flow: &flow, tcp: bool, now: u32, pressure: bool, policy: &SweepPolicy) -> Option<Age> {
    let silent_s = now.saturating_sub(flow.seen);
    let has = |flag: slr_const| u32::from(flow.flags) & flag.0 != 0;
    if tcp && has(slr_const::FLOW_CLOSING) && silent_s >= policy.closing_s {
        Some(Age::Closed)
    } else if silent_s >= if tcp { policy.tcp_idle_s } else { policy.udp_idle_s } {
        Some(Age::Idle)
    } else if pressure
        && !has(slr_const::FLOW_REFRESHED)
        && !has(slr_const::FLOW_PROVEN)
        && silent_s >= policy.unproven_s
    {
        Some(Age::Unproven)
    } else {
        None
    }
}

/// Visit every flow, and forget those that are judged to go. Each is judged again before it goes: one that has spoken
/// meanwhile stays, and so does one that was pinned anew.
fn forget<K: Key>(
    table: &Table<K, flow>,
    judge: &Judge<'_>,
    pressure: bool,
    report: &mut SweepReport,
    forgotten: &mut Option<Vec<FlowKey>>,
    mut visit: impl FnMut(&K, &flow),
) -> Result<(), MapError> {
    let mut failure = Ok(());
    table.for_each(|key, flow| {
        visit(&key, &flow);
        let tcp = key.target().is_tcp();
        let Some(age) = judge.judge(&flow, tcp, pressure) else { return };
        match table.remove_if(&key, |flow| judge.judge(flow, tcp, pressure) == Some(age)) {
            Ok(true) => {
                // Of a host that is gone the others know themselves.
                if age != Age::Unpinned
                    && is_own(&flow)
                    && let Some(told) = forgotten.as_mut().filter(|told| told.len() < FORGOTTEN_MAX)
                {
                    told.extend(key.flow());
                }
                match age {
                    Age::Idle => report.idle += 1,
                    Age::Closed => report.closed += 1,
                    Age::Unproven => report.unproven += 1,
                    Age::Unpinned => report.unpinned += 1,
                }
            }
            Ok(false) => {}
            Err(e) => failure = Err(e),
        }
    })?;
    failure
}

/// Returns how many flows there were.
fn sweep_table<K: Key>(
    table: &Table<K, flow>,
    judge: &Judge<'_>,
    counting: &mut Counting<'_>,
    report: &mut SweepReport,
    forgotten: &mut Option<Vec<FlowKey>>,
) -> Result<u64, MapError> {
    let mut count = 0u64;
    forget(table, judge, false, report, forgotten, |key, flow| {
        count += 1;
        counting.add_pinned(key.target(), flow);
    })?;
    if count * 100 >= u64::from(table.capacity()) * u64::from(judge.policy.pressure_percent) {
        forget(table, judge, true, report, forgotten, |_, _| {})?;
    }
    report.pinned += count;
    Ok(count)
}

impl Router {
    /// What sweeps have forgotten of this member's flows since the last time; from the first call on it is kept.
    pub fn take_forgotten(&mut self) -> Vec<FlowKey> {
        self.forgotten.replace(Vec::new()).unwrap_or_default()
    }

    /// Seconds of the daemon's life: what flows are aged by.
    pub fn clock(&self) -> Result<u32, MapError> {
        Ok(self.tables.clock.get(&0)?.unwrap_or_default())
    }

    /// Let time pass for the flows. The daemon calls it every few seconds; while there is no daemon nothing ages, since
    /// nobody would sweep, and no learned path MTU expires.
    pub fn advance_clock(&self, seconds: u32) -> Result<(), MapError> {
        self.tables.clock.put(&0, &self.clock()?.saturating_add(seconds))
    }

    /// Forget what has been silent for too long, by the [clock](Router::advance_clock), and what is pinned to nobody any
    /// more: so no generation comes around while a flow of its last time is left. Counts flows by host and service on the
    /// way: [`Router::flow_shares`]. Call it every few seconds.
    pub fn sweep(&mut self, policy: &SweepPolicy) -> Result<SweepReport, MapError> {
        let mut report = SweepReport::default();
        let (services, generations, now) = (self.services(), self.generations(), self.clock()?);
        let judge = Judge { policy, generations: &generations, now };
        let mut counting = Counting::new(&services, &generations, now);
        let forgotten = &mut self.forgotten;
        let pinned = [
            sweep_table(&self.tables.flows_v4, &judge, &mut counting, &mut report, forgotten)?,
            sweep_table(&self.tables.flows_v6, &judge, &mut counting, &mut report, forgotten)?,
        ];
        let pending = self.count_pending(&mut counting);
        self.census = Census { shares: counting.shares(&self.hop_names()), pinned, pending };
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(seen: u32, flags: u32) -> flow {
        flow { seen, flags: u8::try_from(flags).unwrap(), ..flow::default() }
    }

    #[test]
    fn a_flow_is_forgotten_for_one_reason_at_a_time() {
        let policy =
            SweepPolicy { tcp_idle_s: 1000, udp_idle_s: 100, closing_s: 10, unproven_s: 50, pressure_percent: 75 };
        let (closing, refreshed) = (slr_const::FLOW_CLOSING.0, slr_const::FLOW_REFRESHED.0);
        let mirrored = slr_const::FLOW_MIRRORED.0;
        let now = 10_000;
        for (name, silent, flags, tcp, pressure, expected) in [
            ("fresh", 0, 0, true, true, None),
            ("idle but within its time", 900, refreshed, true, true, None),
            ("idle", 1000, refreshed, true, false, Some(Age::Idle)),
            ("udp idles sooner", 100, refreshed, false, false, Some(Age::Idle)),
            ("closing", 10, closing, true, false, Some(Age::Closed)),
            ("closing but still talking", 5, closing, true, false, None),
            ("unproven without pressure", 60, 0, true, false, None),
            ("unproven under pressure", 60, 0, true, true, Some(Age::Unproven)),
            ("proven elsewhere under pressure", 60, mirrored | slr_const::FLOW_PROVEN.0, true, true, None),
            ("mirrored and unproven under pressure", 60, mirrored, true, true, Some(Age::Unproven)),
            ("proven under pressure", 60, refreshed, true, true, None),
        ] {
            assert_eq!(judge(&flow(now - silent, flags), tcp, now, pressure, &policy), expected, "{name}");
        }
    }
}
