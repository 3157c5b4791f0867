//! Words to systemd (`sd_notify`); silence where there is no systemd.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// The daemon does its work; `status` is the line that `systemctl status` shows.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload began; [`ready`] ends it. `Type=notify-reload` asks for the clock.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(clock) => tell(&[NotifyState::Reloading, clock]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The daemon is about to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The loop's pulse, for a unit with `WatchdogSec=`: a daemon whose loop is stuck is ended and started again. Packets flow meanwhile.
#[derive(Debug)]
pub struct Pulse {
    /// How often systemd is told; `None`: it does not ask.
    every: Option<Duration>,
    told: Option<Instant>,
}

impl Pulse {
    /// As the environment says.
    pub fn new() -> Self {
        // Twice within the time that the unit grants, and once to spare.
        Self { every: sd_notify::watchdog_enabled().map(|time| time / 3), told: None }
    }

    /// The loop turns. To be said in every turn.
    pub fn turned(&mut self, now: Instant) {
        if self.is_due(now) {
            self.told = Some(now);
            tell(&[NotifyState::Watchdog]);
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.every.is_some_and(|every| self.told.is_none_or(|told| now.saturating_duration_since(told) >= every))
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

fn tell(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_is_told_thrice_in_its_time_and_only_if_it_asks() {
        let now = Instant::now();
        let mut pulse = Pulse { every: Some(Duration::from_secs(10)), told: None };
        assert!(pulse.is_due(now));
        pulse.turned(now);
        assert!(!pulse.is_due(now + Duration::from_secs(9)));
        assert!(pulse.is_due(now + Duration::from_secs(10)));
        assert!(!Pulse { every: None, told: None }.is_due(now));
    }
}
