//! Chance, from a seed: the same seed gives the same run on every machine.

use rand::{RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};

/// A source of chance.
pub struct Dice(Xoshiro256PlusPlus);

impl Dice {
    /// The source of this seed.
    pub fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// Uniform from 0 (included) to 1.
    pub fn uniform(&mut self) -> f64 {
        self.0.random()
    }

    /// Uniform over 32 bits: a flow's hash.
    pub fn hash(&mut self) -> u32 {
        self.0.random()
    }

    /// Exponential with this mean: times between arrivals, sizes of requests.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.uniform()).ln()
    }

    /// Normal with mean 0 (Box and Muller).
    pub fn normal(&mut self, deviation: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        deviation * radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// True with this chance.
    pub fn chance(&mut self, part: f64) -> bool {
        self.uniform() < part
    }
}
