//! Why a flow failed, in causes that lead a reader to different places.

use std::{fmt, io};

use nix::errno::Errno;
use serde::{Serialize, Serializer};

/// Cause of a failure; the first one of a flow counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The server's stack said that nobody listens (RST to a SYN, ICMP port unreachable).
    Refused,
    /// A router or our own routing table said that there is no way.
    Unreachable,
    /// No connection came about within `--timeout`.
    ConnectTimeout,
    /// The connection was reset.
    Reset,
    /// The connection ended before an answer began.
    EarlyEof,
    /// The connection ended inside an answer, or fewer bytes arrived than were sent.
    ShortBody,
    /// Something was awaited and nothing moved for `--stall-timeout`.
    Stalled,
    /// A request took longer than `--timeout` although bytes moved.
    Timeout,
    /// HTTP status outside 2xx.
    BadStatus,
    /// The answer is malformed, or is not what was asked for.
    BadContent,
    /// An answer came out of its order, or answers are missing before it.
    BadSequence,
    /// Another server answered than before on this flow, or than `--expect-server` allows.
    WrongServer,
    /// A UDP answer came from another address or port than was asked.
    WrongSource,
    /// UDP messages were never answered.
    Lost,
    /// The message does not fit the path's MTU (EMSGSIZE).
    TooBig,
    /// No free local port towards this target.
    NoLocalPort,
    /// The source address is not one of this machine.
    SourceAddress,
    /// No free file descriptor.
    NoDescriptor,
    /// Any other error of the operating system.
    Other,
}

impl Cause {
    /// The name in reports; stable.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::ConnectTimeout => "connect-timeout",
            Self::Reset => "reset",
            Self::EarlyEof => "early-eof",
            Self::ShortBody => "short-body",
            Self::Stalled => "stalled",
            Self::Timeout => "timeout",
            Self::BadStatus => "bad-status",
            Self::BadContent => "bad-content",
            Self::BadSequence => "bad-sequence",
            Self::WrongServer => "wrong-server",
            Self::WrongSource => "wrong-source",
            Self::Lost => "lost",
            Self::TooBig => "too-big",
            Self::NoLocalPort => "no-local-port",
            Self::SourceAddress => "source-address",
            Self::NoDescriptor => "no-descriptor",
            Self::Other => "other",
        }
    }

    /// What can be done about causes that are the probe's own, not the network's.
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            Self::NoLocalPort => Some(
                "every local port towards this target is taken: spread clients over more addresses with --source-range, \
                 or widen net.ipv4.ip_local_port_range",
            ),
            Self::SourceAddress => Some(
                "add the address to an interface, or the range with `ip route add local RANGE dev lo` \
                 (IPv6 also needs --source-freebind)",
            ),
            Self::NoDescriptor => Some("raise the limit of open files (ulimit -n), or open fewer flows"),
            Self::TooBig => Some("ask for smaller messages with --message-bytes, or leave --udp-df out"),
            _ => None,
        }
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A cause with what was seen, for the first few of each group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub cause: Cause,
    pub detail: String,
}

/// What a flow was doing when the operating system refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Bind,
    Connect,
    Exchange,
}

impl Failure {
    /// A failure with its detail.
    pub fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into() }
    }

    /// An error of the operating system, read in the light of what was being done.
    pub fn from_io(phase: Phase, error: &io::Error) -> Self {
        Self::new(classify(phase, error), format!("{}: {error}", phase.name()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", self.cause.name(), self.detail)
    }
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Connect => "connect",
            Self::Exchange => "exchange",
        }
    }
}

fn classify(phase: Phase, error: &io::Error) -> Cause {
    let Some(errno) = error.raw_os_error().map(Errno::from_raw) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => Cause::EarlyEof,
            _ => Cause::Other,
        };
    };
    match (errno, phase) {
        (Errno::EADDRNOTAVAIL, Phase::Bind) => Cause::SourceAddress,
        (Errno::EADDRNOTAVAIL | Errno::EADDRINUSE | Errno::EAGAIN, _) => Cause::NoLocalPort,
        (Errno::ECONNREFUSED, _) => Cause::Refused,
        // A write after the peer's reset gets EPIPE when the reset itself was already reported.
        (Errno::ECONNRESET | Errno::ECONNABORTED | Errno::EPIPE, _) => Cause::Reset,
        // Administrative prohibition by a router arrives as EHOSTUNREACH or, for IPv6, EACCES.
        (Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EHOSTDOWN | Errno::ENETDOWN | Errno::EACCES, _) => {
            Cause::Unreachable
        }
        (Errno::EPROTO | Errno::ENOPROTOOPT | Errno::EPERM, _) => Cause::Unreachable,
        (Errno::ETIMEDOUT, Phase::Connect) => Cause::ConnectTimeout,
        (Errno::ETIMEDOUT, _) => Cause::Stalled,
        (Errno::EMSGSIZE, _) => Cause::TooBig,
        (Errno::EMFILE | Errno::ENFILE, _) => Cause::NoDescriptor,
        _ => Cause::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_by_what_was_being_done() {
        let cases = [
            (Phase::Connect, Errno::ECONNREFUSED, Cause::Refused),
            (Phase::Exchange, Errno::ECONNREFUSED, Cause::Refused),
            (Phase::Connect, Errno::ETIMEDOUT, Cause::ConnectTimeout),
            (Phase::Exchange, Errno::ETIMEDOUT, Cause::Stalled),
            (Phase::Connect, Errno::EADDRNOTAVAIL, Cause::NoLocalPort),
            (Phase::Bind, Errno::EADDRNOTAVAIL, Cause::SourceAddress),
            (Phase::Bind, Errno::EADDRINUSE, Cause::NoLocalPort),
            (Phase::Exchange, Errno::ECONNRESET, Cause::Reset),
            (Phase::Connect, Errno::ECONNRESET, Cause::Reset),
            (Phase::Exchange, Errno::EPIPE, Cause::Reset),
            (Phase::Connect, Errno::EHOSTUNREACH, Cause::Unreachable),
            (Phase::Exchange, Errno::ENETUNREACH, Cause::Unreachable),
            (Phase::Exchange, Errno::EMSGSIZE, Cause::TooBig),
            (Phase::Bind, Errno::EMFILE, Cause::NoDescriptor),
            (Phase::Exchange, Errno::EIO, Cause::Other),
        ];
        for (phase, errno, cause) in cases {
            let failure = Failure::from_io(phase, &io::Error::from_raw_os_error(errno as i32));
            assert_eq!(failure.cause, cause, "{phase:?} {errno}");
        }
    }

    #[test]
    fn the_probes_own_limits_name_their_remedy() {
        assert!(Cause::NoLocalPort.remedy().is_some_and(|text| text.contains("--source-range")));
        assert_eq!(Cause::Reset.remedy(), None);
    }
}
