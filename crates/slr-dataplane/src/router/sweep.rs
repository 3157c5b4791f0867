//! Ageing: the program only notes when a flow last spoke; here flows that have been silent for too long are forgotten.
//!
//! Nothing else ever removes a pin: not a flood, not a change of weights. While the daemon is away nothing ages; the table
//! may fill up, and new flows then ride the ring, which does not change either while the daemon is away.

use slr_model::FlowKey;

use super::Router;
use super::census::{Census, Counting, Generations};
use super::flow_key::Key;
use super::mirror::is_own;
use crate::abi::{flow, flow_key_v4, flow_key_v6, slr_const};
use crate::table::{MapError, Part, Table, Walk};

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

/// A sweep under way: some thousand flows at a time, since a table of millions takes longer than the daemon may be away from
/// everything else.
pub struct Sweep {
    counting: Counting,
    report: SweepReport,
    pinned: [u64; 2],
    stage: Stage,
}

/// Which table is read. The second time because it is nearly full.
enum Stage {
    V4(Walk<flow_key_v4, flow>, bool),
    V6(Walk<flow_key_v6, flow>, bool),
}

/// Looks at flows, and forgets those that are judged to go. Each is judged again before it goes: one that has spoken meanwhile
/// stays, and so does one that was pinned anew.
fn forget<K: Key>(
    table: &Table<K, flow>,
    flows: &[(K, flow)],
    judge: &Judge<'_>,
    pressure: bool,
    report: &mut SweepReport,
    forgotten: &mut Option<Vec<FlowKey>>,
) -> Result<(), MapError> {
    for (key, flow) in flows {
        let tcp = key.target().is_tcp();
        let Some(age) = judge.judge(flow, tcp, pressure) else { continue };
        if !table.remove_if(key, |flow| judge.judge(flow, tcp, pressure) == Some(age))? {
            continue;
        }
        // Of a host that is gone the others know themselves.
        if age != Age::Unpinned
            && is_own(flow)
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
    Ok(())
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
    /// way: [`Router::flow_shares`]. To be begun every few seconds.
    pub fn sweep(&mut self, policy: &SweepPolicy) -> Result<SweepReport, MapError> {
        self.sweeping = None;
        loop {
            if let Some(report) = self.go_on(policy, usize::MAX, true)? {
                return Ok(report);
            }
        }
    }

    /// The same in parts: begins, or goes on where it was left, and looks at so many parts of some thousand flows as were read
    /// meanwhile. The report is there at the end of both tables.
    pub fn sweep_on(&mut self, policy: &SweepPolicy, parts: usize) -> Result<Option<SweepReport>, MapError> {
        self.go_on(policy, parts, false)
    }

    fn go_on(&mut self, policy: &SweepPolicy, parts: usize, waits: bool) -> Result<Option<SweepReport>, MapError> {
        let mut sweep = match self.sweeping.take() {
            Some(sweep) => sweep,
            None => Sweep {
                counting: Counting::new(self.services(), self.clock()?),
                report: SweepReport::default(),
                pinned: [0; 2],
                stage: Stage::V4(self.tables.flows_v4.walk()?, false),
            },
        };
        let (generations, now) = (self.generations(), self.clock()?);
        let judge = Judge { policy, generations: &generations, now };
        for _ in 0..parts {
            match self.take_part(&mut sweep, &judge, waits)? {
                Part::Read(()) => {}
                Part::NotYet => break,
                Part::Over => return Ok(Some(self.finish(sweep))),
            }
        }
        self.sweeping = Some(sweep);
        Ok(None)
    }

    fn take_part(&mut self, sweep: &mut Sweep, judge: &Judge<'_>, waits: bool) -> Result<Part<()>, MapError> {
        let Sweep { counting, report, pinned, stage } = sweep;
        let (tables, forgotten) = (&self.tables, &mut self.forgotten);
        let is_pressed = |count: u64, capacity: u32, again: bool| {
            !again && count * 100 >= u64::from(capacity) * u64::from(judge.policy.pressure_percent)
        };
        match stage {
            Stage::V4(walk, again) => match walk.next(waits)? {
                Part::Read(flows) => {
                    pinned[0] += count(&flows, counting, *again);
                    forget(&tables.flows_v4, &flows, judge, *again, report, forgotten)?;
                }
                Part::NotYet => return Ok(Part::NotYet),
                Part::Over if is_pressed(pinned[0], tables.flows_v4.capacity(), *again) => {
                    *stage = Stage::V4(tables.flows_v4.walk()?, true);
                }
                Part::Over => *stage = Stage::V6(tables.flows_v6.walk()?, false),
            },
            Stage::V6(walk, again) => match walk.next(waits)? {
                Part::Read(flows) => {
                    pinned[1] += count(&flows, counting, *again);
                    forget(&tables.flows_v6, &flows, judge, *again, report, forgotten)?;
                }
                Part::NotYet => return Ok(Part::NotYet),
                Part::Over if is_pressed(pinned[1], tables.flows_v6.capacity(), *again) => {
                    *stage = Stage::V6(tables.flows_v6.walk()?, true);
                }
                Part::Over => return Ok(Part::Over),
            },
        }
        Ok(Part::Read(()))
    }

    fn finish(&mut self, sweep: Sweep) -> SweepReport {
        let Sweep { mut counting, mut report, pinned, .. } = sweep;
        let pending = self.count_pending(&mut counting);
        let shares = counting.shares(&self.generations(), &self.hop_names());
        self.census = Census { shares, pinned, pending };
        report.pinned = pinned.iter().sum();
        report
    }
}

/// How many they are; none of them when they are looked at again.
fn count<K: Key>(flows: &[(K, flow)], counting: &mut Counting, again: bool) -> u64 {
    if again {
        return 0;
    }
    flows.iter().for_each(|(key, flow)| counting.add_pinned(key.target(), flow));
    flows.len() as u64
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
