//! Per-subnet answers to "what happens to …".

use crate::text::word_enum;

word_enum! {
    /// What happens to an orphan (a TCP packet in mid-flow that no table knows) when no chain of hosts can be asked.
    #[derive(Default)]
    pub enum OrphanPolicy, "an orphan policy" {
        /// Goes through the hosts that its slot has had, newest first; whoever has the flow keeps it and says so. Right as
        /// long as the slot has not had more hosts since the flow began than it remembers.
        #[default]
        Chain = "chain",
        /// As `chain`, and so do the packets of UDP flows that no table knows, oldest host first. For sites whose hosts seldom
        /// change: a host that has just come is not known to all others yet, and what they would pass on to it is lost.
        ChainUdp = "chain-udp",
        /// As `chain-udp`; and before a UDP flow that nobody knows is placed, other routers are asked who has it: each new UDP flow
        /// waits for their answers. For flows that live long and have a state at their server (QUIC, VPNs, games), not for those
        /// of one question and one answer (DNS).
        SearchUdp = "search-udp",
        /// Goes to the current host of its slot: right whenever the ring has not changed since the flow began.
        Ring = "ring",
        /// Is dropped: the client retransmits, and no host answers a stranger's connection with RST.
        Drop = "drop",
    }
}

impl OrphanPolicy {
    /// Whether orphans go through the hosts of their slot.
    pub fn is_chain(self) -> bool {
        matches!(self, Self::Chain | Self::ChainUdp | Self::SearchUdp)
    }
}

word_enum! {
    /// What happens to an ICMP echo request addressed to a virtual address.
    #[derive(Default)]
    pub enum EchoPolicy, "an echo policy" {
        /// The SLR answers it itself, at a bounded rate.
        #[default]
        Answer = "answer",
        /// It is placed and tunnelled like a packet of a flow, and a host answers.
        Forward = "forward",
        /// It is dropped.
        Drop = "drop",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        for &policy in OrphanPolicy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        for &policy in EchoPolicy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert_eq!((OrphanPolicy::default(), EchoPolicy::default()), (OrphanPolicy::Chain, EchoPolicy::Answer));
    }
}
