//! Content whose every byte tells its position, so that a byte lost, repeated or moved inside a long transfer shows.
//!
//! The byte at offset `i` is `i mod 251`. 251 is prime, so a shift by any segment or page size is seen.

/// Name of the pattern in the `X-Probe-Pattern` header, by which a sender says that its body follows it.
pub const NAME: &str = "mod251";

const PERIOD: usize = 251;
/// Longest piece [`Pattern::piece`] gives: whole periods, near the 64 KiB that one write usually takes.
pub const PIECE_BYTES: usize = PERIOD * 261;

/// The pattern, laid out once.
pub struct Pattern {
    bytes: Vec<u8>,
}

impl Pattern {
    /// Lays out one piece and one period, so that a piece can start at any phase.
    pub fn new() -> Self {
        Self { bytes: (0..PIECE_BYTES + PERIOD).map(|at| (at % PERIOD) as u8).collect() }
    }

    /// The next at most `limit` bytes of content from `offset` on (never more than [`PIECE_BYTES`]).
    pub fn piece(&self, offset: u64, limit: u64) -> &[u8] {
        let phase = (offset % PERIOD as u64) as usize;
        let length = limit.min(PIECE_BYTES as u64) as usize;
        &self.bytes[phase..phase + length]
    }

    /// Offset of the first byte of `content` that is not what should stand there; `content` starts at `offset`.
    pub fn first_wrong(&self, offset: u64, content: &[u8]) -> Option<u64> {
        let mut at = offset;
        for chunk in content.chunks(PIECE_BYTES) {
            let expected = self.piece(at, chunk.len() as u64);
            if expected != chunk {
                let inside = expected.iter().zip(chunk).position(|(left, right)| left != right);
                return Some(at + inside.expect("unequal slices of one length differ somewhere") as u64);
            }
            at += chunk.len() as u64;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_without_a_seam_and_a_fault_is_found_where_it_is() {
        let pattern = Pattern::new();
        let mut content = Vec::new();
        while content.len() < 3 * PIECE_BYTES {
            content.extend_from_slice(pattern.piece(content.len() as u64, 70_001));
        }
        assert_eq!(pattern.first_wrong(0, &content), None);
        assert_eq!(pattern.first_wrong(1_000, &content[1_000..]), None);
        assert_eq!(pattern.first_wrong(0, &content[1..]), Some(0), "a shift is seen at once");
        content[100_000] ^= 1;
        assert_eq!(pattern.first_wrong(0, &content), Some(100_000));
        assert_eq!(pattern.first_wrong(99_000, &content[99_000..]), Some(100_000));
    }
}
