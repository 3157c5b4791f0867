//! Whether hosts are heard.
//!
//! Adverts are a second apart, so that a thousand hosts cost little. A host is asked for one at once where there is
//! reason to doubt that it is there: its keepalives have no answer, or its advert is late. Asks that nobody answers end
//! contact soon if the tunnel is silent too, and else only when the host has been unheard for `silent_after`: a daemon that
//! is busy or restarted is no failure of the host.

use std::time::Instant;

use super::hosts::{Contact, Index, Path};
use super::timers::Timer;
use super::{Cause, Event, PathReport, Registry};

impl Registry {
    /// The connection ended. Nothing happens if a newer one has its name, or if it withdrew before.
    pub fn connection_lost(&mut self, connection: super::ConnectionId, why: &str, now: Instant) {
        let Some(index) = self.hosts.of_connection(connection) else { return };
        self.hosts.set_connection(index, None);
        let host = self.hosts.get(index);
        let name = host.name.clone();
        let (serves, is_heard) = (!host.services.is_empty(), host.is_heard());
        self.events.push(Event::Disconnected { name, why: why.to_owned() });
        if !serves {
            // Nothing was placed on it, so nothing is worth waiting for.
            self.remove_host(index, Cause::Forgotten, "it served nothing", now);
        } else if is_heard {
            self.lose_contact(index, format!("connection lost: {why}"), now);
        }
    }

    /// An advert came. Returns whether that is news, so that the host's services are to be judged again.
    pub(super) fn hear(&mut self, index: Index, now: Instant) -> bool {
        let host = self.hosts.get_mut(index);
        (host.heard_at, host.silent_at, host.asks) = (Some(now), Some(now + self.settings.silent_after), 0);
        self.watch_for_advert(index, now, now);
        let host = self.hosts.get_mut(index);
        if host.is_heard() {
            return false;
        }
        host.contact = Contact::Heard;
        host.is_adopted = false;
        // What was said on this connection is still its word; what an earlier one said, it has to say again.
        for service in host.services.iter_mut().filter(|service| service.sequence.is_some()) {
            service.unheard = false;
        }
        self.timers.cancel(&Timer::Forget(index));
        true
    }

    /// Sets the time at which the next advert is missed, counted from when one came, and not before now.
    pub(super) fn watch_for_advert(&mut self, index: Index, from: Instant, now: Instant) {
        let (host, settings) = (self.hosts.get(index), &self.settings);
        let Some(silent_at) = host.silent_at else { return };
        let ask_at = match host.askable() {
            Some(_) if host.is_path_doubted => from + settings.ask_again(),
            Some(_) if host.heard_at.is_some() => from + settings.ask_after(),
            _ => silent_at,
        };
        self.timers.set(Timer::Advert(index), ask_at.min(silent_at).max(now));
    }

    /// No advert in time: the host is asked for one, or given up.
    pub(super) fn miss_advert(&mut self, index: Index, was_stalled: bool, now: Instant) {
        let host = self.hosts.get(index);
        if !host.is_heard() {
            if host.window.is_some() {
                self.ask(index, now);
            }
        } else if host.silent_at.is_none_or(|at| at <= now) {
            let silent_ms = self.settings.silent_after.as_millis();
            self.lose_contact(index, format!("no advert for {silent_ms} ms"), now);
        } else if host.asks >= self.settings.asks_lost && !host.is_path_well() {
            let why = format!("its keepalives and {} asks have no answer", host.asks);
            self.lose_contact(index, why, now);
        } else if was_stalled {
            // What it has said meanwhile is to be read first.
            self.timers.set(Timer::Advert(index), now + self.settings.ask_interval);
        } else {
            self.ask(index, now);
        }
    }

    fn ask(&mut self, index: Index, now: Instant) {
        let host = self.hosts.get_mut(index);
        let Some(connection) = host.askable() else {
            if let (Some(silent_at), true) = (host.silent_at, host.is_heard()) {
                self.timers.set(Timer::Advert(index), silent_at);
            }
            return;
        };
        host.asks += 1;
        let again_at = now + self.settings.ask_interval;
        let at = host.silent_at.filter(|&at| at > now).map_or(again_at, |at| at.min(again_at));
        self.timers.set(Timer::Advert(index), at);
        self.events.push(Event::Ask { connection });
    }

    /// What the keepalives say decides whether the host is asked.
    pub(super) fn doubt_path(&mut self, index: Index, report: PathReport, now: Instant) {
        let host = self.hosts.get_mut(index);
        let was_well = host.is_path_well();
        let is_lost = matches!(host.path, Path::Lost { .. });
        host.is_path_doubted = report == PathReport::Doubted && !is_lost;
        let is_well = !host.is_path_doubted && matches!(report, PathReport::Alive { .. });
        let (is_heard, heard_at, asks) = (host.is_heard(), host.heard_at, host.asks);
        if !is_heard {
            return;
        }
        match (was_well, is_well) {
            // Lost without a doubt before it, or a doubt: is it there at all?
            (true, false) if asks == 0 => self.ask(index, now),
            // Asks that nobody answered because nothing passed are forgotten; a late advert is asked for as before.
            (false, true) => {
                self.hosts.get_mut(index).asks = 0;
                self.watch_for_advert(index, heard_at.unwrap_or(now), now);
            }
            _ => {}
        }
    }

    /// When it is known whether a host that is late is away. A hello, which gives it more time, does not count.
    pub(super) fn decided_at(&self, index: Index) -> Option<Instant> {
        let host = self.hosts.get(index);
        let silent_at = host.heard_at? + self.settings.silent_after;
        if host.is_path_well() || host.askable().is_none() {
            return Some(silent_at);
        }
        let next = self.timers.at(&Timer::Advert(index))?;
        let left = self.settings.asks_lost.saturating_sub(host.asks);
        Some(silent_at.min(next + self.settings.ask_interval * left))
    }

    pub(super) fn lose_contact(&mut self, index: Index, why: String, now: Instant) {
        self.timers.cancel(&Timer::Advert(index));
        self.hosts.get_mut(index).contact = Contact::Lost { since: now, why: why.into() };
        self.find_trouble(index, now);
        // It may still be there: while that does not count yet, it is asked on.
        if self.hosts.get(index).window.is_some() {
            self.ask(index, now);
        }
    }
}
