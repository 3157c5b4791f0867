//! Walks over the flow tables for the peers: on one a peer is told of all own flows, on another all peers of those that speak.
//! Each goes on a little at a time, as far as who is told has room: a table of millions takes seconds, and a turn of the loop
//! may not.

use std::time::{Duration, Instant};

use slr_dataplane::router::{MapError, OwnPin, OwnPins, Part, REFRESH_S};
use slr_session::mirror::{MirrorKind, Told};

use super::super::Daemon;

/// How often walks go on: each 20 ms at the least, as that often there is a turn of the loop while a peer is there.
const EVERY: Duration = Duration::from_millis(10);
/// What a turn of the loop spends on them, but for the last part that it begins: some 30,000 flows that are nobody's here.
const SPEND: Duration = Duration::from_millis(3);

/// What all peers have in common.
pub struct Walks {
    due: Instant,
    refreshed_at: Instant,
    /// On which all are told of the flows that speak.
    refresh: Option<OwnPins>,
}

impl Walks {
    pub fn new(now: Instant) -> Self {
        Self { due: now, refreshed_at: now, refresh: None }
    }
}

fn own(pin: OwnPin) -> Told {
    let kind = if pin.proven { MirrorKind::Proven } else { MirrorKind::New };
    Told { host: pin.host, flow: pin.flow, kind }
}

impl Daemon {
    /// Goes on with whatever walk is under way, if it is time.
    pub(super) fn go_on_walking(&mut self, now: Instant) {
        if now < self.mirrors.walks.due {
            return;
        }
        self.mirrors.walks.due = now + EVERY;
        let until = Instant::now() + SPEND;
        if let Err(error) = self.tell_all(until) {
            tracing::warn!("flows are not told: {error}");
        }
        if let Err(error) = self.tell_again(now, until) {
            tracing::warn!("peers do not hear which flows speak: {error}");
        }
    }

    /// Tells the peers that lack something of all own flows. Each has a part at least, so that none waits for another.
    fn tell_all(&mut self, until: Instant) -> Result<(), MapError> {
        let plane = self.core.plane();
        for peer in self.mirrors.peers.values_mut() {
            while peer.teller.takes_table()
                && let Some(mut walk) = peer.walk.take()
            {
                let is_enough = match plane.next_own_pins(&mut walk)? {
                    Part::Read(part) => {
                        peer.teller.tell_table(part.into_iter().map(own).collect(), false);
                        Instant::now() >= until
                    }
                    Part::NotYet => true,
                    Part::Over => {
                        peer.teller.tell_table(Vec::new(), true);
                        break;
                    }
                };
                peer.walk = Some(walk);
                if is_enough {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Tells the peers which flows speak.
    fn tell_again(&mut self, now: Instant, until: Instant) -> Result<(), MapError> {
        let every = self.refresh_every();
        let (plane, is_due) = (self.core.plane(), self.mirrors.due().is_some());
        let (walks, peers) = (&mut self.mirrors.walks, &mut self.mirrors.peers);
        if walks.refresh.is_none() && is_due && now >= walks.refreshed_at + every {
            walks.refreshed_at = now;
            // One advance of the clock more, so that none falls between two walks.
            walks.refresh = Some(plane.walk_own_pins(Some(every.as_secs() as u32 + 5))?);
        }
        while peers.values().all(|peer| peer.teller.takes_again())
            && let Some(mut walk) = walks.refresh.take()
        {
            let is_enough = match plane.next_own_pins(&mut walk)? {
                Part::Read(part) => {
                    let part: Vec<Told> = part.into_iter().map(own).collect();
                    peers.values_mut().for_each(|peer| peer.teller.tell_again(part.clone()));
                    Instant::now() >= until
                }
                Part::NotYet => true,
                Part::Over => break,
            };
            walks.refresh = Some(walk);
            if is_enough {
                break;
            }
        }
        Ok(())
    }

    /// Three times in the shortest life of a silent flow.
    fn refresh_every(&self) -> Duration {
        let sweep = self.core.in_force().map(|loaded| loaded.settings.dataplane.sweep);
        let shortest = sweep.map_or(REFRESH_S, |sweep| sweep.udp_idle_s.min(sweep.tcp_idle_s) / 3);
        Duration::from_secs(shortest.clamp(1, REFRESH_S).into())
    }
}
