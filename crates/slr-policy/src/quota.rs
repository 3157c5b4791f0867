//! How many slots each host gets, and in what order hosts take their turns.

use crate::maglev::Seat;

/// Divides `size` slots among the seats in proportion to their weights, by largest remainder: every quota is its exact
/// share rounded down or up, so within one slot of it. Equal remainders go to the seats that come first.
///
/// Seats have a weight above zero and there is at least one of them.
pub(crate) fn share_slots(seats: &mut [Seat], size: u32, remainders: &mut Vec<(u64, u16)>) {
    let total: u64 = seats.iter().map(|seat| u64::from(seat.weight)).sum();
    let mut left = size;
    remainders.clear();
    for (index, seat) in seats.iter_mut().enumerate() {
        let exact = u64::from(size) * u64::from(seat.weight);
        seat.quota = (exact / total) as u32;
        left -= seat.quota;
        // Complemented, so that ascending order has the largest remainder first and then the lowest index.
        remainders.push((total - exact % total, index as u16));
    }
    if left == 0 {
        return;
    }
    // Fewer slots are left than there are seats: each remainder is below one slot.
    remainders.select_nth_unstable(left as usize - 1);
    for &(_, index) in &remainders[..left as usize] {
        seats[usize::from(index)].quota += 1;
    }
}

/// Lists which seat takes each turn. The *k*-th turn of a seat of weight *w* comes in round ⌊*k*·*w_max*/*w*⌋, and within
/// a round seats keep their order: a host's turns are spread evenly over the whole, and when a host leaves, those that
/// stay keep their order among themselves, which is what keeps their slots.
///
/// A counting sort by round. There are at most `size` + 1 rounds: a quota exceeds its exact share `size`·*w*/*W* by less
/// than one, so *k* ≤ `size`·*w*/*W* and *k*·*w_max*/*w* ≤ `size`·*w_max*/*W* ≤ `size`.
pub(crate) fn order_turns(seats: &[Seat], size: u32, starts: &mut Vec<u32>, turns: &mut Vec<u16>) {
    let heaviest = seats.iter().map(|seat| seat.weight).max().unwrap_or(1);
    starts.clear();
    for seat in seats {
        for round in rounds(seat, heaviest) {
            if round >= starts.len() {
                starts.resize(round + 1, 0);
            }
            starts[round] += 1;
        }
    }
    let mut start = 0;
    for count in starts.iter_mut() {
        start += std::mem::replace(count, start);
    }
    debug_assert_eq!(start, size, "quotas add up to the ring");
    turns.clear();
    turns.resize(size as usize, 0);
    for (index, seat) in seats.iter().enumerate() {
        for round in rounds(seat, heaviest) {
            turns[starts[round] as usize] = index as u16;
            starts[round] += 1;
        }
    }
}

/// The rounds of a seat's turns, ⌊*k*·`heaviest`/weight⌋ for each *k* below its quota, without a division a turn.
fn rounds(seat: &Seat, heaviest: u32) -> impl Iterator<Item = usize> {
    let weight = seat.weight;
    let (step, rest_step) = (heaviest / weight, heaviest % weight);
    let (mut round, mut rest) = (0, 0);
    (0..seat.quota).map(move |_| {
        let this = round as usize;
        round += step;
        rest += rest_step;
        if rest >= weight {
            rest -= weight;
            round += 1;
        }
        this
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(weights: &[u32]) -> Vec<Seat> {
        weights.iter().map(|&weight| Seat::of_weight(weight)).collect()
    }

    fn quotas(weights: &[u32], size: u32) -> Vec<u32> {
        let mut seats = seats(weights);
        share_slots(&mut seats, size, &mut Vec::new());
        seats.iter().map(|seat| seat.quota).collect()
    }

    #[test]
    fn slots_go_by_largest_remainder() {
        assert_eq!(quotas(&[1], 7), [7]);
        assert_eq!(quotas(&[1, 1], 7), [4, 3]);
        assert_eq!(quotas(&[1, 2], 7), [2, 5]);
        assert_eq!(quotas(&[1, 1, 1], 2), [1, 1, 0]);
        assert_eq!(quotas(&[1, 1_000], 13), [0, 13]);
        assert_eq!(quotas(&[100, 100, 50], 1_021), [409, 408, 204]);
    }

    #[test]
    fn turns_are_spread_in_proportion_to_weight() {
        let mut seats = seats(&[1, 2, 1]);
        share_slots(&mut seats, 11, &mut Vec::new());
        let (mut starts, mut turns) = (Vec::new(), Vec::new());
        order_turns(&seats, 11, &mut starts, &mut turns);
        assert_eq!(turns, [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2], "quotas 3, 5, 3");
    }
}
