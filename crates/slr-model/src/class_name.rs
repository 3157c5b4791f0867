//! What a class of clients is called.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::text::serde_as_text;

/// The name of a class of clients of a virtual subnet: 1 to 63 characters of `a-z`, `0-9` and `-`. Clients of a class may
/// be placed by rings of their own; routers of one cluster agree on the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassName(Box<str>);

/// Text that cannot name a class.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "\"{given}\" is not the name of a client class: expected 1 to {} characters of a-z, 0-9 and '-', such as internal",
    ClassName::MAX_LEN
)]
pub struct ClassNameError {
    /// The text as it was given.
    pub given: String,
}

impl ClassName {
    /// The longest name, in characters.
    pub const MAX_LEN: usize = 63;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClassName {
    type Err = ClassNameError;

    fn from_str(text: &str) -> Result<Self, ClassNameError> {
        let is_of_a_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if (1..=Self::MAX_LEN).contains(&text.len()) && text.bytes().all(is_of_a_name) {
            Ok(Self(text.into()))
        } else {
            Err(ClassNameError { given: text.to_owned() })
        }
    }
}

impl fmt::Display for ClassName {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

serde_as_text!(ClassName, "the name of a client class such as internal");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for text in ["internal", "a", "tier-2", &"x".repeat(63)] {
            assert_eq!(text.parse::<ClassName>().unwrap().to_string(), text);
            assert_eq!(serde_json::from_str::<ClassName>(&format!("\"{text}\"")).unwrap().as_str(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for given in ["", "Internal", "in ternal", "a.b", "ü", &"x".repeat(64)] {
            let error = given.parse::<ClassName>().unwrap_err();
            assert_eq!(error.given, given);
            assert!(error.to_string().ends_with("such as internal"));
        }
    }
}
