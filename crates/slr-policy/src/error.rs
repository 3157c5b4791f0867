//! Why a ring cannot be built or adopted.

use slr_model::{HopId, NodeName};
use thiserror::Error;

use crate::RingSizeError;

/// Inputs that make no ring.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RingError {
    /// Two members of one name: their slots would be the same.
    #[error("host {0} is in the ring twice: give each host a name of its own")]
    DuplicateName(NodeName),
    /// Two members with one hop: the kernel could not tell them apart.
    #[error("hop {hop} stands for both {first} and {second}: give each host a hop of its own")]
    DuplicateHop {
        /// The hop that both have.
        hop: HopId,
        /// One of the hosts.
        first: NodeName,
        /// The other.
        second: NodeName,
    },
    /// Slots read back from the kernel are not as many as a ring has.
    #[error(transparent)]
    Size(#[from] RingSizeError),
    /// A slot read back from the kernel is not one that was written.
    #[error("slot {index} holds {raw:#018x}, which is no slot: {reason}; build the ring anew instead of adopting it")]
    Slot {
        /// Position of the slot in the ring.
        index: usize,
        /// The slot as it was read.
        raw: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
}
