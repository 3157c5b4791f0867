//! What the core asks its edge to do, besides the data plane.

use slr_model::{Advert, NodeName};
use slr_session::registry::{ConnectionId, Refusal};
use slr_wire::Message;

/// Something for the edge to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Close a connection, and tell the other side why.
    Close(ConnectionId, Refusal),
    /// Ask a child for an advert.
    Ask(ConnectionId),
    /// Other hosts than before are to be resolved, probed, and told to each other.
    Watch,
    /// Send a message of the cluster to a peer.
    ToPeer(NodeName, Message),
    /// End the session with a peer.
    RefusePeer(NodeName, String),
    /// Advertise this to the parents.
    Offer(Advert),
    /// A host went down, and its flows are un-pinned.
    Lost(NodeName),
    /// Write down what a restart goes on from.
    Save,
}
