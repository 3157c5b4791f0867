//! Which connections this host has at its virtual addresses, as the kernel's socket tables say (`sock_diag`).
//!
//! It is what "connections" means as a load, and what a drain counts down. Counted is every state in which the client
//! still needs this host: a handshake under way, an open connection, and one of which the last bytes or the last FIN are not
//! acknowledged. Not counted are
//! - TIME_WAIT, and FIN_WAIT2 without an owner: all is sent and acknowledged, the kernel merely remembers;
//! - connections from this host's own virtual addresses: health checks, which no router brought;
//! - UDP without a connected socket: such a flow has no end that a host could see. What is left of them moves on when the
//!   host withdraws.

mod diag;
mod filter;
mod surveyor;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use slr_model::{Protocol, Service, ServiceKey, VirtualSubnet};
use thiserror::Error;

pub use diag::owner;
pub use surveyor::{Count, Surveyor};

/// Why connections cannot be counted.
#[derive(Debug, Error)]
pub enum SurveyError {
    /// The socket to the kernel failed.
    #[error("socket tables cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The kernel refused the question.
    #[error("the kernel does not list {protocol} sockets: {source}; is it built with INET_DIAG and INET_UDP_DIAG?")]
    Refused {
        /// Which sockets.
        protocol: Protocol,
        /// What it said.
        source: io::Error,
    },
    /// The answer is none that a kernel gives.
    #[error("the kernel's list of sockets is not understood: {0}")]
    Answer(String),
}

/// A socket that serves a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Connection {
    local: SocketAddr,
    remote: IpAddr,
}

/// Connections at virtual addresses at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    counts: BTreeMap<(VirtualSubnet, Service), u64>,
    /// How long it took to ask.
    pub took: Duration,
}

impl Survey {
    /// Asks the kernel. Blocks for as long as the kernel needs to walk its tables: about 1 ms, and more with each 10,000
    /// connections. Looks at the network namespace of the calling thread.
    pub fn take(subnets: &[VirtualSubnet]) -> Result<Self, SurveyError> {
        let start = Instant::now();
        let mut survey = Self::default();
        if !subnets.is_empty() {
            for &protocol in Protocol::ALL {
                diag::connections(protocol, subnets, |connection| survey.count(protocol, subnets, connection))?;
            }
        }
        survey.took = start.elapsed();
        Ok(survey)
    }

    fn count(&mut self, protocol: Protocol, subnets: &[VirtualSubnet], connection: Connection) {
        let subnet_of = |address: IpAddr| subnets.iter().find(|subnet| subnet.contains(address));
        let (Some(subnet), Ok(port)) = (subnet_of(connection.local.ip()), connection.local.port().try_into()) else {
            return;
        };
        if subnet_of(connection.remote).is_none() {
            *self.counts.entry((*subnet, Service { protocol, port })).or_default() += 1;
        }
    }

    /// All connections.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Connections of each of these services; those of `any` are what is in its subnet and belongs to none of the others.
    pub fn by_service(&self, services: impl IntoIterator<Item = ServiceKey>) -> BTreeMap<ServiceKey, u64> {
        let mut flows: BTreeMap<ServiceKey, u64> = services.into_iter().map(|key| (key, 0)).collect();
        for ((subnet, service), count) in &self.counts {
            let exact = ServiceKey { subnet: *subnet, service: Some(*service) };
            let key = if flows.contains_key(&exact) { exact } else { ServiceKey { subnet: *subnet, service: None } };
            if let Some(sum) = flows.get_mut(&key) {
                *sum += count;
            }
        }
        flows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(local: &str, remote: &str) -> Connection {
        Connection { local: local.parse().unwrap(), remote: remote.parse().unwrap() }
    }

    #[test]
    fn clients_are_counted_by_service_and_checks_are_not() {
        let subnets: Vec<VirtualSubnet> =
            ["192.0.2.0/24", "2001:db8:100::/48"].map(|text| text.parse().unwrap()).to_vec();
        let mut survey = Survey::default();
        for (local, remote) in [
            ("192.0.2.10:80", "10.0.0.1"),
            ("192.0.2.11:80", "10.0.0.1"),
            ("192.0.2.11:443", "10.0.0.2"),
            ("[2001:db8:100::1]:80", "fd00::1"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("[2001:db8:100::1]:80", "2001:db8:100::1"),
            ("10.0.0.7:80", "10.0.0.1"),
        ] {
            survey.count(Protocol::Tcp, &subnets, connection(local, remote));
        }
        survey.count(Protocol::Udp, &subnets, connection("192.0.2.10:53", "10.0.0.1"));
        let flows = |keys: &[&str]| {
            let by_service = survey.by_service(keys.iter().map(|key| key.parse().unwrap()));
            keys.iter().map(|key| by_service[&key.parse::<ServiceKey>().unwrap()]).collect::<Vec<_>>()
        };
        assert_eq!(flows(&["tcp/80@192.0.2.0/24", "udp/53@192.0.2.0/24", "any@192.0.2.0/24"]), [2, 1, 1]);
        assert_eq!(flows(&["tcp/80@192.0.2.0/24", "tcp/81@192.0.2.0/24"]), [2, 0], "what is not said is not counted");
        assert_eq!(flows(&["any@2001:db8:100::/48"]), [1]);
        assert_eq!(flows(&["any@192.0.2.0/24"]), [4]);
        assert_eq!(survey.total(), 5);
    }
}
