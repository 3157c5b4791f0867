//! Conversations on the control channel: one state machine for each end of one connection. Pure.
//!
//! - [`Child`]: a host, or an SLR of a lower tier, towards one of its parents. It reconnects by itself.
//! - [`Parent`]: an SLR towards one connection that a child opened.
//! - [`Peer`]: an SLR towards another one of its cluster, either end.
//!
//! # Driving one
//!
//! Each has the same verbs. Whatever comes in goes into `handle_…(now, …)`; after *every* call, and after those that
//! ask for something (`offer`, `order`, …), take [`Output`]s from `poll_output()` until there is none and carry them
//! out in that order, then sleep until `poll_timeout()` and call `handle_timeout(now)`. Calling it early or late is
//! harmless.
//!
//! ```text
//! loop {
//!     while let Some(output) = child.poll_output() { … }          // connect, send, close, tell
//!     select {
//!         frame    = reader.next_frame()     => child.handle_frame(now, frame),       // without its length
//!         datagram = connection.datagram()   => child.handle_datagram(now, &datagram),
//!         why      = connection.closed()     => child.handle_closed(now, code, &why),
//!         advert   = offers.changed()        => child.offer(now, advert),
//!         _        = sleep_until(child.poll_timeout()) => child.handle_timeout(now),
//!     }
//! }
//! ```
//!
//! - Bytes go in as they come, one envelope at a time: rate limits come before decoding, what does not decode is
//!   counted in [`Counters`] by its reason. `handle_message` takes messages for those who have no bytes, like
//!   simulations.
//! - [`Output::Connect`] asks the driver to open a connection and its one bidirectional stream, then to call
//!   `handle_connected` or `handle_connect_failed`. [`Output::Close`] ends the connection: what was sent before goes
//!   out first, within a second or so. From either end of a connection on, nothing more of it may be handed in.
//! - At most one advert in parts, one roster in parts and a handful of other outputs arise from one call, so a driver
//!   that drains them after each call holds no more than that.

use slr_wire::{Code, Message};

mod acks;
mod advertised;
mod backoff;
mod child;
mod counters;
mod dialer;
mod offer;
mod parent;
mod peer;
mod roster;

pub use advertised::Advertised;
pub use backoff::BackoffSettings;
pub use child::{Child, ChildEvent, ChildPhase, ChildSettings};
pub use counters::Counters;
pub use parent::{OrderError, Parent, ParentEvent, ParentPhase};
pub use peer::{Peer, PeerEvent, PeerPhase, PeerSettings, PeerSide};

/// What a driver is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output<E> {
    /// Open a connection; it will be this session.
    Connect {
        /// The session that the Hello will name.
        session: u64,
    },
    /// Send on the stream.
    SendStream(Message),
    /// Send as a datagram; it may be dropped.
    SendDatagram(Message),
    /// Send what is outstanding, then close the connection, or give up opening it.
    Close {
        /// Error code of the close.
        code: Code,
        /// Why, for the other end's log.
        reason: String,
    },
    /// Tell whoever uses the conversation.
    Event(E),
}
