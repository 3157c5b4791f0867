//! Why a packet was forwarded, answered, passed or dropped: the lists in `bpf/*_reasons.def`, as enums.

/// What was done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Discarded.
    Drop,
    /// Handed to the kernel's stack.
    Pass,
    /// Sent on in a tunnel.
    Forward,
    /// Answered where it was.
    Reply,
}

impl Verdict {
    /// The word that people, JSON and metrics have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Pass => "pass",
            Self::Forward => "forward",
            Self::Reply => "reply",
        }
    }
}

include!(concat!(env!("OUT_DIR"), "/router_reasons.rs"));
include!(concat!(env!("OUT_DIR"), "/host_reasons.rs"));
