//! `slr-router watchdog`: withdraws what a daemon announced that has gone and did not come back.
//!
//! The data plane forwards without the daemon, so a restart or a crash withdraws nothing. But nobody follows hosts and
//! neighbours meanwhile; after a while it is better if others serve. A process of its own, as small as can be: what ends the
//! daemon should not end this. It never withdraws while a daemon is ready: it takes the daemon's mark first.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use slr_daemon::signals::{Signal, Signals};
use slr_daemon::{log, notify};

use super::{Mark, Settings, kernel};
use crate::config;

/// How often it looks whether the daemon is there.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Runs until SIGTERM; the routes stay then.
pub fn run(path: &Path) -> Result<()> {
    log::init();
    let Some(settings) = config::Settings::load(path)?.announce else {
        bail!("{} has no [announce]: there is nothing to withdraw", path.display());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
    runtime.block_on(watch(&settings))
}

async fn watch(settings: &Settings) -> Result<()> {
    let mut signals = Signals::new().context("cannot take over signals")?;
    let mut absence = Absence::new(Instant::now());
    notify::ready(&format!("withdraws when no daemon was ready for {} s", settings.away.as_secs_f64()));
    loop {
        tokio::select! {
            signal = signals.next() => if let Signal::Stop = signal { return Ok(()) },
            () = tokio::time::sleep(LOOK_EVERY) => {
                if absence.look(Mark::is_held(&settings.mark)?, settings.away, Instant::now()) {
                    absence.is_withdrawn = withdraw(settings).await.unwrap_or_else(|error| {
                        tracing::error!("announcements stand, though no daemon is there: {error:#}");
                        false
                    });
                }
            }
        }
    }
}

/// Whether that is done: a daemon that came at the last moment has the mark.
async fn withdraw(settings: &Settings) -> Result<bool> {
    let Some(_mark) = Mark::take(&settings.mark)? else { return Ok(false) };
    let count = kernel::withdraw_all(settings).await?;
    if count > 0 {
        let away_s = settings.away.as_secs_f64();
        tracing::warn!(routes = count, away_s, "no daemon was ready for so long: what it announced is withdrawn");
    }
    Ok(true)
}

/// Since when no daemon was ready.
#[derive(Debug)]
struct Absence {
    since: Option<Instant>,
    is_withdrawn: bool,
}

impl Absence {
    /// Nobody was seen yet: a daemon that starts now has all its time.
    fn new(now: Instant) -> Self {
        Self { since: Some(now), is_withdrawn: false }
    }

    /// Takes whether a daemon is ready; whether it is time to withdraw.
    fn look(&mut self, is_held: bool, away: Duration, now: Instant) -> bool {
        if is_held {
            (self.since, self.is_withdrawn) = (None, false);
            return false;
        }
        let since = *self.since.get_or_insert(now);
        !self.is_withdrawn && now >= since + away
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_absence_without_a_break_counts_and_it_counts_once() {
        let begin = Instant::now();
        let at = |s| begin + Duration::from_secs(s);
        let away = Duration::from_secs(30);
        let mut absence = Absence::new(begin);
        let table = [
            // (at, a daemon is ready, to be withdrawn)
            (29, false, false),
            (29, true, false),
            (30, false, false),
            (59, false, false),
            (60, false, true),
        ];
        for (s, is_held, withdraws) in table {
            assert_eq!(absence.look(is_held, away, at(s)), withdraws, "at {s} s");
        }
        assert!(absence.look(false, away, at(61)), "what failed is tried again");
        absence.is_withdrawn = true;
        assert!(!absence.look(false, away, at(62)));
        absence.look(true, away, at(63));
        assert!(!absence.look(false, away, at(64)) && absence.look(false, away, at(94)));
    }
}
