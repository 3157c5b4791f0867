//! One target: its probes on their way, and what is thought of its path.
//!
//! ```text
//!                 an answer in time                       an answer in time
//!   Unknown ──────────────────────► Alive ◄──────────────────────────────── Lost
//!      │                              │                                       ▲
//!      └──────────────────────────────┴── lost_after unanswered ones in a row ┘
//! ```
//!
//! An alive path is *in doubt* from the third probe without an answer until it has one, or is lost.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use slr_model::NodeName;

use super::settings::REMEMBERED;
use super::window::Window;

/// A host's tunnel address to be asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The host.
    pub name: NodeName,
    /// Where the tunnel leads.
    pub address: IpAddr,
    /// The host's tunnel address of the other family. The question inside the tunnel is for it where we have no address of
    /// our own, to be answered at, of the first's family.
    pub other: Option<IpAddr>,
}

/// What is thought of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Neither an answer nor enough silence yet.
    Unknown,
    /// It answers.
    Alive,
    /// It is silent.
    Lost,
}

impl Path {
    /// The word for it in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Path::Unknown => "unknown",
            Path::Alive => "alive",
            Path::Lost => "lost",
        }
    }
}

/// Why a probe was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It was the target's turn. These are counted for the loss.
    Regular,
    /// The answer to the one before is overdue.
    Insisting,
}

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pending,
    Answered,
    Unanswered,
}

/// A probe that was sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u64,
    turn: Turn,
    nonce: u64,
    clock_ns: u64,
    at: Instant,
    fate: Fate,
}

/// What an answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a probe on its way, within its time.
    InTime,
    /// After its time.
    Late,
    /// The second one to a probe.
    Duplicate,
    /// To no probe that we remember.
    Forged,
}

/// A target's state.
#[derive(Clone, Debug)]
pub struct Record {
    pub target: Target,
    pub path: Path,
    /// Since when.
    pub since: Instant,
    pub window: Window,
    /// Where in the interval its turns are.
    pub phase: Duration,
    /// When its next regular probe leaves.
    pub next_send: Instant,
    /// When its next insisting probe leaves, if there is no answer until then.
    pub next_insisting: Option<Instant>,
    /// How many have insisted since the last answer.
    pub insisted: u32,
    /// Whether the path was told to be in doubt.
    pub is_doubted: bool,
    /// The deadline that stands for it in the schedule; never later than what there is to do.
    pub due: Instant,
    /// Those without an answer since the last answered one.
    pub unanswered: u32,
    probes: VecDeque<Sent>,
    /// How many of them, from the oldest on, have met their fate: nobody walks over those again.
    settled: usize,
    /// Number of the newest answered probe.
    answered: Option<u64>,
}

impl Record {
    pub fn new(target: Target, phase: Duration, next_send: Instant, now: Instant) -> Self {
        Self {
            target,
            path: Path::Unknown,
            since: now,
            window: Window::default(),
            phase,
            next_send,
            next_insisting: None,
            insisted: 0,
            is_doubted: false,
            due: next_send,
            unanswered: 0,
            probes: VecDeque::new(),
            settled: 0,
            answered: None,
        }
    }

    /// A probe leaves.
    pub fn sent(&mut self, number: u64, turn: Turn, nonce: u64, clock_ns: u64, at: Instant) {
        if self.probes.len() == REMEMBERED {
            self.probes.pop_front();
            self.settled = self.settled.saturating_sub(1);
        }
        self.probes.push_back(Sent { number, turn, nonce, clock_ns, at, fate: Fate::Pending });
    }

    /// When the oldest probe on its way was sent.
    pub fn oldest_pending(&self) -> Option<Instant> {
        self.probes.get(self.settled).map(|sent| sent.at)
    }

    fn settle(&mut self) {
        while self.probes.get(self.settled).is_some_and(|sent| sent.fate != Fate::Pending) {
            self.settled += 1;
        }
    }

    /// An answer to the probe with this nonce and clock; `in_time`: whether it came soon enough after the probe was sent.
    pub fn answer(&mut self, nonce: u64, clock_ns: u64, received: Instant, wait: Duration) -> Answer {
        // From the newest: that is whose answer it is, nearly always.
        let Some(sent) = self.probes.iter_mut().rev().find(|sent| sent.nonce == nonce) else { return Answer::Forged };
        if sent.clock_ns != clock_ns {
            return Answer::Forged;
        }
        let rtt = received.saturating_duration_since(sent.at);
        match sent.fate {
            Fate::Answered => return Answer::Duplicate,
            Fate::Unanswered => return Answer::Late,
            Fate::Pending if rtt > wait => return Answer::Late,
            Fate::Pending => sent.fate = Fate::Answered,
        }
        // An answer says nothing about silence after its own probe.
        if self.answered.is_none_or(|newest| newest < sent.number) {
            self.answered = Some(sent.number);
            (self.unanswered, self.insisted, self.next_insisting) = (0, 0, None);
        }
        if sent.turn == Turn::Regular {
            self.window.answered(u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX));
        }
        self.settle();
        Answer::InTime
    }

    /// Judges the probes that were sent before `until`. Returns how many regular ones nobody answered.
    pub fn judge(&mut self, until: Instant) -> u64 {
        let mut found = 0;
        for sent in self.probes.iter_mut().skip(self.settled).filter(|sent| sent.fate == Fate::Pending) {
            if sent.at > until {
                break;
            }
            sent.fate = Fate::Unanswered;
            if self.answered.is_none_or(|newest| newest < sent.number) {
                self.unanswered += 1;
            }
            if sent.turn == Turn::Regular {
                self.window.unanswered();
                found += 1;
            }
        }
        self.settle();
        found
    }

    /// Moves to another state, or out of doubt; false if it is there.
    pub fn enter(&mut self, path: Path, now: Instant) -> bool {
        let changes = self.path != path || self.is_doubted;
        self.is_doubted = false;
        if self.path != path {
            (self.path, self.since) = (path, now);
        }
        changes
    }
}
