//! What state is kept for: one service of one virtual subnet.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::text::serde_as_text;
use crate::{Service, VirtualSubnet};

/// A service of a virtual subnet, written `tcp/80@192.0.2.0/24`; `any@192.0.2.0/24` is all its ports together.
///
/// A host's state is kept for each of these apart: a dead web server takes nothing from the name server beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// The range of virtual addresses.
    pub subnet: VirtualSubnet,
    /// Protocol and port; `None`: every port that the subnet serves and no other key names.
    pub service: Option<Service>,
}

/// Text that is not a service of a subnet.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "\"{given}\" is not a service of a virtual subnet: expected SERVICE@SUBNET, such as tcp/80@192.0.2.0/24 or any@2001:db8::/48"
)]
pub struct ServiceKeyError {
    /// The text as it was given.
    pub given: String,
}

impl FromStr for ServiceKey {
    type Err = ServiceKeyError;

    fn from_str(text: &str) -> Result<Self, ServiceKeyError> {
        parse(text).ok_or_else(|| ServiceKeyError { given: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<ServiceKey> {
    let (service, subnet) = text.split_once('@')?;
    let service = if service == "any" { None } else { Some(service.parse().ok()?) };
    Some(ServiceKey { subnet: subnet.parse().ok()?, service })
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.pad(&match self.service {
            Some(service) => format!("{service}@{}", self.subnet),
            None => format!("any@{}", self.subnet),
        })
    }
}

serde_as_text!(ServiceKey, "a service of a virtual subnet such as tcp/80@192.0.2.0/24");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip() {
        for text in ["tcp/80@192.0.2.0/24", "any@192.0.2.0/24", "udp/53@2001:db8::/48"] {
            assert_eq!(text.parse::<ServiceKey>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for given in ["", "tcp/80", "@192.0.2.0/24", "tcp/0@192.0.2.0/24", "tcp/80@192.0.2.1/24", "all@192.0.2.0/24"] {
            let error = given.parse::<ServiceKey>().unwrap_err();
            assert_eq!(error.given, given);
            assert!(error.to_string().contains("such as tcp/80@192.0.2.0/24"));
        }
    }
}
