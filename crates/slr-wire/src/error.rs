//! What is wrong with bytes, or with a message that should become bytes.

use thiserror::Error;

/// Why bytes are no message. [`DecodeError::reason`] is the word for counters.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum DecodeError {
    /// Longer than its channel carries.
    #[error("a message of {len} bytes: at most {max} are read")]
    TooLong {
        /// Its length.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// Not a protobuf envelope.
    #[error("not an envelope of proto/slr.proto: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// An envelope without a message that this version knows: a later version's. Nothing is wrong with the sender.
    #[error("no message that this version knows")]
    Unknown,
    /// A field that must be there is not.
    #[error("{field} is missing")]
    Missing {
        /// Which, as message.field.
        field: &'static str,
    },
    /// More items than the bound.
    #[error("{field} has {found} entries: at most {max} are read")]
    TooMany {
        /// Which, as message.field.
        field: &'static str,
        /// How many there are.
        found: usize,
        /// The bound.
        max: usize,
    },
    /// A value that the field cannot have.
    #[error("{field}: {why}")]
    Invalid {
        /// Which, as message.field.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The same thing twice.
    #[error("{field} names {what} twice")]
    Duplicate {
        /// Which, as message.field.
        field: &'static str,
        /// What.
        what: String,
    },
}

impl DecodeError {
    /// Every word that [`DecodeError::reason`] returns.
    pub const REASONS: [&'static str; 7] =
        ["too_long", "malformed", "unknown_message", "missing_field", "too_many", "invalid_value", "duplicate"];

    /// One word for counters.
    pub const fn reason(&self) -> &'static str {
        Self::REASONS[self.reason_index()]
    }

    /// The place of [`DecodeError::reason`] in [`DecodeError::REASONS`].
    pub const fn reason_index(&self) -> usize {
        match self {
            DecodeError::TooLong { .. } => 0,
            DecodeError::Protobuf(_) => 1,
            DecodeError::Unknown => 2,
            DecodeError::Missing { .. } => 3,
            DecodeError::TooMany { .. } => 4,
            DecodeError::Invalid { .. } => 5,
            DecodeError::Duplicate { .. } => 6,
        }
    }
}

/// Why a message does not travel.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EncodeError {
    /// Longer than the channel carries: it should have been split.
    #[error("{kind} of {len} bytes does not fit its channel, which carries {max}: split it")]
    TooLong {
        /// Which message.
        kind: &'static str,
        /// Its length.
        len: usize,
        /// The bound.
        max: usize,
    },
}
