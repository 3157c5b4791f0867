//! A child's adverts: what is sent when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use slr_model::{Advert, HostState, Loads, ServiceKey};
use slr_wire::{AdvertPart, Welcome};

use crate::limit::Limit;

/// Changes of state that go out at once, each as a full advert on the stream; beyond them, one each tenth of a second. A
/// service that flaps faster than that has no state worth telling.
const FULL_BURST: u32 = 8;
const FULL_PERIOD: Duration = Duration::from_millis(800);
/// Asks that are answered at once, and again in that time: parents ask ten times a second, and networks deliver in bursts.
const ASKS_BURST: u32 = 8;
const ASKS_PERIOD: Duration = Duration::from_millis(400);
/// An advert of changed loads goes out before its time, but not sooner than this after the last one.
const EARLY_APART: Duration = Duration::from_millis(400);
/// Loads that have changed by more than this part of the larger one, and by more than that at all, do not wait for their
/// time: shares follow them within a second, and the noise of an idle host is not worth a packet.
const EARLY_SHARE: f64 = 0.2;
const EARLY_LEAST: f64 = 0.05;
/// Acknowledgements that may be lost in a row until the parent counts as not hearing.
const UNHEARD_ACKS: u32 = 3;
/// Acknowledgements that are missing in a row until the connection counts as dead.
const DEAD_ACKS: u32 = 8;

/// Whether the parent hears the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hearing {
    Heard,
    Unheard,
    Dead,
}

/// The adverts of one session.
#[derive(Clone, Debug)]
pub(super) struct Offering {
    interval: Duration,
    /// Adverts that the parent answers with one acknowledgement.
    adverts_an_ack: u32,
    sequence: u64,
    acked: u64,
    /// Adverts sent in their time since the newest acknowledgement.
    unacked: u32,
    /// When the next advert goes out in datagrams.
    next: Instant,
    /// What the parent was last told on the stream; `None`: nothing yet.
    told: Option<BTreeMap<ServiceKey, HostState>>,
    /// Sequence of the advert that told it.
    told_in: u64,
    full_limit: Limit,
    full_due: Option<Instant>,
    asks: Limit,
    /// Whether the parent has asked and is not answered yet.
    is_asked: bool,
    /// When the last advert of any kind went out, and what loads it had: the node's, then each service's.
    sent: Option<(Instant, Vec<Loads>)>,
    early_due: Option<Instant>,
}

impl Offering {
    pub fn new(now: Instant, welcome: &Welcome, first_in: Duration) -> Self {
        let mut offering = Self {
            interval: Duration::ZERO,
            adverts_an_ack: 1,
            sequence: 0,
            acked: 0,
            unacked: 0,
            next: now + first_in,
            told: None,
            told_in: 0,
            full_limit: Limit::new(FULL_BURST, FULL_PERIOD),
            full_due: None,
            asks: Limit::new(ASKS_BURST, ASKS_PERIOD),
            is_asked: false,
            sent: None,
            early_due: None,
        };
        offering.configure(now, welcome);
        offering
    }

    /// The parent wants other intervals.
    pub fn configure(&mut self, now: Instant, welcome: &Welcome) {
        self.interval = Duration::from_millis(welcome.advert_interval_ms.into());
        self.adverts_an_ack = welcome.ack_interval_ms.div_ceil(welcome.advert_interval_ms).max(1);
        self.next = self.next.min(now + self.interval);
    }

    /// Looks whether the offer differs in what must arrive: which services, and their states; or in its loads by more than
    /// can wait.
    pub fn offered(&mut self, now: Instant, advert: &Advert) {
        let same = |told: &BTreeMap<ServiceKey, HostState>| {
            told.len() == advert.services.len()
                && advert.services.iter().all(|service| told.get(&service.key) == Some(&service.state))
        };
        self.full_due = match &self.told {
            Some(told) if same(told) => None,
            _ => Some(self.full_limit.ready_at(now)),
        };
        self.early_due = match &self.sent {
            Some((at, loads)) if is_news(loads, advert) => Some((*at + EARLY_APART).max(now)),
            _ => None,
        };
    }

    /// The parent asks: the next advert is due now.
    pub fn asked(&mut self, now: Instant) {
        self.is_asked |= self.asks.take(now);
    }

    pub fn poll_timeout(&self) -> Instant {
        [self.full_due, self.early_due].into_iter().flatten().fold(self.next, Instant::min)
    }

    /// What is due: parts for the stream (`full`) or for datagrams.
    pub fn take_due(&mut self, now: Instant, advert: &Advert) -> Vec<AdvertPart> {
        if self.full_due.is_some_and(|due| due <= now) && self.full_limit.take(now) {
            self.full_due = None;
            self.told = Some(advert.services.iter().map(|service| (service.key, service.state)).collect());
            let parts = self.split(now, advert, true);
            self.told_in = self.sequence;
            return parts;
        }
        if self.next <= now {
            // After a sleep of many intervals one advert is due, not many.
            self.next = (self.next + self.interval).max(now + self.interval / 2);
            self.unacked = self.unacked.saturating_add(1);
            return self.split(now, advert, false);
        }
        if self.is_asked || self.early_due.is_some_and(|due| due <= now) {
            return self.split(now, advert, false);
        }
        Vec::new()
    }

    /// With nothing to offer yet there is no advert, and its time goes by.
    pub fn skip_due(&mut self, now: Instant) {
        self.is_asked = false;
        if self.next <= now {
            self.next = now + self.interval;
        }
    }

    fn split(&mut self, now: Instant, advert: &Advert, full: bool) -> Vec<AdvertPart> {
        self.sequence += 1;
        let mut loads = self.sent.take().map(|(_, loads)| loads).unwrap_or_default();
        loads.clear();
        loads.extend(loads_of(advert).cloned());
        (self.sent, self.early_due, self.is_asked) = (Some((now, loads)), None, false);
        AdvertPart::split(advert, self.sequence, full).expect("the offer was checked when it was made")
    }

    /// The parent has heard that advert; `false`: there was none such.
    pub fn acked(&mut self, sequence: u64) -> bool {
        let known = sequence.min(self.sequence);
        if known > self.acked {
            (self.acked, self.unacked) = (known, 0);
        }
        sequence <= self.sequence
    }

    /// The states that the parent was last told, once it has acknowledged that advert or a later one.
    pub fn acknowledged(&self) -> Option<&BTreeMap<ServiceKey, HostState>> {
        self.told.as_ref().filter(|_| self.acked >= self.told_in)
    }

    /// Counted in adverts of the interval, not in time: a child that was starved or stopped has not been unheard meanwhile.
    /// Nor in those that were asked for: they come faster than acknowledgements do.
    pub fn hearing(&self) -> Hearing {
        match self.unacked {
            missing if missing > self.adverts_an_ack.saturating_mul(DEAD_ACKS) => Hearing::Dead,
            missing if missing > self.adverts_an_ack.saturating_mul(UNHEARD_ACKS) => Hearing::Unheard,
            _ => Hearing::Heard,
        }
    }
}

fn loads_of(advert: &Advert) -> impl Iterator<Item = &Loads> {
    std::iter::once(&advert.loads).chain(advert.services.iter().map(|service| &service.loads))
}

/// Whether the advert has a load that the parent should know of before the next one's time. Other services are told at
/// once anyway.
fn is_news(told: &[Loads], advert: &Advert) -> bool {
    let differs = |(told, new): (&Loads, &Loads)| {
        new.iter().any(|(name, value)| {
            told.get(name.as_str()).is_none_or(|told| {
                let apart = (value - told).abs();
                apart > EARLY_LEAST && apart > EARLY_SHARE * value.abs().max(told.abs())
            })
        })
    };
    told.iter().zip(loads_of(advert)).any(differs)
}

#[cfg(test)]
mod tests {
    use slr_model::{Loads, ServiceAdvert};

    use super::*;

    fn advert(state: HostState) -> Advert {
        let key = "tcp/80@192.0.2.0/24".parse().unwrap();
        let (reason, weight) = (String::new(), Default::default());
        let service = ServiceAdvert { key, state, reason, loads: Loads::new(), flows: 0, weight };
        Advert { loads: Loads::new(), services: vec![service] }
    }

    #[test]
    fn states_count_as_acknowledged_when_the_advert_that_told_them_or_a_later_one_is() {
        let now = Instant::now();
        let welcome = Welcome {
            session: 1,
            advert_interval_ms: 400,
            silent_after_ms: 1_000,
            tunnel_sources: Vec::new(),
            ack_interval_ms: 400,
        };
        let mut offering = Offering::new(now, &welcome, Duration::ZERO);
        let send = |offering: &mut Offering, state| {
            offering.offered(now, &advert(state));
            let sent = offering.take_due(now, &advert(state));
            sent.last().expect("something is due").sequence
        };
        let states =
            |offering: &Offering| offering.acknowledged().map(|told| told.values().copied().collect::<Vec<_>>());
        let first = send(&mut offering, HostState::Active);
        assert_eq!(states(&offering), None);
        assert!(offering.acked(first));
        assert_eq!(states(&offering), Some(vec![HostState::Active]));
        let second = send(&mut offering, HostState::Draining);
        assert!(offering.acked(first), "an old acknowledgement, late");
        assert_eq!(states(&offering), None);
        let third = offering.take_due(now, &advert(HostState::Draining))[0].sequence;
        assert!(third > second && offering.acked(third));
        assert_eq!(states(&offering), Some(vec![HostState::Draining]));
    }
}
