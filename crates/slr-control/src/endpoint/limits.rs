//! How often one source may begin a handshake. A handshake costs about a millisecond of signatures.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Places for sources. Two that fall on one place share it; the place is chosen by a hash that nobody outside knows.
const PLACES: usize = 4_096;

/// A token bucket for each source address (IPv4) or /64 (IPv6). The memory is the same however many sources there are.
#[derive(Debug)]
pub(super) struct SourceLimits {
    hasher: RandomState,
    /// When the bucket would be full again (GCRA); in the past it is.
    full_at: Vec<Option<Instant>>,
    one: Duration,
    burst: u32,
}

impl SourceLimits {
    /// `burst` handshakes at once, and `per_s` more each second.
    pub fn new(per_s: u32, burst: u32) -> Self {
        let one = Duration::from_secs(1) / per_s.max(1);
        Self { hasher: RandomState::new(), full_at: vec![None; PLACES], one, burst: burst.max(1) }
    }

    /// Whether the source may begin another one.
    pub fn take(&mut self, source: IpAddr, now: Instant) -> bool {
        let prefix = match source.to_canonical() {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        let place = self.hasher.hash_one((source.to_canonical().is_ipv4(), prefix)) as usize % PLACES;
        let full_at = self.full_at[place].map_or(now, |at| at.max(now));
        let ready = full_at.saturating_duration_since(now) <= self.one * (self.burst - 1);
        if ready {
            self.full_at[place] = Some(full_at + self.one);
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_burst_and_then_its_rate_and_another_is_not_touched() {
        let mut limits = SourceLimits::new(10, 3);
        let now = Instant::now();
        let (one, other) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert_eq!((0..9).filter(|_| limits.take(one, now)).count(), 3);
        assert!(limits.take(other, now));
        assert!(!limits.take(one, now + Duration::from_millis(99)));
        assert!(limits.take(one, now + Duration::from_millis(100)));
        assert!(!limits.take(one, now + Duration::from_millis(101)));
        assert_eq!((0..9).filter(|_| limits.take(one, now + Duration::from_secs(60))).count(), 3);
    }

    #[test]
    fn addresses_of_one_64_share() {
        let mut limits = SourceLimits::new(10, 2);
        let now = Instant::now();
        let taken = (0..50).filter(|i| limits.take(format!("2001:db8::{i:x}").parse().unwrap(), now)).count();
        assert_eq!(taken, 2);
        assert!(limits.take("192.0.2.7".parse().unwrap(), now));
        assert!(limits.take("::ffff:192.0.2.7".parse().unwrap(), now), "the same address, and its second");
        assert!(!limits.take("192.0.2.7".parse().unwrap(), now));
    }
}
