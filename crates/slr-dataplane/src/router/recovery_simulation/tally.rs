//! What happened in a schedule, and in all of them.

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub delivered: u64,
    pub chained: u64,
    pub ended: u64,
    pub claimed: u64,
    pub found: u64,
    pub nobody: u64,
    pub mirrored: u64,
    pub reused: u64,
    /// Connections that were reset although their host lived: no rung knew it.
    pub lost: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        let Self { delivered, chained, ended, claimed, found, nobody, mirrored, reused, lost } = other;
        for (sum, part) in [
            (&mut self.delivered, delivered),
            (&mut self.chained, chained),
            (&mut self.ended, ended),
            (&mut self.claimed, claimed),
            (&mut self.found, found),
            (&mut self.nobody, nobody),
            (&mut self.mirrored, mirrored),
            (&mut self.reused, reused),
            (&mut self.lost, lost),
        ] {
            *sum += part;
        }
    }
}
