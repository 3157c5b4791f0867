//! Randomness that can be replayed: every random test prints its seed, and `SLR_SEED` sets it.

use std::time::{SystemTime, UNIX_EPOCH};

/// A small generator (SplitMix64, Steele et al. 2014): good enough to pick test cases and lost frames, and the same
/// sequence for the same seed on every machine and version, which `rand` does not promise.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// A generator that yields the sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (multiply-shift; its bias of `bound`/2^64 does not matter to a test).
    ///
    /// # Panics
    /// If `bound` is zero: there is no such number.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "Rng::below(0) has no answer");
        u64::try_from((u128::from(self.next_u64()) * u128::from(bound)) >> 64)
            .expect("a product's upper half is 64 bits")
    }

    /// True with probability `p` (0 never, 1 always).
    pub fn chance(&mut self, p: f64) -> bool {
        // 53 bits fill a double's mantissa, so the fraction is below one and chance(1.0) always holds.
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact in a double")]
        let fraction = (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        fraction < p
    }

    /// One of the items.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let index = self.below(items.len() as u64);
        &items[usize::try_from(index).expect("an index below a length")]
    }

    /// Random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8)).flat_map(|_| self.next_u64().to_le_bytes()).take(len).collect()
    }
}

/// The seed of this run: `SLR_SEED` if set, else one from the clock. Printed, so that a failure can be replayed.
///
/// # Panics
/// If `SLR_SEED` is not a decimal number: silently running another seed would hide the failure to be replayed.
#[must_use]
pub fn announced_seed(test: &str) -> u64 {
    let seed = match std::env::var("SLR_SEED") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("SLR_SEED={text} is not a decimal number below 2^64")),
        Err(_) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
            now.as_secs().wrapping_mul(1_000_000_007) ^ u64::from(now.subsec_nanos())
        }
    };
    println!("{test}: seed {seed}; replay with SLR_SEED={seed}");
    seed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_the_published_generator() {
        let mut rng = Rng::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| rng.next_u64()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn chance_is_never_at_zero_always_at_one_and_near_its_value_between() {
        let mut rng = Rng::new(1);
        let mut hits = |p: f64| (0..100_000).filter(|_| rng.chance(p)).count();
        assert_eq!(hits(0.0), 0);
        assert_eq!(hits(1.0), 100_000);
        let quarter = hits(0.25);
        assert!((24_300..25_700).contains(&quarter), "{quarter} of 100000 at p = 0.25");
    }

    #[test]
    fn below_stays_below_and_reaches_both_ends() {
        let mut rng = Rng::new(2);
        let seen: std::collections::BTreeSet<u64> = (0..1000).map(|_| rng.below(7)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
    }
}
