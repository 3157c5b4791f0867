//! The edge of [`slr_session::half_open`]: the connections that a host had when it went down come out of the table, and clients that still
//! have them are nudged, so that they speak and their connections end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use slr_dataplane::router::{LostFlows, MapError, Part};
use slr_model::{FlowKey, NodeName};
use slr_session::half_open::{Counters, HalfOpen};
use slr_wire::datagram;

use super::Daemon;

/// How often a walk goes on, and what a turn of the loop spends on it.
const WALK_EVERY: Duration = Duration::from_millis(10);
const SPEND: Duration = Duration::from_millis(3);

/// Connections of hosts that are down.
#[derive(Default)]
pub struct Ending {
    half_open: HalfOpen,
    /// Hosts whose connections are to be looked up: the table is gone through once for all that go down meanwhile.
    hosts: BTreeSet<NodeName>,
    walk: Option<LostFlows>,
    walk_due: Option<Instant>,
}

impl Ending {
    /// When [`Daemon::end_half_open`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        [self.walk_due, self.half_open.poll_timeout()].into_iter().flatten().min()
    }

    /// So far.
    pub fn counters(&self) -> Counters {
        self.half_open.counters()
    }

    /// A host went down: its flows are un-pinned.
    pub fn lost(&mut self, host: NodeName, now: Instant) {
        self.hosts.insert(host);
        self.walk_due.get_or_insert(now);
    }
}

impl Daemon {
    /// Looks connections up and nudges clients, as far as that is due.
    pub(super) fn end_half_open(&mut self, now: Instant) {
        if self.ending.walk_due.is_some_and(|due| due <= now)
            && let Err(error) = self.look_up_lost(now)
        {
            tracing::warn!("clients of a host that is down find out by themselves: {error}");
            (self.ending.walk, self.ending.walk_due) = (None, None);
        }
        let plane = self.core.plane();
        // Of one that cannot be looked up it is not known that it goes on.
        let is_over = |flow: &FlowKey| plane.way_of(flow).is_ok_and(|way| way.is_some());
        for (flow, sequence) in self.ending.half_open.poll(now, is_over) {
            let Some(segment) = datagram::nudge(flow, sequence, sequence, None) else { continue };
            if let Err(error) = self.searching.sender().send_plain(flow.client().ip(), &segment) {
                tracing::debug!(%flow, "a client is not nudged: {error}");
            }
        }
    }

    fn look_up_lost(&mut self, now: Instant) -> Result<(), MapError> {
        let (plane, ending) = (self.core.plane(), &mut self.ending);
        let until = Instant::now() + SPEND;
        let mut walk = match ending.walk.take() {
            Some(walk) => walk,
            None => {
                let hosts: Vec<NodeName> = std::mem::take(&mut ending.hosts).into_iter().collect();
                plane.walk_lost_flows(&hosts)?
            }
        };
        loop {
            match plane.next_lost_flows(&mut walk)? {
                Part::Read(flows) => ending.half_open.add(flows, now),
                Part::NotYet => break,
                Part::Over => {
                    ending.walk_due = (!ending.hosts.is_empty()).then_some(now);
                    return Ok(());
                }
            }
            if Instant::now() >= until {
                break;
            }
        }
        (ending.walk, ending.walk_due) = (Some(walk), Some(now + WALK_EVERY));
        Ok(())
    }
}
