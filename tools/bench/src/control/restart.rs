//! A router that restarts under its hosts: what becomes of states and rings until all sessions are back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::rings;
use super::site::{Site, Swarm};
use super::swarm::{Command, monotonic_ns};

/// How long sessions may take to come back.
const BACK_WITHIN: Duration = Duration::from_secs(90);
/// States are watched for so much longer than that: adopted hosts hold for 10 s, and what goes wrong does so afterwards.
const WATCH_ON: Duration = Duration::from_secs(15);
/// Between two looks at the states. Four thousand of them are a question that costs the router some milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two looks at the rings' descriptors.
const RINGS_EVERY: Duration = Duration::from_millis(5);

/// What a restart did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restart {
    /// How the router was ended.
    pub signal: String,
    /// From that until the next router answered `show`, in seconds.
    pub serving_s: f64,
    /// From the next router's start until the last session was back.
    pub sessions_s: f64,
    /// (Host, service) by state, over time.
    pub looks: Vec<Look>,
    /// Changes of state that the next router logged, by the state they led to.
    pub entered: BTreeMap<String, u64>,
    /// Times that a ring's descriptor was written.
    pub publications: u64,
    /// Slots whose new flows go to another host than before the restart.
    pub slots_moved: u64,
}

/// How it stood at a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// Seconds since the next router was started.
    pub at_s: f64,
    /// Hosts with a session.
    pub sessions: usize,
    /// (Host, service) by state.
    pub states: BTreeMap<String, u64>,
    /// Those of them that are held in their places.
    pub held: u64,
}

impl Restart {
    /// How many (host, service) were ever seen or logged in a state in which they have no flows.
    pub fn down(&self) -> u64 {
        let lost = |states: &BTreeMap<String, u64>| {
            ["down", "removed"].iter().filter_map(|state| states.get(*state)).sum::<u64>()
        };
        self.looks.iter().map(|look| lost(&look.states)).max().unwrap_or(0).max(lost(&self.entered))
    }
}

/// Ends the router, starts it again, and watches.
pub fn measure(site: &mut Site, swarm: &mut Swarm, hosts: usize, signal: Signal) -> Result<Restart> {
    let rings = site.rings()?;
    let before = rings.contents();
    let logged = site.log()?.len();
    swarm.ask(Command::Forget)?;
    let ended = Instant::now();
    site.end_router(signal)?;
    let (started, started_ns) = (Instant::now(), monotonic_ns());
    site.start_router()?;
    let serving_s = ended.elapsed().as_secs_f64();

    let (mut looks, mut publications, mut back) = (Vec::new(), 0, None);
    let (mut last, mut look_at) = (rings.descriptors(), Instant::now());
    while back.is_none_or(|(at, _): (Instant, u64)| at.elapsed() < WATCH_ON) {
        std::thread::sleep(RINGS_EVERY);
        let now = rings.descriptors();
        publications += u64::from(now != last);
        last = now;
        if Instant::now() < look_at {
            continue;
        }
        look_at = Instant::now() + LOOK_EVERY;
        let answer = swarm.ask(Command::Count)?;
        if back.is_none() && answer.welcomed == hosts && answer.open == hosts {
            back = Some((Instant::now(), answer.last_welcome_ns));
        }
        looks.push(look(site, started, answer.welcomed)?);
        let waited = started.elapsed();
        ensure!(
            back.is_some() || waited < BACK_WITHIN,
            "after {waited:?} {} of {hosts} sessions are back",
            answer.welcomed
        );
    }
    let (_, last_welcome_ns) = back.context("the loop ends when all are back")?;
    let log = site.log()?;
    Ok(Restart {
        signal: signal.as_str().to_owned(),
        serving_s,
        sessions_s: last_welcome_ns.saturating_sub(started_ns) as f64 / 1e9,
        looks,
        entered: entered(log.get(logged..).unwrap_or_default()),
        publications,
        slots_moved: rings::moved(&before, &rings.contents()),
    })
}

fn look(site: &Site, started: Instant, sessions: usize) -> Result<Look> {
    let at_s = started.elapsed().as_secs_f64();
    let answer = site.show("states")?;
    let mut states = BTreeMap::new();
    let mut held = 0;
    for one in answer.as_array().context("states are a list")? {
        *states.entry(one["state"].as_str().context("a state is a word")?.to_owned()).or_default() += 1;
        held += u64::from(one["held"] == true);
    }
    Ok(Look { at_s, sessions, states, held })
}

/// The states that the router's log says were entered: `... state: REASON host=... from=... to=STATE`.
fn entered(log: &str) -> BTreeMap<String, u64> {
    let mut entered = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains("state: ")) {
        if let Some((_, rest)) = line.rsplit_once(" to=") {
            let state = rest.split_whitespace().next().unwrap_or_default();
            *entered.entry(state.to_owned()).or_default() += 1;
        }
    }
    entered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_from_the_log() {
        let log = "INFO slr_router: state: said so host=h1 service=tcp/80@192.0.2.0/24 from=active to=down\n\
                   INFO slr_router: connected host=h1 session=1.1 superseded=false\n\
                   INFO slr_router: state: back host=h1 service=tcp/80@192.0.2.0/24 from=down to=active\n";
        assert_eq!(entered(log), BTreeMap::from([("down".to_owned(), 1), ("active".to_owned(), 1)]));
    }

    #[test]
    fn a_host_that_was_down_for_a_moment_counts() {
        let look = |states: &[(&str, u64)]| Look {
            at_s: 0.0,
            sessions: 0,
            states: states.iter().map(|(state, n)| ((*state).to_owned(), *n)).collect(),
            held: 0,
        };
        let mut restart = Restart {
            signal: "SIGTERM".to_owned(),
            serving_s: 0.0,
            sessions_s: 0.0,
            looks: vec![look(&[("active", 4)]), look(&[("active", 3), ("down", 1)]), look(&[("active", 4)])],
            entered: BTreeMap::new(),
            publications: 0,
            slots_moved: 0,
        };
        assert_eq!(restart.down(), 1);
        restart.looks.truncate(1);
        assert_eq!(restart.down(), 0);
        restart.entered.insert("down".to_owned(), 2);
        assert_eq!(restart.down(), 2);
    }
}
