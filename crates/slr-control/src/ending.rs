//! How a connection ended, or why there was none.

use std::fmt;

use quinn::{ConnectError, ConnectionError};
use slr_wire::Code;

use crate::Refusal;
use crate::refusal::{Whose, code_of_alert, quotable};

/// QUIC's code for a node that takes no connections (RFC 9000 20.1).
const CONNECTION_REFUSED: u64 = 0x02;

/// The end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The code, if one of the two nodes ended it.
    pub code: Option<Code>,
    /// What happened.
    pub why: String,
    /// What to do about it; empty if nothing needs doing.
    pub remedy: String,
    /// Whether a certificate was refused, on either side.
    pub refused: bool,
}

/// For logs: why, and what to do.
impl fmt::Display for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.why)?;
        if !self.remedy.is_empty() {
            write!(formatter, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

impl Ending {
    pub(crate) fn new(code: impl Into<Option<Code>>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code: code.into(), why: why.into(), remedy: remedy.into(), refused: false }
    }

    /// A certificate was refused.
    pub(crate) fn refused(code: Code, refusal: Refusal) -> Self {
        Self { code: Some(code), why: refusal.why, remedy: refusal.remedy, refused: true }
    }

    /// No attempt was made.
    pub(crate) fn not_dialled(error: &ConnectError) -> Self {
        Self::new(None, format!("cannot dial: {error}"), "correct the address of the parent or peer")
    }

    /// From QUIC. What this node itself closed has its ending elsewhere.
    pub(crate) fn of_connection(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::TransportError(found) => match alert(found.code.into()) {
                Some(alert) => Self::alert(alert, Whose::Theirs, &found.reason),
                None => Self::new(
                    Code::Violation,
                    format!("the other node breaks the rules of QUIC: {found}"),
                    "see its log",
                ),
            },
            ConnectionError::ConnectionClosed(found) => {
                let words = String::from_utf8_lossy(&found.reason);
                match (alert(found.error_code.into()), u64::from(found.error_code)) {
                    (Some(alert), _) => Self::alert(alert, Whose::Ours, &words),
                    (None, CONNECTION_REFUSED) => {
                        Self::new(Code::Full, "the other node takes no more connections", "see its log")
                    }
                    (None, _) => Self::new(None, format!("closed by the other node: {}", quotable(&words)), ""),
                }
            }
            ConnectionError::ApplicationClosed(found) => {
                let number = u32::try_from(found.error_code.into_inner()).unwrap_or(u32::MAX);
                let code = Code::from_number(number);
                let words = quotable(&String::from_utf8_lossy(&found.reason));
                let (why, remedy) = words.split_once("; ").unwrap_or((&words, ""));
                Self::new(code, format!("closed by the other node: {code}: {why}"), remedy)
            }
            ConnectionError::Reset => Self::new(None, "the other node does not know the connection: it restarted", ""),
            ConnectionError::TimedOut => Self::new(None, "the other node is not heard any more", ""),
            ConnectionError::LocallyClosed => Self::new(None, "closed", ""),
            ConnectionError::VersionMismatch => {
                Self::new(None, "the two nodes speak different versions of QUIC", "upgrade the older one")
            }
            ConnectionError::CidsExhausted => Self::new(None, "no connection ids are left", ""),
        }
    }

    fn alert(alert: u8, whose: Whose, words: &str) -> Self {
        Self::refused(code_of_alert(alert), Refusal::from_alert(alert, whose, words))
    }
}

/// The TLS alert in a QUIC error code (RFC 9001 4.8).
fn alert(code: u64) -> Option<u8> {
    code.checked_sub(0x100).and_then(|alert| u8::try_from(alert).ok())
}
