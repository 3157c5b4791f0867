//! How many slots a ring has.

use thiserror::Error;

/// Number of slots of a ring: a prime, since a host's order of preference steps through the slots by a stride of its
/// own, and every stride visits every slot only if the size is prime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RingSize(u32);

/// A number of slots that no ring can have.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("a ring cannot have {given} slots: expected a prime from 2 to {}, such as 1021, 4099, 16411 or 65537", RingSize::MAX.get())]
pub struct RingSizeError {
    /// The number as it was given.
    pub given: usize,
}

impl RingSize {
    /// The sizes [`RingSize::for_hosts`] chooses from: primes near powers of four, so that a growing set of hosts
    /// changes size rarely (a change of size moves nearly every slot).
    pub const STEPS: [RingSize; 4] = [RingSize(1_021), RingSize(4_099), RingSize(16_411), RingSize(65_537)];
    /// The largest ring: at eight bytes a slot, 512 KiB. A kernel's slot array of N times this many slots holds N of
    /// them; while one is replaced, the old and the new are there together.
    pub const MAX: RingSize = Self::STEPS[3];
    /// Slots a host gets on average, at least, as long as the largest ring allows it: its share of new flows is then
    /// within one per cent of its weight's.
    pub const SLOTS_A_HOST: usize = 100;

    /// The size of a ring over this many hosts: [`RingSize::SLOTS_A_HOST`] each, up to 655 hosts. Beyond, the largest
    /// ring: 65 slots a host for 1,000 hosts, 16 for the 4,095 that the kernel's table of hop templates can hold.
    ///
    /// Count every host of the service, also those that drain or are down: a size that followed each drain would move
    /// every slot with it.
    pub const fn for_hosts(hosts: usize) -> Self {
        let mut step = 0;
        while step + 1 < Self::STEPS.len() && (Self::STEPS[step].0 as usize) < hosts.saturating_mul(Self::SLOTS_A_HOST)
        {
            step += 1;
        }
        Self::STEPS[step]
    }

    /// A ring of exactly this many slots.
    pub fn new(slots: usize) -> Result<Self, RingSizeError> {
        let refused = RingSizeError { given: slots };
        match u32::try_from(slots) {
            Ok(size) if size <= Self::MAX.0 && is_prime(size) => Ok(Self(size)),
            _ => Err(refused),
        }
    }

    /// The number of slots.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Trial division: at most 128 steps, since no size exceeds 65,537.
fn is_prime(number: u32) -> bool {
    number == 2
        || (number > 2
            && !number.is_multiple_of(2)
            && (3..).step_by(2).take_while(|d| d * d <= number).all(|d| !number.is_multiple_of(d)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_number_of_hosts() {
        let table = [
            (0, 1_021),
            (1, 1_021),
            (10, 1_021),
            (11, 4_099),
            (40, 4_099),
            (41, 16_411),
            (164, 16_411),
            (165, 65_537),
            (655, 65_537),
            (4_095, 65_537),
            (usize::MAX, 65_537),
        ];
        for (hosts, slots) in table {
            assert_eq!(RingSize::for_hosts(hosts).get(), slots, "{hosts} hosts");
        }
    }

    #[test]
    fn only_primes_up_to_the_largest_are_sizes() {
        for step in RingSize::STEPS {
            assert_eq!(RingSize::new(step.get() as usize), Ok(step));
        }
        assert!([2, 3, 13, 251, 65_521].into_iter().all(|slots| RingSize::new(slots).is_ok()));
        assert!([0, 1, 4, 9, 1_024, 65_535, 65_539, 1 << 40].into_iter().all(|slots| RingSize::new(slots).is_err()));
        assert_eq!(
            RingSize::new(1_024).unwrap_err().to_string(),
            "a ring cannot have 1024 slots: expected a prime from 2 to 65537, such as 1021, 4099, 16411 or 65537"
        );
    }
}
