//! What is to be announced: from what the router can do, and from what its operator wants. Pure: facts and `now` come in.
//!
//! ```text
//!   withdrawn ── served for announce_after ──► lowered or normal ── not served for withdraw_after ──► withdrawn
//!   drain: whatever it is ──► lowered ── after `lowered` ──► withdrawn; undrain: back to what it can
//! ```
//! A subnet that is withdrawn soon after it was announced must be served twice as long before it is announced again: what
//! flaps here makes every router around compute, and moves flows each time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::{Level, Routes, Settings};

/// Longest time that a flapping subnet has to be served before it is announced again.
const HOLD_MAX: Duration = Duration::from_secs(60);
/// A subnet that was announced for so long does not flap.
const STEADY: Duration = Duration::from_secs(60);

/// How well a subnet can be served, and why not better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ability {
    /// At best.
    pub level: Level,
    /// Why, for people.
    pub reason: String,
}

impl Ability {
    /// That, and why.
    pub fn new(level: Level, reason: impl Into<String>) -> Self {
        Self { level, reason: reason.into() }
    }

    /// The worse of two.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        if other.level < self.level { other.clone() } else { self }
    }
}

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Announce what can be served.
    Announcing,
    /// Be the worse choice until then, and none afterwards.
    Lowered { until: Instant },
    /// Announce nothing.
    Withdrawn,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What is announced.
    pub level: Level,
    /// Since when.
    pub since: Instant,
    /// Why it is not better, or that it is well.
    pub reason: String,
    /// What it can do, as far as that was so for long enough.
    settled: Level,
    /// Since when it could do less, or more, than what is settled.
    worse_since: Option<Instant>,
    better_since: Option<Instant>,
    /// When it was last no longer withdrawn.
    risen: Option<Instant>,
    /// How long it must be served before it is announced again.
    hold: Duration,
}

/// The decisions.
#[derive(Debug)]
pub struct Announcer {
    settings: Settings,
    phase: Phase,
    entries: BTreeMap<IpNet, Entry>,
    /// Routes of the daemon before us, for subnets that nothing was said of yet.
    adopted: Routes,
    changes: BTreeMap<Level, u64>,
}

impl Announcer {
    /// Goes on from what the kernel's table says, and from whether the operator had drained the router.
    pub fn new(settings: Settings, adopted: Routes, is_drained: bool) -> Self {
        let phase = if is_drained { Phase::Withdrawn } else { Phase::Announcing };
        let changes = [Level::Normal, Level::Lowered, Level::Withdrawn].map(|level| (level, 0)).into();
        Self { settings, phase, entries: BTreeMap::new(), adopted, changes }
    }

    /// What the operator wants.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Every subnet.
    pub fn entries(&self) -> &BTreeMap<IpNet, Entry> {
        &self.entries
    }

    /// How often a subnet's level became this one.
    pub fn changes(&self) -> &BTreeMap<Level, u64> {
        &self.changes
    }

    /// Becomes the worse choice, then none.
    pub fn drain(&mut self, now: Instant) {
        if self.phase == Phase::Announcing {
            self.phase = Phase::Lowered { until: now + self.settings.lowered };
        }
    }

    /// Ends a drain.
    pub fn undrain(&mut self) {
        self.phase = Phase::Announcing;
    }

    /// Takes what can be served now, every subnet; what is no longer named is withdrawn at once. Returns when it is due
    /// again at the latest, though nothing changes.
    pub fn evaluate(&mut self, abilities: &BTreeMap<IpNet, Ability>, now: Instant) -> Option<Instant> {
        if let Phase::Lowered { until } = self.phase
            && until <= now
        {
            self.phase = Phase::Withdrawn;
        }
        self.entries.retain(|prefix, _| abilities.contains_key(prefix));
        let mut due = match self.phase {
            Phase::Lowered { until } => Some(until),
            Phase::Announcing | Phase::Withdrawn => None,
        };
        for (prefix, ability) in abilities {
            let entry = self.entries.entry(*prefix).or_insert_with(|| {
                let level = self.settings.level_of(self.adopted.get(prefix));
                Entry::new(level, self.settings.announce_after, now)
            });
            due = [due, entry.settle(&self.settings, ability, now)].into_iter().flatten().min();
            if entry.follow(self.phase, ability, now) {
                *self.changes.entry(entry.level).or_default() += 1;
            }
        }
        self.adopted.clear();
        due
    }

    /// The routes that say it.
    pub fn routes(&self) -> Routes {
        let route = |(prefix, entry): (&IpNet, &Entry)| Some((*prefix, self.settings.metric_of(entry.level)?));
        self.entries.iter().filter_map(route).collect()
    }
}

impl Entry {
    fn new(level: Level, hold: Duration, now: Instant) -> Self {
        let (settled, reason) = (level, String::new());
        Self { level, since: now, reason, settled, worse_since: None, better_since: None, risen: None, hold }
    }

    /// Believes an ability that has lasted. Returns when the present one will have.
    fn settle(&mut self, settings: &Settings, ability: &Ability, now: Instant) -> Option<Instant> {
        if ability.level >= self.settled {
            self.worse_since = None;
        }
        if ability.level <= self.settled {
            self.better_since = None;
        }
        if ability.level == self.settled {
            return None;
        }
        let is_worse = ability.level < self.settled;
        let (since, wait) = match is_worse {
            true => (self.worse_since.get_or_insert(now), settings.withdraw_after),
            false => (self.better_since.get_or_insert(now), self.hold),
        };
        let at = *since + wait;
        if at > now {
            return Some(at);
        }
        if self.settled == Level::Withdrawn {
            self.risen = Some(now);
        } else if ability.level == Level::Withdrawn {
            let flaps = self.risen.is_some_and(|risen| now < risen + STEADY);
            self.hold = if flaps { (self.hold * 2).min(HOLD_MAX) } else { settings.announce_after };
        }
        self.settled = ability.level;
        (self.worse_since, self.better_since) = (None, None);
        None
    }

    /// Brings together what it can and what the operator wants; whether that is another level than before.
    fn follow(&mut self, phase: Phase, ability: &Ability, now: Instant) -> bool {
        let (most, wish) = match phase {
            Phase::Announcing => (Level::Normal, ""),
            Phase::Lowered { .. } => (Level::Lowered, "drained, about to be withdrawn"),
            Phase::Withdrawn => (Level::Withdrawn, "drained"),
        };
        let level = self.settled.min(most);
        self.reason = if level == most && most < Level::Normal {
            wish.to_owned()
        } else if ability.level > self.settled {
            format!("{}, not for long enough yet", ability.reason)
        } else if ability.level < self.settled {
            format!("about to change: {}", ability.reason)
        } else {
            ability.reason.clone()
        };
        let is_other = level != self.level;
        if is_other {
            (self.level, self.since) = (level, now);
        }
        is_other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            table: 6100,
            protocol: 61,
            metric: 100,
            metric_lowered: 1000,
            announce_after: Duration::from_secs(3),
            withdraw_after: Duration::from_secs(1),
            lowered: Duration::from_secs(5),
            on_stop: super::super::OnStop::Keep,
            away: Duration::from_secs(30),
            mark: "mark".into(),
        }
    }

    const NET: &str = "192.0.2.0/24";

    struct Scene {
        announcer: Announcer,
        begin: Instant,
    }

    impl Scene {
        fn new(adopted: Option<u32>, is_drained: bool) -> Self {
            let adopted = adopted.map(|metric| (NET.parse().unwrap(), metric)).into_iter().collect();
            Self { announcer: Announcer::new(settings(), adopted, is_drained), begin: Instant::now() }
        }

        fn at(&self, ms: u64) -> Instant {
            self.begin + Duration::from_millis(ms)
        }

        /// What is announced at that time, after it was told that so much is possible.
        fn see(&mut self, ms: u64, level: Level) -> Level {
            let abilities = BTreeMap::from([(NET.parse().unwrap(), Ability::new(level, "because"))]);
            let now = self.at(ms);
            self.announcer.evaluate(&abilities, now);
            self.announcer.entries()[&NET.parse().unwrap()].level
        }
    }

    use Level::{Lowered, Normal, Withdrawn};

    #[test]
    fn what_is_served_for_long_enough_is_announced_and_what_is_not_is_withdrawn() {
        let mut scene = Scene::new(None, false);
        let table = [
            // (at, can, announced then)
            (0, Withdrawn, Withdrawn),
            (100, Normal, Withdrawn),
            (3_000, Normal, Withdrawn),
            (3_100, Normal, Normal),
            (4_000, Withdrawn, Normal),
            (4_900, Normal, Normal), // too short to be believed
            (5_000, Withdrawn, Normal),
            (5_500, Lowered, Normal), // worse than normal all the while
            (6_000, Lowered, Lowered),
            (6_100, Normal, Lowered),
            (9_100, Normal, Normal),
        ];
        for (ms, can, announced) in table {
            assert_eq!(scene.see(ms, can), announced, "at {ms} ms");
        }
        assert_eq!(scene.announcer.changes(), &BTreeMap::from([(Normal, 2), (Lowered, 1), (Withdrawn, 0)]));
    }

    #[test]
    fn routes_of_the_daemon_before_us_stay_without_a_gap() {
        for (metric, level) in [(100, Normal), (1000, Lowered)] {
            let mut scene = Scene::new(Some(metric), false);
            assert_eq!(scene.see(0, level), level);
            assert_eq!(scene.announcer.routes(), BTreeMap::from([(NET.parse().unwrap(), metric)]));
            assert_eq!(scene.see(10, Withdrawn), level, "a moment's inability is not believed");
            assert_eq!(scene.see(1_010, Withdrawn), Withdrawn);
            assert!(scene.announcer.routes().is_empty());
        }
    }

    #[test]
    fn a_drain_lowers_first_and_withdraws_then_and_an_undrain_needs_no_patience() {
        let mut scene = Scene::new(Some(100), false);
        assert_eq!(scene.see(0, Normal), Normal);
        scene.announcer.drain(scene.at(1_000));
        assert_eq!(scene.see(1_000, Normal), Lowered);
        scene.announcer.drain(scene.at(3_000)); // a second order prolongs nothing
        assert_eq!(scene.see(5_999, Normal), Lowered);
        assert_eq!(scene.see(6_000, Normal), Withdrawn);
        assert_eq!(scene.announcer.phase(), Phase::Withdrawn);
        scene.announcer.undrain();
        assert_eq!(scene.see(7_000, Normal), Normal);
        // One that can do less than a drain leaves it does not do more because of it.
        scene.see(8_000, Withdrawn);
        assert_eq!(scene.see(9_000, Withdrawn), Withdrawn);
        scene.announcer.drain(scene.at(9_000));
        assert_eq!(scene.see(9_001, Withdrawn), Withdrawn);
    }

    #[test]
    fn a_router_that_was_drained_stays_so() {
        let mut scene = Scene::new(None, true);
        for ms in [0, 3_000, 60_000] {
            assert_eq!(scene.see(ms, Normal), Withdrawn);
        }
        scene.announcer.undrain();
        assert_eq!(scene.see(60_001, Normal), Normal);
    }

    #[test]
    fn what_flaps_has_to_be_served_twice_as_long_each_time_up_to_a_minute() {
        let mut scene = Scene::new(None, false);
        let (mut ms, mut waits) = (0, Vec::new());
        scene.see(ms, Withdrawn);
        for _ in 0..7 {
            let begun = ms;
            while scene.see(ms, Normal) == Withdrawn {
                ms += 500;
            }
            waits.push((ms - begun) / 1_000);
            while scene.see(ms, Withdrawn) == Normal {
                ms += 500;
            }
        }
        assert_eq!(waits, [3, 6, 12, 24, 48, 60, 60]);
        while scene.see(ms, Normal) == Withdrawn {
            ms += 500;
        }
        ms += 61_000;
        assert_eq!(scene.see(ms, Withdrawn), Normal);
        assert_eq!(scene.see(ms + 1_000, Withdrawn), Withdrawn);
        scene.see(ms + 1_000, Normal);
        assert_eq!(scene.see(ms + 4_000, Normal), Normal, "a minute without a fault, and all is forgiven");
    }

    #[test]
    fn a_subnet_that_is_no_longer_configured_is_withdrawn_at_once() {
        let mut scene = Scene::new(Some(100), false);
        assert_eq!(scene.see(0, Normal), Normal);
        scene.announcer.evaluate(&BTreeMap::new(), scene.at(1));
        assert!(scene.announcer.routes().is_empty());
    }

    #[test]
    fn the_next_deadline_is_known() {
        let mut scene = Scene::new(Some(100), false);
        let can = |level| BTreeMap::from([(NET.parse().unwrap(), Ability::new(level, "because"))]);
        assert_eq!(scene.announcer.evaluate(&can(Normal), scene.at(0)), None);
        assert_eq!(scene.announcer.evaluate(&can(Withdrawn), scene.at(500)), Some(scene.at(1_500)));
        scene.announcer.drain(scene.at(600));
        assert_eq!(scene.announcer.evaluate(&can(Normal), scene.at(600)), Some(scene.at(5_600)));
    }
}
