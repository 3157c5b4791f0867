//! What nodes say to each other on the control channel: bytes to values and back.
//!
//! `proto/slr.proto` is the format, `docs/wire.md` tells how it travels, [`Message`] is what the rest of the system
//! sees. A message that decodes is valid: names, addresses, numbers and counts are within [`bounds`], or there is a
//! [`DecodeError`] that says which field of it is not. What is encoded can be decoded: texts are cut to their bound,
//! control characters in them become spaces, and a message that is too long for its channel is an [`EncodeError`].
//!
//! # Use
//!
//! - Sending: [`Message::encode_frame`] for the stream (length and envelope), [`Message::encode_datagram`].
//! - Receiving: [`FrameReader`] cuts a stream into envelopes, a datagram is one; [`Message::decode`] reads it.
//! - What may exceed one frame or datagram is split where it is made and joined where it arrives: [`AdvertPart::split`],
//!   [`Roster::split`], [`Rings::split`], and [`Assembly`].
//!
//! What hosts tell routers by way of their clients is [`FlowAdvert`], with keys that [`FlowSecret`] makes; [`datagram`] has what is sent
//! to clients.
//!
//! Nothing here reads a clock, does I/O or owns a thread.

pub mod bounds;
pub mod datagram;

mod advert;
mod assembly;
mod claims;
mod code;
mod error;
mod field;
mod flow_advert;
mod flow_keys;
mod flows;
mod frame;
mod hello;
mod key_grants;
mod message;
mod mirror;
mod order;
mod rings;
mod roster;
mod service_key;
mod who_has;

pub use advert::{AdvertError, AdvertPart};
pub use assembly::{Assembly, AssemblyError};
pub use claims::Claims;
pub use code::Code;
pub use error::{DecodeError, EncodeError};
pub use flow_advert::{FlowAdvert, FlowAdvertError};
pub use flow_keys::{AdvertKey, EpochMaster, FlowSecret, FlowSecretError, KEY_LEN};
pub use frame::{FrameError, FrameReader};
pub use hello::{Hello, Refused, Welcome};
pub use key_grants::{FlowEpoch, FlowKeyGrant, FlowKeys};
pub use message::{Channel, Message};
pub use mirror::{Mirror, MirrorAck, MirrorKind};
pub use order::{Ack, Action, Ask, Order, Ordered, Withdraw};
pub use rings::{Edition, RingKey, RingWeights, Rings, RingsAck, RingsAssembly, RingsError, RingsPart};
pub use roster::{Roster, RosterError, RosterNode, RosterPart};
pub use who_has::{Has, WhoHas};

/// The types that prost makes of `proto/slr.proto`.
mod proto {
    include!(concat!(env!("OUT_DIR"), "/slr.v1.rs"));
}
