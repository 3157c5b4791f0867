//! Whether hosts are reached, and what follows when they are not, or not heard.

use std::time::Instant;

use slr_model::NodeName;

use super::Registry;
use super::hosts::{Index, Path};
use super::timers::Timer;

/// What the keepalives through a host's tunnel say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PathReport {
    /// It answers.
    Alive {
        /// Round trip, in microseconds.
        rtt_us: u32,
        /// Share of keepalives without an answer, 0 to 1.
        loss: f64,
    },
    /// The last ones have no answer. It was alive; it is so again, or lost, shortly.
    Doubted,
    /// So many in a row had no answer that it is lost.
    Lost,
}

impl Registry {
    /// What the keepalives to a host found; names that are not known are ignored.
    pub fn path(&mut self, name: &NodeName, report: PathReport, now: Instant) {
        let Some(index) = self.hosts.find(name) else { return };
        self.doubt_path(index, report, now);
        let host = self.hosts.get_mut(index);
        match (report, &mut host.path) {
            (PathReport::Doubted, _) => {}
            (PathReport::Alive { rtt_us, loss }, Path::Alive { rtt_us: old_rtt_us, loss: old_loss, .. }) => {
                (*old_rtt_us, *old_loss) = (rtt_us, loss);
            }
            (PathReport::Alive { rtt_us, loss }, path) => {
                *path = Path::Alive { since: now, rtt_us, loss };
                host.path_lost = false;
                self.find_well(index, now);
            }
            (PathReport::Lost, Path::Lost { .. }) => {}
            (PathReport::Lost, path @ Path::Unknown) if self.settings.await_path => {
                // It never answered, so nothing was placed on it, and a window would place it.
                *path = Path::Lost { since: now };
                host.path_lost = true;
                host.settled_at = Some(now);
                self.judge_host(index, now);
            }
            (PathReport::Lost, path) => {
                *path = Path::Lost { since: now };
                self.find_trouble(index, now);
            }
        }
    }

    /// Does what has become due. May be called at any time. After a time without running, call it before handing in
    /// what came meanwhile.
    pub fn handle_timeout(&mut self, now: Instant) {
        // A process that did not run for longer than a window has adverts to read before it may judge their senders.
        let was_stalled = self.timers.next().is_some_and(|at| now > at + self.settings.vanish_window);
        while let Some((_, timer)) = self.timers.pop(now) {
            match timer {
                Timer::Advert(index) => self.miss_advert(index, was_stalled, now),
                Timer::Window(index) if was_stalled => {
                    self.counters.windows_extended += 1;
                    self.open_window(index, now);
                }
                Timer::Window(index) => self.settle(index, now),
                Timer::Settle(_) | Timer::Forget(_) if was_stalled => {
                    self.counters.windows_extended += 1;
                    self.timers.set(timer, now + self.settings.vanish_window);
                }
                Timer::Settle(key) => {
                    self.release_hold(&key, now);
                }
                Timer::Forget(index) => self.forget(index, now),
                Timer::Alarm(key) => self.clear(&key),
                Timer::Gone(name) => {
                    self.gone.remove(&name);
                }
            }
        }
    }

    /// Contact or path was lost. What follows, follows at the end of a window, except when the other one was lost only
    /// just now: that is one fault, which had its window.
    pub(super) fn find_trouble(&mut self, index: Index, now: Instant) {
        let host = self.hosts.get(index);
        match (host.window, host.settled_at) {
            (Some(_), _) => {}
            (None, Some(settled_at)) if now < settled_at + self.settings.one_fault => self.settle(index, now),
            (None, _) => self.open_window(index, now),
        }
    }

    /// Contact or path is back: ends the window if nothing is lost any more, and judges again.
    pub(super) fn find_well(&mut self, index: Index, now: Instant) {
        let window_end = now + self.settings.vanish_window;
        let host = self.hosts.get_mut(index);
        if !host.is_troubled() {
            host.window = None;
            host.settled_at = None;
            self.timers.cancel(&Timer::Window(index));
        } else if host.is_heard() && host.window.is_some_and(|until| until > window_end) {
            // Adopted, and heard: what is still lost is worth no longer a wait than any other loss.
            host.window = Some(window_end);
            self.timers.set(Timer::Window(index), window_end);
        }
        self.unhold_returned(index, now);
        self.judge_host(index, now);
    }

    fn open_window(&mut self, index: Index, now: Instant) {
        let until = now + self.settings.vanish_window;
        let host = self.hosts.get_mut(index);
        (host.is_extended, host.window) = (false, Some(until));
        self.timers.set(Timer::Window(index), until);
    }

    /// The window is over: what is lost is lost, unless most hosts of the service are.
    fn settle(&mut self, index: Index, now: Instant) {
        if !self.hosts.get(index).is_extended
            && let Some(until) = self.awaits_others(index, now)
        {
            let host = self.hosts.get_mut(index);
            (host.is_extended, host.window) = (true, Some(until));
            self.timers.set(Timer::Window(index), until);
            return;
        }
        let host = self.hosts.get_mut(index);
        host.window = None;
        host.is_adopted = false;
        host.settled_at = Some(now);
        host.path_lost = matches!(host.path, Path::Lost { .. });
        let is_heard = host.is_heard();
        for at in 0..self.hosts.get(index).services.len() {
            self.hold_if_most(index, at, now);
            self.hosts.get_mut(index).services[at].unheard |= !is_heard;
        }
        self.judge_host(index, now);
        if !is_heard && self.timers.at(&Timer::Forget(index)).is_none() {
            self.timers.set(Timer::Forget(index), now + self.settings.forget_after);
        }
    }
}
