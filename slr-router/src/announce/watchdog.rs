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
                let (is_held, text) = (Mark::is_held(&settings.mark)?, Mark::text(&settings.mark));
                if absence.look(is_held, text, settings.away, Instant::now()) {
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
    /// What the mark said: another text, and a daemon was ready between two looks.
    text: String,
}

impl Absence {
    /// Nobody was seen yet: a daemon that starts now has all its time.
    fn new(now: Instant) -> Self {
        Self { since: Some(now), is_withdrawn: false, text: String::new() }
    }

    /// Takes whether a daemon is ready; whether it is time to withdraw.
    fn look(&mut self, is_held: bool, text: String, away: Duration, now: Instant) -> bool {
        let was_held = text != self.text;
        self.text = text;
        if is_held || was_held {
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
            // (at, a daemon is ready, what the mark says, to be withdrawn)
            (29, false, "", false),
            (29, true, "1 ready\n", false),
            (30, false, "1 ready\n", false),
            (59, false, "1 ready\n", false),
            (59, false, "2 ready\n", false), // one that was ready between two looks
            (60, false, "2 ready\n", false),
            (89, false, "2 ready\n", false),
            (90, false, "2 ready\n", true),
        ];
        for (s, is_held, text, withdraws) in table {
            assert_eq!(absence.look(is_held, text.to_owned(), away, at(s)), withdraws, "at {s} s");
        }
        let look = |absence: &mut Absence, is_held, s| absence.look(is_held, "2 ready\n".to_owned(), away, at(s));
        assert!(look(&mut absence, false, 91), "what failed is tried again");
        absence.is_withdrawn = true;
        assert!(!look(&mut absence, false, 92));
        look(&mut absence, true, 93);
        assert!(!look(&mut absence, false, 94) && look(&mut absence, false, 124));
    }
}
