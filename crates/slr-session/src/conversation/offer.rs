//! A child's adverts: what is sent when.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use slr_model::{Advert, HostState, ServiceKey};
use slr_wire::{AdvertPart, Welcome};

use super::limit::Limit;

/// Changes of state that go out at once, each as a full advert on the stream; beyond them, one each tenth of a second. A
/// service that flaps faster than that has no state worth telling.
const FULL_BURST: u32 = 8;
const FULL_PERIOD: Duration = Duration::from_millis(800);
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
    /// When the next advert goes out in datagrams.
    next: Instant,
    /// What the parent was last told on the stream; `None`: nothing yet.
    told: Option<BTreeMap<ServiceKey, HostState>>,
    full_limit: Limit,
    full_due: Option<Instant>,
}

impl Offering {
    pub fn new(now: Instant, welcome: &Welcome, first_in: Duration) -> Self {
        let mut offering = Self {
            interval: Duration::ZERO,
            adverts_an_ack: 1,
            sequence: 0,
            acked: 0,
            next: now + first_in,
            told: None,
            full_limit: Limit::new(FULL_BURST, FULL_PERIOD),
            full_due: None,
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

    /// Looks whether the offer differs in what must arrive: which services, and their states.
    pub fn offered(&mut self, now: Instant, advert: &Advert) {
        let same = |told: &BTreeMap<ServiceKey, HostState>| {
            told.len() == advert.services.len()
                && advert.services.iter().all(|service| told.get(&service.key) == Some(&service.state))
        };
        self.full_due = match &self.told {
            Some(told) if same(told) => None,
            _ => Some(self.full_limit.ready_at(now)),
        };
    }

    pub fn poll_timeout(&self) -> Instant {
        self.full_due.map_or(self.next, |due| due.min(self.next))
    }

    /// What is due: parts for the stream (`full`) or for datagrams.
    pub fn take_due(&mut self, now: Instant, advert: &Advert) -> Vec<AdvertPart> {
        if self.full_due.is_some_and(|due| due <= now) && self.full_limit.take(now) {
            self.full_due = None;
            self.told = Some(advert.services.iter().map(|service| (service.key, service.state)).collect());
            return self.split(advert, true);
        }
        if self.next <= now {
            // After a sleep of many intervals one advert is due, not many.
            self.next = (self.next + self.interval).max(now + self.interval / 2);
            return self.split(advert, false);
        }
        Vec::new()
    }

    /// With nothing to offer yet there is no advert, and its time goes by.
    pub fn skip_due(&mut self, now: Instant) {
        if self.next <= now {
            self.next = now + self.interval;
        }
    }

    fn split(&mut self, advert: &Advert, full: bool) -> Vec<AdvertPart> {
        self.sequence += 1;
        AdvertPart::split(advert, self.sequence, full).expect("the offer was checked when it was made")
    }

    /// The parent has heard that advert; `false`: there was none such.
    pub fn acked(&mut self, sequence: u64) -> bool {
        self.acked = self.acked.max(sequence.min(self.sequence));
        sequence <= self.sequence
    }

    /// Counted in adverts, not in time: a child that was starved or stopped has not been unheard meanwhile.
    pub fn hearing(&self) -> Hearing {
        match self.sequence - self.acked {
            missing if missing > u64::from(self.adverts_an_ack * DEAD_ACKS) => Hearing::Dead,
            missing if missing > u64::from(self.adverts_an_ack * UNHEARD_ACKS) => Hearing::Unheard,
            _ => Hearing::Heard,
        }
    }
}
