//! Words to systemd (`sd_notify`); silence where there is no systemd.

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

fn tell(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
