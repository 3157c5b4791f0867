//! What carries messages: delays and reorders them, loses datagrams, and is cut now and then.

use std::time::{Duration, Instant};

use crate::dice::Dice;

/// How the network is at the moment, between one router and one host.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Until when nothing of the control channel passes.
    pub control_cut_until: Instant,
    /// Until when nothing of the tunnel passes.
    pub tunnel_cut_until: Instant,
    /// Datagrams lost, in percent.
    pub loss: u64,
    /// Delays are up to this.
    pub delay_ms: u64,
}

impl Link {
    pub fn new(now: Instant, dice: &mut Dice) -> Self {
        let loss = [0, 5, 20][dice.number(0, 2) as usize];
        let delay_ms = [2, 50, 300][dice.number(0, 2) as usize];
        Self { control_cut_until: now, tunnel_cut_until: now, loss, delay_ms }
    }

    /// No loss, hardly any delay, nothing cut.
    pub fn heal(&mut self, now: Instant) {
        *self = Self { control_cut_until: now, tunnel_cut_until: now, loss: 0, delay_ms: 2 };
    }

    /// When a datagram sent now arrives; each on its own, so that later ones overtake.
    pub fn datagram(&self, now: Instant, dice: &mut Dice) -> Option<Instant> {
        let is_lost = now < self.control_cut_until || dice.percent(self.loss);
        (!is_lost).then(|| now + dice.ms(1, self.delay_ms))
    }

    /// When something on a stream arrives: what is lost is sent again, and nothing overtakes on one connection.
    pub fn stream(&self, now: Instant, before: Instant, dice: &mut Dice) -> Instant {
        let mut at = now.max(self.control_cut_until) + dice.ms(1, self.delay_ms);
        while dice.percent(self.loss) {
            at += Duration::from_millis(2 * self.delay_ms);
        }
        at.max(before)
    }
}
