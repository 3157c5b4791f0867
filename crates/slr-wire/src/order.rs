//! Acknowledgement, question, withdrawal, and orders from the operator at the parent.

use crate::field::{fit, invalid, not_zero, text};
use crate::{DecodeError, bounds, proto};

/// The newest advert that the parent has heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Its sequence.
    pub sequence: u64,
}

/// The child is to advert at once: the parent doubts that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask;

/// The child goes away in order, with all its services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdraw {
    /// Why, for people.
    pub reason: String,
}

/// What an operator asks of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// No new flows, on any service.
    Drain,
    /// New flows again.
    Undrain,
}

impl Action {
    /// The word that people use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::Drain => "drain",
            Action::Undrain => "undrain",
        }
    }
}

/// An order from the operator at the parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// For the answer; never 0.
    pub id: u64,
    /// What to do.
    pub action: Action,
    /// Who asks, for people.
    pub requested_by: String,
}

/// The answer to [`Order`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// The order's.
    pub id: u64,
    /// `Err`: why it is refused.
    pub outcome: Result<(), String>,
}

impl Ack {
    pub(crate) fn read(found: proto::Ack) -> Result<Self, DecodeError> {
        Ok(Self { sequence: not_zero("ack.sequence", found.sequence)? })
    }

    pub(crate) fn write(self) -> proto::Ack {
        proto::Ack { sequence: self.sequence }
    }
}

impl Withdraw {
    pub(crate) fn read(found: proto::Withdraw) -> Result<Self, DecodeError> {
        Ok(Self { reason: text("withdraw.reason", found.reason, bounds::REASON_MAX)? })
    }

    pub(crate) fn write(&self) -> proto::Withdraw {
        proto::Withdraw { reason: fit(&self.reason, bounds::REASON_MAX) }
    }
}

impl Order {
    pub(crate) fn read(found: proto::Order) -> Result<Self, DecodeError> {
        let action = match found.action() {
            proto::Action::Drain => Action::Drain,
            proto::Action::Undrain => Action::Undrain,
            proto::Action::Unspecified => {
                return Err(invalid("order.action", format!("{} is no action", found.action)));
            }
        };
        Ok(Self {
            id: not_zero("order.id", found.id)?,
            action,
            requested_by: text("order.requested_by", found.requested_by, bounds::REASON_MAX)?,
        })
    }

    pub(crate) fn write(&self) -> proto::Order {
        let action = match self.action {
            Action::Drain => proto::Action::Drain,
            Action::Undrain => proto::Action::Undrain,
        };
        proto::Order { id: self.id, action: action.into(), requested_by: fit(&self.requested_by, bounds::REASON_MAX) }
    }
}

impl Ordered {
    pub(crate) fn read(found: proto::Ordered) -> Result<Self, DecodeError> {
        let id = not_zero("ordered.id", found.id)?;
        let reason = text("ordered.reason", found.reason, bounds::REASON_MAX)?;
        match (found.accepted, reason.is_empty()) {
            (true, true) => Ok(Self { id, outcome: Ok(()) }),
            (false, _) => Ok(Self { id, outcome: Err(reason) }),
            (true, false) => Err(invalid("ordered.reason", "an accepted order has none")),
        }
    }

    pub(crate) fn write(&self) -> proto::Ordered {
        proto::Ordered {
            id: self.id,
            accepted: self.outcome.is_ok(),
            reason: self.outcome.as_ref().err().map_or_else(String::new, |why| fit(why, bounds::REASON_MAX)),
        }
    }
}
