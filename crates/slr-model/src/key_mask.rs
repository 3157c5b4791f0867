//! Which parts of a flow's key choose its slot.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::text::{UnknownWord, word_enum};

word_enum! {
    /// One part of a flow's key.
    pub enum KeyField, "a key field" {
        /// The client's address.
        ClientAddress = "client-address",
        /// The client's port.
        ClientPort = "client-port",
        /// The virtual address.
        VirtualAddress = "virtual-address",
        /// The port at the virtual address.
        VirtualPort = "virtual-port",
    }
}

/// The parts of a flow's key that take part in its placement: a list of [`KeyField`]s, all four by default.
///
/// Fewer parts keep more flows together: with the client's address alone, all flows of a client share a slot (client
/// affinity). The mask touches placement only; a flow is always recorded under its whole key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "Vec<KeyField>", into = "Vec<KeyField>")]
pub struct KeyMask(u8);

/// Parts that make no mask.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeyMaskError {
    /// No part at all.
    #[error(
        "an empty key mask would place every flow on one host: name at least one of client-address, client-port, virtual-address, virtual-port"
    )]
    Empty,
    /// A part named twice, which is more likely a slip for another part.
    #[error("the key mask names {0} twice")]
    Twice(KeyField),
    /// A word that names no part.
    #[error(transparent)]
    Unknown(#[from] UnknownWord),
}

impl KeyField {
    /// The field's bit in [`KeyMask::bits`].
    pub const fn bit(self) -> u8 {
        match self {
            KeyField::ClientAddress => 1,
            KeyField::ClientPort => 2,
            KeyField::VirtualAddress => 4,
            KeyField::VirtualPort => 8,
        }
    }
}

impl KeyMask {
    /// Every part: each flow is placed on its own.
    pub const ALL: KeyMask = KeyMask(15);

    /// The mask of these parts, in any order.
    pub fn new(fields: &[KeyField]) -> Result<Self, KeyMaskError> {
        let mut bits = 0;
        for &field in fields {
            if bits & field.bit() != 0 {
                return Err(KeyMaskError::Twice(field));
            }
            bits |= field.bit();
        }
        if bits == 0 { Err(KeyMaskError::Empty) } else { Ok(Self(bits)) }
    }

    /// One bit a part: client address 1, client port 2, virtual address 4, virtual port 8. Never zero.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The mask of these [`KeyMask::bits`]; `None` if no mask has them.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits == 0 || bits & !Self::ALL.0 != 0 { None } else { Some(Self(bits)) }
    }

    /// Whether this part takes part.
    pub const fn contains(self, field: KeyField) -> bool {
        self.0 & field.bit() != 0
    }

    /// The parts that take part, in the order of [`KeyField::ALL`].
    pub fn fields(self) -> impl Iterator<Item = KeyField> {
        KeyField::ALL.iter().copied().filter(move |&field| self.contains(field))
    }
}

impl Default for KeyMask {
    fn default() -> Self {
        Self::ALL
    }
}

impl TryFrom<Vec<KeyField>> for KeyMask {
    type Error = KeyMaskError;

    fn try_from(fields: Vec<KeyField>) -> Result<Self, KeyMaskError> {
        Self::new(&fields)
    }
}

impl From<KeyMask> for Vec<KeyField> {
    fn from(mask: KeyMask) -> Self {
        mask.fields().collect()
    }
}

impl fmt::Display for KeyMask {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let words: Vec<&str> = self.fields().map(KeyField::as_str).collect();
        formatter.pad(&words.join(","))
    }
}

impl FromStr for KeyMask {
    type Err = KeyMaskError;

    fn from_str(text: &str) -> Result<Self, KeyMaskError> {
        if text.is_empty() {
            return Err(KeyMaskError::Empty);
        }
        let fields: Vec<KeyField> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        Self::new(&fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mask_round_trips_in_text_and_json() {
        for bits in 1..=15 {
            let mask = KeyMask(bits);
            assert_eq!(mask.to_string().parse(), Ok(mask));
            assert_eq!(KeyMask::from_bits(mask.bits()), Some(mask));
            assert_eq!(serde_json::from_str::<KeyMask>(&serde_json::to_string(&mask).unwrap()).unwrap(), mask);
        }
        assert_eq!(serde_json::to_string(&KeyMask(9)).unwrap(), r#"["client-address","virtual-port"]"#);
        assert_eq!(KeyMask::default().bits(), KeyField::ALL.iter().map(|field| field.bit()).sum::<u8>());
    }

    #[test]
    fn masks_that_cannot_be_meant_are_refused() {
        assert_eq!("".parse::<KeyMask>(), Err(KeyMaskError::Empty));
        assert_eq!([0, 16, 255].map(KeyMask::from_bits), [None; 3]);
        assert!(serde_json::from_str::<KeyMask>("[]").unwrap_err().to_string().contains("name at least one of"));
        assert_eq!("client-port,client-port".parse::<KeyMask>(), Err(KeyMaskError::Twice(KeyField::ClientPort)));
        assert_eq!(
            "source".parse::<KeyMask>().unwrap_err().to_string(),
            "\"source\" is not a key field: expected one of client-address, client-port, virtual-address, virtual-port"
        );
    }
}
