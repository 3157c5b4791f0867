//! Health checks: does each service of this host answer at its virtual address?
//!
//! [`Check`] says what is tried and how often, [`attempt`] tries once, [`Verdict`] (pure) turns successes and failures into
//! states, [`watch`] runs it all, one task a service. The host asks itself: the virtual address is local here, so a check
//! takes no tunnel, and says what a client's connection would meet behind it.

mod attempt;
mod verdict;
mod watch;

use std::net::IpAddr;
use std::time::Duration;

use slr_model::{Service, ServiceKey, VirtualSubnet};

pub use verdict::{Health, Outcome, Verdict};
pub use watch::{Finding, Watch};

/// How a service is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is tried.
    pub kind: Kind,
    /// The virtual address it is tried at.
    pub address: IpAddr,
    /// From one try to the next.
    pub interval: Duration,
    /// How long one try may take.
    pub timeout: Duration,
    /// So many successes in a row make a service that was down healthy.
    pub rise: u32,
    /// So many failures in a row make it down.
    pub fall: u32,
}

/// What is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connection is accepted. A frozen server still passes: the kernel accepts for it.
    Tcp {
        /// The port.
        port: u16,
    },
    /// A document is answered with an expected status.
    Http {
        /// The port.
        port: u16,
        /// The Host header; `None`: the virtual address.
        host: Option<String>,
        /// Path and query.
        path: String,
        /// Statuses that are good.
        status: Vec<u16>,
    },
    /// A datagram is answered.
    Udp {
        /// The port.
        port: u16,
        /// What is sent.
        send: Vec<u8>,
        /// How the answer must begin; empty: any answer will do.
        expect: Vec<u8>,
    },
    /// A command ends with exit code 0.
    Command {
        /// Program and arguments.
        words: Vec<String>,
    },
}

/// The address that a service is checked at unless the configuration names one: the first of the subnet that is no
/// network address.
pub fn first_usable(subnet: VirtualSubnet) -> IpAddr {
    let spare_bits = if subnet.is_ipv4() { 32 } else { 128 } - subnet.prefix_len();
    match subnet.network() {
        // A range of one or two addresses has no network address (RFC 3021, RFC 6164).
        network if spare_bits <= 1 => network,
        IpAddr::V4(network) => IpAddr::V4((u32::from(network) + 1).into()),
        IpAddr::V6(network) => IpAddr::V6((u128::from(network) + 1).into()),
    }
}

/// A service with its check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Which service.
    pub key: ServiceKey,
    /// How it is checked.
    pub check: Check,
}

impl Checked {
    /// What a command is told of its service.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment =
            vec![("SLR_SUBNET", self.key.subnet.to_string()), ("SLR_ADDRESS", self.check.address.to_string())];
        if let Some(Service { protocol, port }) = self.key.service {
            environment.extend([("SLR_PROTOCOL", protocol.to_string()), ("SLR_PORT", port.to_string())]);
        }
        environment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_made_at_the_first_usable_address() {
        for (subnet, address) in [
            ("192.0.2.0/24", "192.0.2.1"),
            ("192.0.2.8/31", "192.0.2.8"),
            ("192.0.2.9/32", "192.0.2.9"),
            ("2001:db8:100::/48", "2001:db8:100::1"),
            ("2001:db8::5/128", "2001:db8::5"),
        ] {
            assert_eq!(first_usable(subnet.parse().unwrap()).to_string(), address, "{subnet}");
        }
    }
}
