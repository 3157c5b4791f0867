//! Hosts as simple models: they connect, advert, withdraw, crash, and know nothing of the registry.

use std::time::{Duration, Instant};

use slr_model::{Advert, HostState, ServiceKey};
use slr_session::registry::{ConnectionId, SessionId};

use crate::registry_support::advert;

/// Without an acknowledgement for this long, a host connects again.
pub const ACK_WAIT: Duration = Duration::from_millis(3_500);

/// A host's side of the way to one router.
#[derive(Clone, Debug)]
pub struct Uplink {
    pub connection: Option<ConnectionId>,
    pub is_welcome: bool,
    pub acked_at: Instant,
    pub retry_at: Instant,
    /// When the last thing on the stream arrives.
    pub stream_until: Instant,
    pub sequence: u64,
}

impl Uplink {
    pub fn new(now: Instant) -> Self {
        Self { connection: None, is_welcome: false, acked_at: now, retry_at: now, stream_until: now, sequence: 0 }
    }
}

/// A host, or a second one that was given the same certificate.
#[derive(Clone, Debug)]
pub struct Node {
    pub host: u16,
    /// It has the name and nothing else of its own.
    pub is_clone: bool,
    /// Until when its daemon does not run.
    pub dead_until: Instant,
    /// It said goodbye and stays away until then.
    pub away_until: Instant,
    pub incarnation: u64,
    pub session: u64,
    pub services: Vec<(ServiceKey, HostState)>,
    pub uplinks: [Uplink; 2],
}

impl Node {
    pub fn new(host: u16, is_clone: bool, services: Vec<(ServiceKey, HostState)>, now: Instant) -> Self {
        Self {
            host,
            is_clone,
            dead_until: now,
            away_until: now,
            incarnation: 1,
            session: 0,
            services,
            uplinks: [Uplink::new(now), Uplink::new(now)],
        }
    }

    pub fn is_running(&self, now: Instant) -> bool {
        now >= self.dead_until && now >= self.away_until
    }

    /// The daemon dies, and starts again at that time as a later incarnation.
    pub fn crash(&mut self, until: Instant) {
        self.dead_until = until;
        self.incarnation += 1;
        self.session = 0;
        self.forget_connections(until);
    }

    pub fn forget_connections(&mut self, until: Instant) {
        for uplink in &mut self.uplinks {
            *uplink = Uplink { sequence: uplink.sequence, ..Uplink::new(until) };
        }
    }

    pub fn next_session(&mut self) -> SessionId {
        self.session += 1;
        SessionId { incarnation: self.incarnation, session: self.session }
    }

    pub fn advert(&self) -> Advert {
        advert(&self.services)
    }
}
