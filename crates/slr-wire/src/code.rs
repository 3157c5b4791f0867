//! Why a connection was closed, as a number.

use std::fmt;

/// Why a node refuses or closes a connection. It is the code of [`crate::Refused`] and of QUIC's close; numbers are
/// append-only, and a number that is not known reads as [`Code::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The node goes away in order.
    GoingAway,
    /// A message that has no place at this point, or that does not decode.
    Violation,
    /// No Hello came in time.
    HelloTimeout,
    /// Nothing was heard for too long.
    Silence,
    /// A newer connection of the same node has taken over.
    Superseded,
    /// Another node uses the name.
    NameInUse,
    /// Another node has the tunnel address.
    TunnelTaken,
    /// A tunnel address or source prefix is not in the certificate.
    TunnelNotAllowed,
    /// No tunnel address, or more than one of a family.
    TunnelsInvalid,
    /// The node's role has no place here.
    Role,
    /// The certificate is revoked.
    Revoked,
    /// The certificate has expired.
    Expired,
    /// The node was removed, by an operator or because it is long gone.
    Removed,
    /// No room for another node.
    Full,
    /// The process restarts and is back at once.
    Restart,
    /// A fault of the node itself.
    Internal,
    /// A code of a later version.
    Other(u32),
}

const NUMBERS: [(Code, u32, &str); 16] = [
    (Code::GoingAway, 0, "going away"),
    (Code::Violation, 1, "violation of the protocol"),
    (Code::HelloTimeout, 2, "no hello in time"),
    (Code::Silence, 3, "silence"),
    (Code::Superseded, 4, "superseded"),
    (Code::NameInUse, 5, "name in use"),
    (Code::TunnelTaken, 6, "tunnel address taken"),
    (Code::TunnelNotAllowed, 7, "tunnel address not allowed"),
    (Code::TunnelsInvalid, 8, "tunnel addresses invalid"),
    (Code::Role, 9, "role refused"),
    (Code::Revoked, 10, "certificate revoked"),
    (Code::Expired, 11, "certificate expired"),
    (Code::Removed, 12, "removed"),
    (Code::Full, 13, "full"),
    (Code::Restart, 14, "restart"),
    (Code::Internal, 15, "internal fault"),
];

impl Code {
    /// Every code that has a name, in the order of the numbers.
    pub fn all() -> impl Iterator<Item = Code> {
        NUMBERS.iter().map(|&(code, _, _)| code)
    }

    /// Its number on the wire.
    pub fn number(self) -> u32 {
        match self {
            Code::Other(number) => number,
            known => NUMBERS.iter().find(|row| row.0 == known).expect("every named code has a row").1,
        }
    }

    /// The code with this number.
    pub fn from_number(number: u32) -> Self {
        NUMBERS.iter().find(|row| row.1 == number).map_or(Code::Other(number), |row| row.0)
    }

    /// Whether trying again soon is of no use: somebody has to change something first.
    pub const fn needs_an_operator(self) -> bool {
        matches!(
            self,
            Code::Superseded
                | Code::NameInUse
                | Code::TunnelTaken
                | Code::TunnelNotAllowed
                | Code::TunnelsInvalid
                | Code::Role
                | Code::Revoked
                | Code::Expired
                | Code::Removed
                | Code::Full
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Code::Other(number) => formatter.pad(&format!("code {number}")),
            known => formatter.pad(NUMBERS.iter().find(|row| row.0 == *known).expect("every named code has a row").2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stable_and_read_back() {
        for (index, code) in Code::all().enumerate() {
            assert_eq!((code.number() as usize, Code::from_number(code.number())), (index, code));
        }
        assert_eq!((Code::from_number(99), Code::Other(99).number()), (Code::Other(99), 99));
    }
}
