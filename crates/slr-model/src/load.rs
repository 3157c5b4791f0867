//! What a node says of its load: numbers with names.

use std::collections::BTreeMap;
use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::text::serde_as_text;

/// Longest name of a load value: it is a column's heading and a word in an expression.
const NAME_MAX: usize = 32;

/// Name of a load value: a letter `a`–`z`, then letters, digits and `_`, at most 32. An expression can use it as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadName(Box<str>);

/// Text that is not the name of a load value.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "\"{given}\" cannot name a load value: expected a letter a-z, then at most 31 of a-z, 0-9 and _, such as queue_depth"
)]
pub struct LoadNameError {
    /// The text as it was given.
    pub given: String,
}

impl LoadName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LoadName {
    type Err = LoadNameError;

    fn from_str(text: &str) -> Result<Self, LoadNameError> {
        let mut bytes = text.bytes();
        let good = bytes.next().is_some_and(|first| first.is_ascii_lowercase())
            && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            && text.len() <= NAME_MAX;
        if good { Ok(Self(text.into())) } else { Err(LoadNameError { given: text.to_owned() }) }
    }
}

impl fmt::Display for LoadName {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl std::borrow::Borrow<str> for LoadName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

serde_as_text!(LoadName, "a name of a load value such as queue_depth");

/// Named load values, finite numbers all of them. The seed: a load "in reality can be anything".
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Loads(BTreeMap<LoadName, f64>);

/// A load value that cannot be had.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum LoadsError {
    /// Not a number, or infinite.
    #[error("load value {name} is {value}: a finite number is needed")]
    NotFinite {
        /// Its name.
        name: LoadName,
        /// What it is.
        value: f64,
    },
    /// More values than an advert carries.
    #[error("load value {name} is one too many: at most {} have a place", Loads::MAX)]
    TooMany {
        /// The one that has no place.
        name: LoadName,
    },
}

impl Loads {
    /// How many values a node may name: an advert of one service stays within one datagram.
    pub const MAX: usize = 16;

    /// No values, for whoever needs a reference to some.
    pub const NONE: &'static Loads = &Loads(BTreeMap::new());

    /// No values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a value, replacing the one of that name.
    pub fn set(&mut self, name: LoadName, value: f64) -> Result<(), LoadsError> {
        if !value.is_finite() {
            return Err(LoadsError::NotFinite { name, value });
        }
        if self.0.len() == Self::MAX && !self.0.contains_key(&name) {
            return Err(LoadsError::TooMany { name });
        }
        self.0.insert(name, value);
        Ok(())
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// All values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&LoadName, f64)> {
        self.0.iter().map(|(name, &value)| (name, value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> serde::Deserialize<'de> for Loads {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut loads = Self::new();
        for (name, value) in BTreeMap::<LoadName, f64>::deserialize(deserializer)? {
            loads.set(name, value).map_err(serde::de::Error::custom)?;
        }
        Ok(loads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_of_an_expression() {
        for good in ["load", "queue_depth", "p99", "a"] {
            assert_eq!(good.parse::<LoadName>().unwrap().as_str(), good);
        }
        for bad in ["", "9p", "_x", "Load", "queue-depth", "ü", &"a".repeat(33)] {
            assert_eq!(bad.parse::<LoadName>().unwrap_err().given, bad);
        }
    }

    #[test]
    fn values_are_finite_and_few() {
        let mut loads = Loads::new();
        let name = |n: usize| format!("v{n}").parse::<LoadName>().unwrap();
        assert!(loads.set(name(0), f64::NAN).is_err() && loads.set(name(0), f64::INFINITY).is_err());
        for n in 0..Loads::MAX {
            loads.set(name(n), n as f64).unwrap();
        }
        assert_eq!(loads.set(name(99), 1.0), Err(LoadsError::TooMany { name: name(99) }));
        loads.set(name(3), 0.5).unwrap();
        assert_eq!((loads.get("v3"), loads.get("v99"), loads.len()), (Some(0.5), None, Loads::MAX));
    }
}
