//! What a node is called.

use std::{borrow::Borrow, fmt, ops::Deref, str::FromStr, sync::Arc};

use thiserror::Error;

use crate::text::serde_as_text;

/// The name of a host or an SLR: 1 to 63 characters of `a-z`, `0-9`, `-` and `.`, beginning and ending with a letter
/// or a digit. It is what certificates, logs and ring placement agree on, so there is one spelling of each name.
/// Shared: a router has many copies of each name, and makes more in each interval.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Arc<str>);

/// Text that cannot name a node.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NodeNameError {
    /// The name is empty or too long.
    #[error("\"{given}\" is not a node name: it has {} characters, expected 1 to {}", given.chars().count(), NodeName::MAX_LEN)]
    Length {
        /// The text as it was given.
        given: String,
    },
    /// The name has a character outside the set.
    #[error("\"{given}\" is not a node name: {found:?} at position {position}, expected a-z, 0-9, '-' or '.'")]
    Character {
        /// The text as it was given.
        given: String,
        /// The character that is not allowed.
        found: char,
        /// Its position in characters, counted from 1.
        position: usize,
    },
    /// The name begins or ends with a separator.
    #[error("\"{given}\" is not a node name: it must begin and end with a letter or a digit")]
    Edge {
        /// The text as it was given.
        given: String,
    },
}

impl NodeName {
    /// The longest name, in characters: that of a DNS label.
    pub const MAX_LEN: usize = 63;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        let given = || text.to_owned();
        if text.is_empty() || text.chars().count() > Self::MAX_LEN {
            return Err(NodeNameError::Length { given: given() });
        }
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if let Some((index, found)) = text.chars().enumerate().find(|&(_, c)| !allowed(c)) {
            return Err(NodeNameError::Character { given: given(), found, position: index + 1 });
        }
        if text.starts_with(['-', '.']) || text.ends_with(['-', '.']) {
            return Err(NodeNameError::Edge { given: given() });
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl Deref for NodeName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for NodeName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

serde_as_text!(NodeName, "a node name");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_round_trip() {
        for name in ["a", "web-1", "h3.site-a.example", "0", &"x".repeat(63)] {
            assert_eq!(name.parse::<NodeName>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn bad_names_say_what_is_wrong() {
        let table = [
            ("", "\"\" is not a node name: it has 0 characters, expected 1 to 63"),
            ("Web", "\"Web\" is not a node name: 'W' at position 1, expected a-z, 0-9, '-' or '.'"),
            ("we b", "\"we b\" is not a node name: ' ' at position 3, expected a-z, 0-9, '-' or '.'"),
            ("wéb", "\"wéb\" is not a node name: 'é' at position 2, expected a-z, 0-9, '-' or '.'"),
            ("-web", "\"-web\" is not a node name: it must begin and end with a letter or a digit"),
            ("web.", "\"web.\" is not a node name: it must begin and end with a letter or a digit"),
        ];
        for (given, message) in table {
            assert_eq!(given.parse::<NodeName>().unwrap_err().to_string(), message);
        }
        assert!(matches!("x".repeat(64).parse::<NodeName>(), Err(NodeNameError::Length { .. })));
    }
}
