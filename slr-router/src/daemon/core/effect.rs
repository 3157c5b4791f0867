//! What the core asks its edge to do, besides the data plane.

use slr_session::registry::{ConnectionId, Refusal};

/// Something for the edge to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Close a connection, and tell the other side why.
    Close(ConnectionId, Refusal),
    /// Other hosts than before are to be resolved and probed.
    Watch,
    /// Write down what a restart goes on from.
    Save,
}
