//! Which target is asked when, and what its silence means. Pure: `now` and answers come in, probes and changes come out.
//!
//! Each target has its own place in the interval, so a thousand of them are a steady trickle and no burst. A path is
//! judged by probes, not by time: a router that is itself not scheduled for a second sends none meanwhile, and takes
//! nobody for lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use slr_model::NodeName;

use super::secret::Secret;
use super::settings::{DOUBTED_AFTER, Settings};
use super::target::{Answer, Path, Record, Target, Turn};

/// Most targets: as many as a router has hosts, in both families.
pub const TARGETS_MAX: usize = 8_192;

/// Most probes of one [`Prober::handle_timeout`]: they share a time stamp, which so stays within some ten microseconds
/// of the truth.
pub const BATCH: usize = 16;

/// Turns in the interval are this far apart, so that those of one turn go out together: waking up costs more than a probe.
pub const TICK: Duration = Duration::from_millis(10);

/// What is to be done, or known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this.
    Send(Probe),
    /// A path is another than it was, or in doubt, or that no more.
    Changed(Change),
}

/// A question to be sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// To whom the tunnel leads.
    pub address: IpAddr,
    /// See [`Target::other`].
    pub other: Option<IpAddr>,
    /// Comes back with the answer.
    pub nonce: u64,
    /// So does this: nanoseconds since the prober began.
    pub clock_ns: u64,
    /// Varies the outer header.
    pub entropy: u16,
}

/// A path that is another than it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The host.
    pub name: NodeName,
    /// Its tunnel address.
    pub address: IpAddr,
    /// What is thought of the path now.
    pub path: Path,
    /// The last probes have no answer, which may become a lost path.
    pub is_doubted: bool,
}

/// An answer as it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its source.
    pub from: IpAddr,
    /// As it came back.
    pub nonce: u64,
    /// As it came back.
    pub clock_ns: u64,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Probes handed out to be sent.
    pub sent: u64,
    /// Answered in time.
    pub answered: u64,
    /// Not answered in time.
    pub unanswered: u64,
    /// Answers after their time.
    pub late: u64,
    /// Second answers.
    pub duplicate: u64,
    /// Answers to no probe that we remember, or from somebody else than was asked.
    pub forged: u64,
}

/// A target and its path.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetReport {
    /// The host.
    pub name: NodeName,
    /// Its tunnel address.
    pub address: IpAddr,
    /// What is thought of the path.
    pub path: Path,
    /// Since when.
    pub since: Instant,
    /// Smoothed round-trip time.
    pub rtt_us: Option<u32>,
    /// The shortest of the window.
    pub rtt_us_min: Option<u32>,
    /// Share of unanswered probes in the window, 0 to 1.
    pub loss: f64,
    /// Unanswered since the last answered one.
    pub unanswered: u32,
}

/// Asks targets.
#[derive(Debug)]
pub struct Prober {
    settings: Settings,
    secret: Secret,
    /// Clock and phases count from here.
    epoch: Instant,
    /// Number of the next probe. Never one twice, whatever becomes of targets.
    number: u64,
    slots: Vec<Option<Record>>,
    by_key: BTreeMap<(NodeName, IpAddr), u16>,
    /// Every target's next deadline, and its slot.
    schedule: BTreeSet<(Instant, u16)>,
    /// Targets that are insisted on.
    silent: usize,
    outputs: VecDeque<Output>,
    counts: Counts,
}

impl Prober {
    /// A prober without targets.
    pub fn new(settings: Settings, secret: Secret, now: Instant) -> Self {
        Self {
            settings,
            secret,
            epoch: now,
            number: 0,
            slots: Vec::new(),
            by_key: BTreeMap::new(),
            schedule: BTreeSet::new(),
            silent: 0,
            outputs: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// Asks these targets from now on, and no others. Those it asks already keep what is known of them. Targets beyond
    /// [`TARGETS_MAX`] are left out; returns how many.
    pub fn watch(&mut self, targets: Vec<Target>, now: Instant) -> usize {
        let wanted: BTreeMap<(NodeName, IpAddr), Target> =
            targets.into_iter().map(|target| ((target.name.clone(), target.address), target)).collect();
        let gone: Vec<_> = self.by_key.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
        for key in gone {
            let slot = self.by_key.remove(&key).expect("taken from the same map");
            let record = self.slots[usize::from(slot)].take().expect("a slot in the map is in use");
            self.schedule.remove(&(record.due, slot));
            self.silent -= usize::from(record.insisted > 0);
        }
        let mut left_out = 0;
        for (key, target) in wanted {
            if let Some(&slot) = self.by_key.get(&key) {
                self.slots[usize::from(slot)].as_mut().expect("a slot in the map is in use").target = target;
            } else if self.by_key.len() < TARGETS_MAX {
                self.add(target, now);
            } else {
                left_out += 1;
            }
        }
        left_out
    }

    fn add(&mut self, target: Target, now: Instant) {
        let free = self.slots.iter().position(Option::is_none);
        let index = free.unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let slot = u16::try_from(index).expect("TARGETS_MAX is below 2^16");
        let phase = self.phase(&target);
        let next_send = self.turn_after(phase, now);
        self.by_key.insert((target.name.clone(), target.address), slot);
        self.schedule.insert((next_send, slot));
        self.slots[index] = Some(Record::new(target, phase, next_send, now));
    }

    /// From now on with other times. What is known of the targets stays.
    pub fn configure(&mut self, settings: Settings, now: Instant) {
        self.settings = settings;
        self.schedule.clear();
        for index in 0..self.slots.len() {
            let Some(mut record) = self.slots[index].take() else { continue };
            record.phase = self.phase(&record.target);
            record.next_send = self.turn_after(record.phase, now);
            self.schedule_again(record, index as u16);
        }
    }

    /// Where in the interval the target's turns are.
    fn phase(&self, target: &Target) -> Duration {
        let steps = (self.settings.interval().as_nanos() / TICK.as_nanos()).max(1);
        let step = self.secret.phase(&target.name, target.address, steps as u64);
        TICK * u32::try_from(step).expect("a minute has 6,000 ticks")
    }

    /// The first turn of this phase after `now`.
    fn turn_after(&self, phase: Duration, now: Instant) -> Instant {
        let (interval, phase) = (self.settings.interval().as_nanos(), phase.as_nanos());
        let passed = now.saturating_duration_since(self.epoch).as_nanos();
        let turns = if passed < phase { 0 } else { (passed - phase) / interval + 1 };
        let nanoseconds = phase + turns * interval;
        self.epoch + Duration::from_nanos(u64::try_from(nanoseconds).expect("a process does not live 584 years"))
    }

    /// Puts a record back, to be looked at when a probe is to be sent or judged.
    fn schedule_again(&mut self, mut record: Record, slot: u16) {
        let judged = record.oldest_pending().map(|at| at + self.settings.reply_wait());
        let sends = record.next_insisting.map_or(record.next_send, |at| at.min(record.next_send));
        record.due = judged.map_or(sends, |at| at.min(sends));
        self.schedule.insert((record.due, slot));
        self.slots[usize::from(slot)] = Some(record);
    }

    /// Takes an answer that arrived at `received`. Give it every answer that has arrived before [`Prober::handle_timeout`]
    /// judges.
    pub fn handle_input(&mut self, reply: Reply, received: Instant) {
        let slot = (reply.nonce & 0xffff) as u16;
        let asked = |target: &Target| target.address == reply.from || target.other == Some(reply.from);
        let record = self.slots.get_mut(usize::from(slot)).and_then(Option::as_mut);
        let Some(record) = record.filter(|record| asked(&record.target)) else {
            self.counts.forged += 1;
            return;
        };
        // The schedule keeps the probe's deadline: nothing is done then, and it is put back.
        let was_insisted = record.insisted > 0;
        match record.answer(reply.nonce, reply.clock_ns, received, self.settings.reply_wait()) {
            Answer::InTime => {
                self.counts.answered += 1;
                enter(&mut self.outputs, record, Path::Alive, received);
            }
            Answer::Late => self.counts.late += 1,
            Answer::Duplicate => self.counts.duplicate += 1,
            Answer::Forged => self.counts.forged += 1,
        }
        self.silent -= usize::from(was_insisted && record.insisted == 0);
    }

    /// Does what is due, [`BATCH`] probes at most. As long as [`Prober::poll_timeout`] is not after `now`, there is more.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut sent = 0;
        while sent < BATCH
            && let Some(&(at, slot)) = self.schedule.first()
            && at <= now
        {
            self.schedule.pop_first();
            let mut record = self.slots[usize::from(slot)].take().expect("a scheduled slot is in use");
            if let Some(until) = now.checked_sub(self.settings.reply_wait()) {
                self.counts.unanswered += record.judge(until);
            }
            if record.unanswered >= self.settings.lost_after() {
                enter(&mut self.outputs, &mut record, Path::Lost, now);
                self.stop_insisting(&mut record);
            }
            if record.next_send <= now {
                self.send(&mut record, slot, Turn::Regular, now);
                sent += 1;
            } else if record.next_insisting.is_some_and(|at| at <= now) {
                self.send(&mut record, slot, Turn::Insisting, now);
                sent += 1;
            }
            self.schedule_again(record, slot);
        }
    }

    /// A lost path is asked in its turns alone.
    fn stop_insisting(&mut self, record: &mut Record) {
        self.silent -= usize::from(record.insisted > 0);
        (record.insisted, record.next_insisting) = (0, None);
    }

    /// When to insist, unless an answer comes: a path that was not lost and now is silent is asked more often, until it
    /// answers or is lost. It takes as many probes without an answer as chance hardly ever takes in a row.
    fn insist_at(&self, record: &Record, turn: Turn, now: Instant) -> Option<Instant> {
        if record.path == Path::Lost {
            return None;
        }
        let apart = self.settings.insisting(self.silent)?;
        let usual = record.window.rtt_us().map(|us| Duration::from_micros(us.into()));
        match (turn, record.next_insisting) {
            // One among those that insist.
            (Turn::Regular, Some(at)) => Some(at),
            (Turn::Regular, None) => Some(now + self.settings.overdue(usual)),
            // From when it was due, or turns that are a bit late would add up.
            (Turn::Insisting, due) => Some(due.map_or(now, |due| due.max(now - apart.min(TICK))) + apart),
        }
    }

    /// One probe, and its target's next turn. Turns that were missed are not made up for.
    fn send(&mut self, record: &mut Record, slot: u16, turn: Turn, now: Instant) {
        let nonce = self.secret.nonce(self.number, slot);
        let passed = now.saturating_duration_since(self.epoch).as_nanos();
        let clock_ns = u64::try_from(passed).expect("a process does not live 584 years");
        record.sent(self.number, turn, nonce, clock_ns, now);
        if turn == Turn::Insisting {
            self.silent += usize::from(record.insisted == 0);
            record.insisted += 1;
            if record.insisted == DOUBTED_AFTER && record.path == Path::Alive {
                record.is_doubted = true;
                tell(&mut self.outputs, record);
            }
        }
        record.next_insisting = self.insist_at(record, turn, now);
        record.next_send = self.turn_after(record.phase, now);
        let Target { address, other, .. } = record.target;
        self.outputs.push_back(Output::Send(Probe {
            address,
            other,
            nonce,
            clock_ns,
            entropy: Secret::entropy(nonce),
        }));
        self.number += 1;
        self.counts.sent += 1;
    }

    /// The next thing to do or to know.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Prober::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.schedule.first().map(|(at, _)| *at)
    }

    /// Every target, by name and address.
    pub fn report(&self) -> Vec<TargetReport> {
        let records = self.by_key.values().filter_map(|slot| self.slots[usize::from(*slot)].as_ref());
        let report = |record: &Record| TargetReport {
            name: record.target.name.clone(),
            address: record.target.address,
            path: record.path,
            since: record.since,
            rtt_us: record.window.rtt_us(),
            rtt_us_min: record.window.rtt_us_min(),
            loss: record.window.loss(),
            unanswered: record.unanswered,
        };
        records.map(report).collect()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

fn enter(outputs: &mut VecDeque<Output>, record: &mut Record, path: Path, now: Instant) {
    if record.enter(path, now) {
        tell(outputs, record);
    }
}

fn tell(outputs: &mut VecDeque<Output>, record: &Record) {
    let Target { name, address, .. } = record.target.clone();
    outputs.push_back(Output::Changed(Change { name, address, path: record.path, is_doubted: record.is_doubted }));
}
