//! A next hop as the kernel knows it: an index into its table of hop templates.

use std::{fmt, num::NonZeroU16};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Index of a hop template in the kernel's table, 1 to [`HopId::MAX`]. Zero means "none" in every table shared with
/// the kernel, which is why it cannot be written here.
///
/// An id is local to one SLR and may be given to another host later; names are what nodes agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "u16", into = "u16")]
pub struct HopId(NonZeroU16);

/// A value that cannot be a hop.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{given} is not a hop: expected 1 to {}", HopId::MAX)]
pub struct HopIdError {
    /// The value as it was given.
    pub given: String,
}

impl HopId {
    /// The largest id: the kernel's table has 4,096 templates, the first of which stays empty.
    pub const MAX: u16 = 4_095;
    /// Entries of a table indexed by hop, with the unused entry 0.
    pub const TABLE_LEN: usize = Self::MAX as usize + 1;

    /// The hop with this index, if it is in range.
    pub fn new(index: u16) -> Result<Self, HopIdError> {
        match NonZeroU16::new(index) {
            Some(nonzero) if index <= Self::MAX => Ok(Self(nonzero)),
            _ => Err(HopIdError { given: index.to_string() }),
        }
    }

    /// The index as the kernel's tables hold it.
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// The index as a subscript of a table of [`HopId::TABLE_LEN`] entries.
    pub const fn index(self) -> usize {
        self.0.get() as usize
    }
}

impl fmt::Display for HopId {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::str::FromStr for HopId {
    type Err = HopIdError;

    fn from_str(text: &str) -> Result<Self, HopIdError> {
        let refused = || HopIdError { given: format!("\"{text}\"") };
        text.parse().ok().and_then(|index| Self::new(index).ok()).ok_or_else(refused)
    }
}

impl TryFrom<u16> for HopId {
    type Error = HopIdError;

    fn try_from(index: u16) -> Result<Self, HopIdError> {
        Self::new(index)
    }
}

impl From<HopId> for u16 {
    fn from(hop: HopId) -> u16 {
        hop.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_what_the_kernel_holds() {
        assert!(HopId::new(0).is_err());
        assert_eq!(HopId::new(1).map(HopId::get), Ok(1));
        assert_eq!(HopId::new(4_095).map(HopId::index), Ok(HopId::TABLE_LEN - 1));
        assert_eq!(HopId::new(4_096).unwrap_err().to_string(), "4096 is not a hop: expected 1 to 4095");
    }

    #[test]
    fn text_and_json_refuse_what_new_refuses() {
        assert_eq!("17".parse::<HopId>().unwrap().to_string(), "17");
        assert_eq!("0".parse::<HopId>().unwrap_err().to_string(), "\"0\" is not a hop: expected 1 to 4095");
        assert_eq!(serde_json::from_str::<HopId>("17").unwrap().get(), 17);
        assert!(serde_json::from_str::<HopId>("0").is_err());
        assert!(serde_json::from_str::<HopId>("4096").is_err());
    }
}
