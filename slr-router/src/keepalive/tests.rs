//! The prober against made-up hosts and a made-up clock.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use slr_testkit::seed::{Rng, announced_seed};

use super::prober::{BATCH, Change, Output, Probe, Prober, Reply, TARGETS_MAX, TICK, TargetReport};
use super::secret::Secret;
use super::{Path, Settings, Target};

const INTERVAL: Duration = Duration::from_millis(400);

fn target(name: &str, address: &str) -> Target {
    Target { name: name.parse().unwrap(), address: address.parse().unwrap(), other: None }
}

fn many(count: u32) -> Vec<Target> {
    (0..count).map(|n| target(&format!("h{n}"), &std::net::Ipv4Addr::from(0x0a01_0000 + n).to_string())).collect()
}

/// A prober and its clock, and what came out.
struct Bench {
    prober: Prober,
    start: Instant,
    now: Instant,
    probes: Vec<(Duration, Probe)>,
    changes: Vec<(Duration, Change)>,
    /// Answers on their way.
    coming: BTreeMap<(Instant, u64), Probe>,
}

impl Bench {
    fn new(targets: Vec<Target>) -> Self {
        let start = Instant::now();
        let mut prober = Prober::new(Settings::default(), Secret::new([1, 2]), start);
        assert_eq!(prober.watch(targets, start), 0);
        Self { prober, start, now: start, probes: Vec::new(), changes: Vec::new(), coming: BTreeMap::new() }
    }

    fn passed(&self) -> Duration {
        self.now - self.start
    }

    fn collect(&mut self) -> Vec<Probe> {
        let mut fresh = Vec::new();
        while let Some(output) = self.prober.poll_output() {
            match output {
                Output::Send(probe) => {
                    fresh.push(probe.clone());
                    self.probes.push((self.passed(), probe));
                }
                Output::Changed(change) => self.changes.push((self.passed(), change)),
            }
        }
        fresh
    }

    /// Lets time pass, deadline by deadline; `answer` says after how long a probe is answered, if it is.
    fn run(&mut self, time: Duration, mut answer: impl FnMut(&Probe) -> Option<Duration>) {
        let end = self.now + time;
        loop {
            let arrival = self.coming.first_key_value().map(|((at, _), _)| *at);
            let next = [arrival, self.prober.poll_timeout()].into_iter().flatten().min();
            let Some(next) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            while let Some(entry) = self.coming.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let ((at, _), probe) = entry.remove_entry();
                self.reply(&probe, at);
            }
            self.prober.handle_timeout(self.now);
            for probe in self.collect() {
                if let Some(delay) = answer(&probe) {
                    self.coming.insert((self.now + delay, probe.nonce), probe);
                }
            }
        }
        self.now = end;
    }

    fn reply(&mut self, probe: &Probe, at: Instant) {
        let reply = Reply { from: probe.address, nonce: probe.nonce, clock_ns: probe.clock_ns };
        self.prober.handle_input(reply, at);
        self.collect();
    }

    fn only(&self) -> TargetReport {
        let mut report = self.prober.report();
        assert_eq!(report.len(), 1);
        report.remove(0)
    }

    /// Changes of paths, without doubts that came and went.
    fn paths(&self) -> Vec<Path> {
        let mut last = BTreeMap::new();
        let is_new = |change: &&Change| last.insert(change.address, change.path) != Some(change.path);
        self.changes.iter().map(|(_, change)| change).filter(is_new).map(|change| change.path).collect()
    }

    /// When the path was lost.
    fn lost_at(&self) -> Duration {
        self.changes.iter().find(|(_, change)| change.path == Path::Lost).expect("it is lost").0
    }
}

fn after(us: u64) -> impl FnMut(&Probe) -> Option<Duration> {
    move |_| Some(Duration::from_micros(us))
}

#[test]
fn a_thousand_hosts_are_a_trickle_and_each_is_asked_every_interval() {
    let mut bench = Bench::new(many(1_000));
    bench.run(Duration::from_secs(2), after(300));
    let mut by_tick: BTreeMap<u128, u32> = BTreeMap::new();
    let mut by_host: BTreeMap<IpAddr, Vec<Duration>> = BTreeMap::new();
    for (at, probe) in &bench.probes {
        *by_tick.entry(at.as_millis() / TICK.as_millis()).or_default() += 1;
        by_host.entry(probe.address).or_default().push(*at);
    }
    let most = by_tick.values().max().unwrap();
    assert!(*most < 60, "25 a tick on average, never more than some twice that: {most}");
    assert_eq!(by_host.len(), 1_000);
    for times in by_host.values() {
        assert_eq!(times.len(), 5);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == INTERVAL), "{times:?}");
    }
    bench.run(Duration::from_millis(1), after(300));
    assert_eq!(bench.prober.counts().answered, bench.prober.counts().sent);
}

#[test]
fn the_first_answer_or_enough_silence_ends_unknown() {
    let mut bench = Bench::new(vec![target("h1", "10.0.0.1"), target("h2", "fd00::2")]);
    let alive: IpAddr = "10.0.0.1".parse().unwrap();
    bench.run(Duration::from_millis(1_390), |probe| (probe.address == alive).then_some(Duration::from_millis(1)));
    let found: BTreeMap<IpAddr, Path> = bench.changes.iter().map(|(_, change)| (change.address, change.path)).collect();
    assert_eq!(found[&alive], Path::Alive);
    assert_eq!(found[&"fd00::2".parse().unwrap()], Path::Lost);
    assert_eq!(bench.changes.len(), 2);
    let first = bench.probes.iter().find(|(_, probe)| probe.address.is_ipv6()).unwrap().0;
    // Two regular ones, and eighteen that insist: the first after 50 ms, the others 30 ms apart. The last has waited.
    assert_eq!(bench.lost_at() - first, Duration::from_millis(50 + 17 * 30) + Settings::default().reply_wait());
}

#[test]
fn a_cut_is_doubted_at_once_noticed_in_time_and_its_end_with_the_first_answer() {
    let mut bench = Bench::new(vec![target("h1", "10.0.0.1")]);
    bench.run(Duration::from_secs(5), after(900));
    assert_eq!(bench.paths(), [Path::Alive]);
    let cut = bench.passed();
    bench.run(Duration::from_secs(3), |_| None);
    assert_eq!(bench.paths(), [Path::Alive, Path::Lost]);
    let (doubted, doubt) = &bench.changes[1];
    assert!(doubt.is_doubted && *doubted - cut <= INTERVAL + Duration::from_millis(110), "{doubted:?} {doubt:?}");
    let noticed = bench.lost_at() - cut;
    assert!((Duration::from_millis(750)..=Duration::from_millis(1_200)).contains(&noticed), "{noticed:?}");
    assert!(bench.only().loss > 0.2, "{:?}", bench.only());
    let healed = bench.passed();
    bench.run(Duration::from_secs(1), after(900));
    assert_eq!(bench.paths(), [Path::Alive, Path::Lost, Path::Alive]);
    assert!(bench.changes[3].0 - healed <= INTERVAL + Duration::from_micros(900));
}

#[test]
fn nineteen_losses_in_a_row_are_loss_and_no_lost_path() {
    let mut bench = Bench::new(vec![target("h1", "10.0.0.1")]);
    let mut count = 0;
    bench.run(Duration::from_secs(60), |_| {
        count += 1;
        (count % 20 == 1).then_some(Duration::from_millis(1))
    });
    assert_eq!(bench.paths(), [Path::Alive], "{:?}", bench.changes);
    assert!(bench.only().loss > 0.5, "{}", bench.only().loss);
    let doubts = bench.changes.iter().filter(|(_, change)| change.is_doubted).count();
    assert!(doubts > 20 && bench.changes.len() - doubts >= doubts, "each doubt begins and ends: {:?}", bench.changes);
}

#[test]
fn all_targets_together_insist_at_a_bounded_rate() {
    let mut bench = Bench::new(many(TARGETS_MAX as u32));
    bench.run(Duration::from_secs(1), after(500));
    let before = bench.prober.counts().sent;
    bench.run(Duration::from_secs(2), |_| None);
    let sent = bench.prober.counts().sent - before;
    let regular = TARGETS_MAX as u64 * 5;
    let most = regular + 2 * u64::from(super::settings::INSISTING_PER_S) * 5 / 4;
    assert!(sent > regular + 20_000 && sent < most, "{sent} probes in two seconds");
    assert!(bench.changes.iter().filter(|(_, change)| change.is_doubted).count() > TARGETS_MAX / 2);
}

#[test]
fn chance_loses_no_path_for_a_silent_one_is_asked_more_often() {
    // A fifth of the packets lost in each direction.
    const LOSS_PERCENT: u64 = 36;
    let mut rng = Rng::new(announced_seed("keepalive chance"));
    let mut bench = Bench::new(many(100));
    bench.run(Duration::from_secs(1), after(500));
    bench.run(Duration::from_secs(200), |_| (rng.below(100) >= LOSS_PERCENT).then_some(Duration::from_micros(500)));
    let lost: Vec<_> = bench.changes.iter().filter(|(_, change)| change.path == Path::Lost).collect();
    assert!(lost.is_empty(), "of 50,000 probes: {lost:?}");
    let losses = bench.prober.report().iter().map(|target| target.loss).sum::<f64>() / 100.0;
    assert!((losses - LOSS_PERCENT as f64 / 100.0).abs() < 0.05, "what insists does not count: {losses}");
    let counts = bench.prober.counts();
    assert!(counts.sent > 60_000 && counts.sent < 120_000, "{counts:?}");
    // A path that is cut is asked often for a second, and then as ever.
    bench.run(Duration::from_secs(2), |_| None);
    let before = bench.prober.counts().sent;
    bench.run(Duration::from_secs(2), |_| None);
    assert_eq!(bench.prober.counts().sent - before, 500);
    assert!(bench.prober.report().iter().all(|target| target.path == Path::Lost));
}

#[test]
fn an_answer_clears_only_the_silence_before_its_own_probe() {
    // Longer than the interval, so that several probes are on their way.
    let settings = Settings::new(INTERVAL, Duration::from_millis(900), 3).unwrap();
    let mut bench = Bench::new(vec![target("h1", "10.0.0.1")]);
    bench.prober.configure(settings, bench.now);
    bench.run(Duration::from_secs(4), |_| None);
    assert_eq!(bench.paths(), [Path::Lost]);
    let newest = bench.probes.last().unwrap().1.clone();
    let before = bench.only().unanswered;
    let older = bench.probes[bench.probes.len() - 2].1.clone();
    bench.reply(&newest, bench.now);
    assert_eq!((bench.only().unanswered, bench.only().path), (0, Path::Alive), "was {before}");
    bench.run(Duration::from_millis(150), |_| None);
    bench.reply(&older, bench.now);
    assert_eq!(bench.only().unanswered, 0);
}

#[test]
fn round_trips_are_smoothed_and_the_least_is_kept() {
    let mut bench = Bench::new(vec![target("h1", "10.0.0.1")]);
    bench.run(Duration::from_secs(2), after(1_000));
    assert_eq!((bench.only().rtt_us, bench.only().rtt_us_min, bench.only().loss), (Some(1_000), Some(1_000), 0.0));
    bench.run(INTERVAL, after(9_000));
    bench.run(Duration::from_millis(10), |_| None);
    assert_eq!((bench.only().rtt_us, bench.only().rtt_us_min), (Some(2_000), Some(1_000)), "an eighth of the change");
    bench.run(Duration::from_secs(45), after(9_000));
    let report = bench.only();
    assert_eq!((report.rtt_us, report.rtt_us_min), (Some(9_000), Some(9_000)), "a window later the old one is gone");
}

#[test]
fn late_doubled_and_forged_answers_are_counted_and_change_nothing() {
    let mut bench = Bench::new(vec![target("h1", "10.0.0.1"), target("h2", "10.0.0.2")]);
    bench.run(Duration::from_secs(3), |_| None);
    assert_eq!(bench.paths(), [Path::Lost, Path::Lost]);
    let sent = bench.probes.len();
    while bench.probes.len() == sent {
        bench.run(Duration::from_millis(1), |_| None);
    }
    let (unanswered, before) = (bench.prober.counts().unanswered, bench.prober.report());
    let (sent_at, old) = bench.probes[bench.probes.len() - 6].clone();
    bench.reply(&old, bench.now);
    // Read in time for judgement, but the kernel got it too late.
    let (_, pending) = bench.probes.last().unwrap().clone();
    bench.reply(&pending, bench.now + Duration::from_millis(250));
    assert_eq!(bench.prober.counts().late, 2, "sent at {sent_at:?}");
    let other: IpAddr = "10.0.0.9".parse().unwrap();
    for change in [
        |probe: &mut Probe| probe.nonce ^= 1 << 40,
        |probe: &mut Probe| probe.nonce ^= 1,
        |probe: &mut Probe| probe.nonce |= 0xffff,
        |probe: &mut Probe| probe.clock_ns += 1,
    ] {
        let mut forged = pending.clone();
        change(&mut forged);
        bench.reply(&forged, bench.now);
    }
    bench.reply(&Probe { address: other, ..pending.clone() }, bench.now);
    assert_eq!(bench.prober.counts().forged, 5);
    assert_eq!((bench.prober.report(), bench.prober.counts().unanswered), (before, unanswered), "nothing changed");
    bench.reply(&pending, bench.now);
    bench.reply(&pending, bench.now);
    assert_eq!((bench.prober.counts().answered, bench.prober.counts().duplicate), (1, 1));
}

#[test]
fn nonces_never_come_twice_and_another_secret_has_others() {
    let mut seen = std::collections::BTreeSet::new();
    for secret in [Secret::new([1, 2]), Secret::new([1, 3])] {
        for number in 0..10_000 {
            let nonce = secret.nonce(number, 7);
            assert_eq!(nonce & 0xffff, 7);
            assert!(seen.insert(nonce));
        }
    }
}

#[test]
fn hosts_come_and_go_and_the_others_keep_what_is_known() {
    let mut bench = Bench::new(many(3));
    bench.run(Duration::from_secs(1), after(500));
    let before = bench.prober.report();
    let stale = bench.probes.iter().rev().find(|(_, probe)| probe.address == before[1].address).unwrap().1.clone();
    let mut targets = many(4);
    targets.remove(1);
    bench.prober.watch(targets, bench.now);
    let report = bench.prober.report();
    assert_eq!((&report[0], &report[1]), (&before[0], &before[2]));
    assert_eq!((report[2].name.as_str(), report[2].path, report[2].rtt_us), ("h3", Path::Unknown, None));
    // h3 has the slot that h1 had; an answer for h1 is nobody's.
    bench.reply(&stale, bench.now);
    assert_eq!(bench.prober.counts().forged, 1);
    bench.run(Duration::from_secs(1), after(500));
    assert_eq!(bench.changes.len(), 4);
    assert!(bench.prober.report().iter().all(|target| target.path == Path::Alive));
    bench.prober.watch(Vec::new(), bench.now);
    assert_eq!((bench.prober.report().len(), bench.prober.poll_timeout()), (0, None));
}

#[test]
fn more_targets_than_the_bound_are_left_out() {
    let mut bench = Bench::new(Vec::new());
    assert_eq!(bench.prober.watch(many(TARGETS_MAX as u32 + 3), bench.now), 3);
    assert_eq!(bench.prober.report().len(), TARGETS_MAX);
}

#[test]
fn a_prober_that_was_away_takes_nobody_for_lost_and_makes_up_for_nothing() {
    let mut bench = Bench::new(many(100));
    bench.run(Duration::from_secs(2), after(500));
    let sent = bench.prober.counts().sent;
    // Ten seconds without a turn. What had arrived meanwhile is read first, with its own time.
    let away = bench.now;
    let pending: Vec<Probe> = bench.probes.iter().rev().take(100).map(|(_, probe)| probe.clone()).collect();
    bench.now += Duration::from_secs(10);
    for probe in pending {
        bench.reply(&probe, away + Duration::from_millis(1));
    }
    while bench.prober.poll_timeout().is_some_and(|at| at <= bench.now) {
        bench.prober.handle_timeout(bench.now);
    }
    bench.collect();
    assert_eq!(bench.prober.counts().sent - sent, 100, "one each");
    assert_eq!(bench.changes.len(), 100, "all alive, once");
    assert_eq!(bench.prober.counts().unanswered, 0);
}

#[test]
fn a_batch_is_bounded_and_a_deadline_that_remains_says_so() {
    let mut bench = Bench::new(many(100));
    bench.now += Duration::from_secs(1);
    let mut turns = 0;
    while bench.prober.poll_timeout().unwrap() <= bench.now {
        bench.prober.handle_timeout(bench.now);
        assert!(bench.collect().len() <= BATCH);
        turns += 1;
    }
    assert_eq!((turns, bench.prober.counts().sent), (7, 100));
}

#[test]
fn settings_that_do_not_work_are_refused_with_what_does() {
    let ms = Duration::from_millis;
    let text = |interval, wait, lost| Settings::new(interval, wait, lost).unwrap_err().to_string();
    assert!(text(ms(9), ms(200), 5).contains("10 ms to 60 s"));
    assert!(text(ms(100), ms(3_201), 5).contains("at most 3.2s"));
    assert!(text(ms(100), ms(0), 5).contains("more than 0"));
    assert!(text(ms(100), ms(100), 0).contains("1 to 50"));
    assert_eq!(Settings::new(ms(400), ms(200), 20), Ok(Settings::default()));
}

/// Random loss, delay, doubling, hosts that come and go, other settings: whatever comes, a path is alive if its last
/// settled probe was answered and lost only if enough in a row were not; and every probe ends in exactly one way.
#[test]
fn a_random_network_is_judged_by_its_probes_alone() {
    let seed = announced_seed("keepalive model");
    for round in 0..30 {
        let mut rng = Rng::new(seed.wrapping_add(round));
        let mut bench = Bench::new(many(1 + rng.below(20) as u32));
        for _ in 0..20 {
            let (loss, delay_us) = (rng.below(100), 1 + rng.below(300_000));
            let mut dice = Rng::new(rng.next_u64());
            bench.run(Duration::from_millis(rng.below(1_500)), |_| {
                (dice.below(100) >= loss).then(|| Duration::from_micros(1 + dice.below(delay_us)))
            });
            match rng.below(4) {
                0 => drop(bench.prober.watch(many(1 + rng.below(20) as u32), bench.now)),
                1 => {
                    let wait = Duration::from_millis(1 + rng.below(1_000));
                    let settings = Settings::new(INTERVAL, wait, 1 + rng.below(6) as u32).unwrap();
                    bench.prober.configure(settings, bench.now);
                }
                _ => {}
            }
            let counts = bench.prober.counts();
            assert!(counts.answered + counts.unanswered <= counts.sent, "seed {seed}, round {round}: {counts:?}");
            for target in bench.prober.report() {
                let alive_yet_silent = target.path == Path::Alive && target.unanswered >= 20;
                let lost_yet_answered = target.path == Path::Lost && target.unanswered == 0;
                assert!(!alive_yet_silent && !lost_yet_answered, "seed {seed}, round {round}: {target:?}");
                assert!(
                    (0.0..=1.0).contains(&target.loss) && target.rtt_us_min <= target.rtt_us.max(target.rtt_us_min)
                );
            }
        }
        // The network heals.
        bench.prober.configure(Settings::default(), bench.now);
        bench.run(Duration::from_secs(2), after(400));
        assert!(bench.prober.report().iter().all(|target| target.path == Path::Alive), "seed {seed}, round {round}");
    }
}
