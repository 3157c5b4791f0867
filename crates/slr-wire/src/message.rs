//! All messages, as bytes and as values.

use prost::Message as _;

use crate::frame::LENGTH_LEN;
use crate::{
    Ack, AdvertPart, Ask, Claims, DecodeError, EncodeError, FlowEpoch, FlowKeys, Has, Hello, Mirror, MirrorAck, Order,
    Ordered, Refused, RingsAck, RingsPart, RosterPart, Welcome, WhoHas, Withdraw, bounds, proto,
};
use proto::envelope::Message as Field;

/// A message of the control channel. What decodes is valid.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is the message of that name")]
pub enum Message {
    Hello(Hello),
    Welcome(Welcome),
    Refused(Refused),
    Advert(AdvertPart),
    Ack(Ack),
    Withdraw(Withdraw),
    Order(Order),
    Ordered(Ordered),
    Roster(RosterPart),
    Rings(RingsPart),
    RingsAck(RingsAck),
    Ask(Ask),
    Claims(Claims),
    Mirror(Mirror),
    MirrorAck(MirrorAck),
    WhoHas(WhoHas),
    Has(Has),
    FlowKeys(FlowKeys),
    FlowEpoch(FlowEpoch),
}

/// The first byte of an envelope with claims: field 13, of a length (protobuf's encoding of fields).
const CLAIMS_TAG: u8 = 13 << 3 | 2;

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// In order and without loss.
    Stream,
    /// One by one: late, twice, or not at all.
    Datagram,
}

impl Message {
    /// Reads one envelope: a frame without its length, or a datagram.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > bounds::FRAME_MAX {
            return Err(DecodeError::TooLong { len: bytes.len(), max: bounds::FRAME_MAX });
        }
        Ok(match proto::Envelope::decode(bytes)?.message.ok_or(DecodeError::Unknown)? {
            Field::Hello(found) => Message::Hello(Hello::read(found)?),
            Field::Welcome(found) => Message::Welcome(Welcome::read(found)?),
            Field::Refused(found) => Message::Refused(Refused::read(found)?),
            Field::Advert(found) => Message::Advert(AdvertPart::read(found)?),
            Field::Ack(found) => Message::Ack(Ack::read(found)?),
            Field::Withdraw(found) => Message::Withdraw(Withdraw::read(found)?),
            Field::Order(found) => Message::Order(Order::read(found)?),
            Field::Ordered(found) => Message::Ordered(Ordered::read(found)?),
            Field::Roster(found) => Message::Roster(RosterPart::read(found)?),
            Field::Rings(found) => Message::Rings(RingsPart::read(found)?),
            Field::RingsAck(found) => Message::RingsAck(RingsAck::read(found)?),
            Field::Ask(proto::Ask {}) => Message::Ask(Ask),
            Field::Claims(found) => Message::Claims(Claims::read(found)?),
            Field::Mirror(found) => Message::Mirror(Mirror::read(found)?),
            Field::MirrorAck(found) => Message::MirrorAck(MirrorAck::read(found)),
            Field::WhoHas(found) => Message::WhoHas(WhoHas::read(found)?),
            Field::Has(found) => Message::Has(Has::read(found)?),
            Field::FlowKeys(found) => Message::FlowKeys(FlowKeys::read(found)?),
            Field::FlowEpoch(found) => Message::FlowEpoch(FlowEpoch::read(found)?),
        })
    }

    /// Whether a datagram begins as claims do: their rate is limited apart from that of others, and before they are decoded.
    pub fn looks_like_claims(datagram: &[u8]) -> bool {
        datagram.first() == Some(&CLAIMS_TAG)
    }

    /// The message as a frame: its length, then its envelope.
    pub fn encode_frame(&self) -> Result<Vec<u8>, EncodeError> {
        let envelope = self.write();
        let len = self.fits(envelope.encoded_len(), bounds::FRAME_MAX)?;
        let mut frame = Vec::with_capacity(LENGTH_LEN + len);
        frame.extend((len as u32).to_be_bytes());
        envelope.encode(&mut frame).expect("a vector grows");
        Ok(frame)
    }

    /// The message as a datagram.
    pub fn encode_datagram(&self) -> Result<Vec<u8>, EncodeError> {
        let envelope = self.write();
        self.fits(envelope.encoded_len(), bounds::DATAGRAM_MAX)?;
        Ok(envelope.encode_to_vec())
    }

    /// Its name, for logs and counters.
    pub const fn kind(&self) -> &'static str {
        match self {
            Message::Hello(_) => "hello",
            Message::Welcome(_) => "welcome",
            Message::Refused(_) => "refused",
            Message::Advert(_) => "advert",
            Message::Ack(_) => "ack",
            Message::Withdraw(_) => "withdraw",
            Message::Order(_) => "order",
            Message::Ordered(_) => "ordered",
            Message::Roster(_) => "roster",
            Message::Rings(_) => "rings",
            Message::RingsAck(_) => "rings_ack",
            Message::Ask(_) => "ask",
            Message::Claims(_) => "claims",
            Message::Mirror(_) => "mirror",
            Message::MirrorAck(_) => "mirror_ack",
            Message::WhoHas(_) => "who_has",
            Message::Has(_) => "has",
            Message::FlowKeys(_) => "flow_keys",
            Message::FlowEpoch(_) => "flow_epoch",
        }
    }

    /// Whether the message has a place on that channel. What must arrive does not travel in datagrams; what is repeated
    /// anyhow does, so that a lost packet does not hold up what comes after it.
    pub const fn travels(&self, channel: Channel) -> bool {
        match self {
            Message::Advert(part) => part.full == matches!(channel, Channel::Stream),
            Message::Ack(_)
            | Message::Ask(_)
            | Message::RingsAck(_)
            | Message::Claims(_)
            | Message::WhoHas(_)
            | Message::Has(_) => matches!(channel, Channel::Datagram),
            _ => matches!(channel, Channel::Stream),
        }
    }

    fn fits(&self, len: usize, max: usize) -> Result<usize, EncodeError> {
        if len > max { Err(EncodeError::TooLong { kind: self.kind(), len, max }) } else { Ok(len) }
    }

    fn write(&self) -> proto::Envelope {
        let field = match self {
            Message::Hello(message) => Field::Hello(message.write()),
            Message::Welcome(message) => Field::Welcome(message.write()),
            Message::Refused(message) => Field::Refused(message.write()),
            Message::Advert(message) => Field::Advert(message.write()),
            Message::Ack(message) => Field::Ack(message.write()),
            Message::Withdraw(message) => Field::Withdraw(message.write()),
            Message::Order(message) => Field::Order(message.write()),
            Message::Ordered(message) => Field::Ordered(message.write()),
            Message::Roster(message) => Field::Roster(message.write()),
            Message::Rings(message) => Field::Rings(message.write()),
            Message::RingsAck(message) => Field::RingsAck(message.write()),
            Message::Ask(Ask) => Field::Ask(proto::Ask {}),
            Message::Claims(message) => Field::Claims(message.write()),
            Message::Mirror(message) => Field::Mirror(message.write()),
            Message::MirrorAck(message) => Field::MirrorAck(message.write()),
            Message::WhoHas(message) => Field::WhoHas(message.write()),
            Message::Has(message) => Field::Has(message.write()),
            Message::FlowKeys(message) => Field::FlowKeys(message.write()),
            Message::FlowEpoch(message) => Field::FlowEpoch(message.write()),
        };
        proto::Envelope { message: Some(field) }
    }
}
