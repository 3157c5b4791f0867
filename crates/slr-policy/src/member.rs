//! Who takes part in a ring, and under which parameters.

use slr_model::{HopId, NodeName, Weight};

use crate::{HopSet, RingError, RingSize};

/// One host of a ring.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// Decides which slots the host gets: the one thing every SLR of a cluster agrees on.
    pub name: NodeName,
    /// What the slots hold: this SLR's index of the host's hop template. It has no influence on placement.
    pub hop: HopId,
    /// The host's share of the slots, relative to the others. Zero: none.
    pub weight: Weight,
}

/// What, besides the members, decides a ring. Members of a cluster must agree on both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Placement {
    /// Slots of the ring.
    pub size: RingSize,
    /// Secret or constant of the cluster: another seed shuffles every host's slots.
    pub seed: u64,
}

impl Placement {
    /// The placement for this many hosts (see [`RingSize::for_hosts`]).
    pub const fn for_hosts(hosts: usize, seed: u64) -> Self {
        Self { size: RingSize::for_hosts(hosts), seed }
    }
}

/// Refuses members of one name or one hop.
pub(crate) fn check_distinct(members: &[Member]) -> Result<(), RingError> {
    check_hops(members)?;
    let mut names: Vec<&NodeName> = members.iter().map(|member| &member.name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(RingError::DuplicateName(pair[0].clone())),
        None => Ok(()),
    }
}

/// Refuses members of one hop.
pub(crate) fn check_hops(members: &[Member]) -> Result<(), RingError> {
    let mut seen = HopSet::new();
    for member in members {
        if !seen.insert(member.hop) {
            let same = |other: &&Member| other.hop == member.hop;
            let first = members.iter().find(same).expect("the set holds only hops of members").name.clone();
            return Err(RingError::DuplicateHop { hop: member.hop, first, second: member.name.clone() });
        }
    }
    Ok(())
}

/// Divides all weights by their greatest common divisor: 100 and 50 make the same ring as 2 and 1.
pub(crate) fn reduce_weights(members: &mut [Member]) {
    let divisor = members.iter().fold(0, |divisor, member| greatest_common_divisor(divisor, member.weight.get()));
    for member in members {
        member.weight = Weight::new(member.weight.get() / divisor).expect("a quotient is no larger than its dividend");
    }
}

fn greatest_common_divisor(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_reduced_to_lowest_terms() {
        let member = |index, weight| Member {
            name: format!("h{index}").parse().unwrap(),
            hop: HopId::new(index).unwrap(),
            weight: Weight::new(weight).unwrap(),
        };
        let table: &[(&[u16], &[u16])] =
            &[(&[100, 50], &[2, 1]), (&[7], &[1]), (&[3, 5], &[3, 5]), (&[], &[]), (&[1_000, 400, 600], &[5, 2, 3])];
        for (given, reduced) in table {
            let mut members: Vec<Member> = (1..).zip(*given).map(|(index, &weight)| member(index, weight)).collect();
            reduce_weights(&mut members);
            assert_eq!(members.iter().map(|member| member.weight.get()).collect::<Vec<_>>(), *reduced);
        }
    }
}
