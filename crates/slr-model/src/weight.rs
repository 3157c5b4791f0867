//! How much of the new flows a host should get.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A host's share of new flows, relative to the other hosts of the service: 0 to [`Weight::MAX`].
///
/// Zero means "no new flows". The default of 100 leaves room on both sides. The bound is a thousand because a finer
/// ratio would not survive placement: rings give a host about a hundred slots, the largest has 65,537 in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "u64", into = "u16")]
pub struct Weight(u16);

/// A number that is not a weight.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{given} is not a weight: expected a whole number from 0 (no new flows) to {}", Weight::MAX)]
pub struct WeightError {
    /// The value as it was given.
    pub given: String,
}

impl Weight {
    /// The largest weight.
    pub const MAX: u16 = 1_000;
    /// No new flows.
    pub const ZERO: Weight = Weight(0);

    /// The weight of this value, if it is in range.
    pub fn new(value: u16) -> Result<Self, WeightError> {
        if value > Self::MAX { Err(WeightError { given: value.to_string() }) } else { Ok(Self(value)) }
    }

    /// The value, 0 to [`Weight::MAX`].
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether the host gets no new flows.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(100)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for Weight {
    type Err = WeightError;

    fn from_str(text: &str) -> Result<Self, WeightError> {
        let refused = || WeightError { given: format!("\"{text}\"") };
        text.parse().ok().and_then(|value| Self::new(value).ok()).ok_or_else(refused)
    }
}

impl TryFrom<u64> for Weight {
    type Error = WeightError;

    fn try_from(value: u64) -> Result<Self, WeightError> {
        u16::try_from(value).map_err(|_| WeightError { given: value.to_string() }).and_then(Self::new)
    }
}

impl From<Weight> for u16 {
    fn from(weight: Weight) -> u16 {
        weight.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_to_a_thousand_and_nothing_else() {
        assert_eq!(Weight::new(0), Ok(Weight::ZERO));
        assert_eq!("1000".parse::<Weight>().unwrap().get(), 1_000);
        assert_eq!(
            Weight::new(1_001).unwrap_err().to_string(),
            "1001 is not a weight: expected a whole number from 0 (no new flows) to 1000"
        );
        assert!("1.5".parse::<Weight>().is_err());
        assert!("-1".parse::<Weight>().is_err());
        let error = serde_json::from_str::<Weight>("70000").unwrap_err();
        assert!(error.to_string().starts_with("70000 is not a weight"), "{error}");
        assert_eq!(serde_json::to_string(&Weight::default()).unwrap(), "100");
    }
}
