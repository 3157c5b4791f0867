//! Placement as pure functions: which host gets which share of the new flows, and what the kernel is told about it.
//!
//! From what hosts say to weights: F, an [`Expression`] of the operator's, gives each host's cost, and the [`Balancer`]
//! turns costs into weights, damped and within a budget. G ([`Summary`]) is what the tier above is told. See
//! docs/policy.md.
//!
//! From weights to packets: a set of [`Member`]s becomes a [`Ring`] ([`RingBuilder`]), a ring that replaces another
//! keeps its memory of earlier hosts, and [`RingTable`] plans which rings the kernel's bounded slot array holds and in
//! what order they are written. The packet path does the rest: [`slot_of`] a flow's hash names the slot.
//!
//! Nothing here reads a clock, does I/O or owns a thread, and equal inputs give equal outputs: members of a cluster
//! that see the same hosts compute the same ring, whatever order they learned them in.

mod aggregate;
mod arena;
mod balancer;
mod error;
mod expression;
mod hop_set;
mod maglev;
mod member;
mod name_hash;
mod policy;
mod quota;
mod ring;
mod ring_size;
mod second_choice;
mod slot;
mod table;

pub use aggregate::{AggregateHost, DEFAULT_AGGREGATE, Summary, aggregate_vocabulary, compile_aggregate};
pub use arena::{ArenaError, SlotArena, SlotRange};
pub use balancer::{BalanceError, Balancer, Evaluation, HostInput, HostReport, Packets, RingInput, RingReport};
pub use error::RingError;
pub use expression::{EvaluateError, Expression, ExpressionError, Fault, Variable, Vocabulary};
pub use hop_set::HopSet;
pub use maglev::RingBuilder;
pub use member::{Member, Placement};
pub use policy::{Damping, DampingError, Policy, cost_vocabulary, default_cost};
pub use ring::{Ring, RingUpdate};
pub use ring_size::{RingSize, RingSizeError};
pub use slot::{Slot, slot_of};
pub use table::{Adopted, RingPlan, RingSpec, RingTable, RingWrite, TableError};
