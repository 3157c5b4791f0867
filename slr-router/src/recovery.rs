//! Flows that were recovered, and what was refused: counted for people and Prometheus.

use slr_dataplane::router::Claimed;
use slr_model::{FlowKey, Identity, ServiceKey};

/// What became of claims since the daemon started, in flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// What the data plane made of those that it was given.
    pub data_plane: Claimed,
    /// Refused: the certificate does not have the virtual address.
    pub not_allowed: u64,
    /// Refused: the service is down at the host.
    pub service_down: u64,
    /// Refused: a connection that no longer has its name.
    pub no_session: u64,
}

impl Claims {
    /// Flows that claims brought back, by what found their host: the slot's current host had them, or one that the chain came to.
    pub fn found(&self) -> [(&'static str, u64); 2] {
        let Claimed { pinned, same_answer, .. } = self.data_plane;
        [("same-answer", same_answer), ("chain", pinned - same_answer)]
    }

    /// Why claims were refused, as metrics and `show recovery` have it.
    pub fn refused(&self) -> [(&'static str, u64); 7] {
        let Claimed { owned, not_served, no_hop, table_full, .. } = self.data_plane;
        [
            ("not_allowed", self.not_allowed),
            ("service_down", self.service_down),
            ("no_session", self.no_session),
            ("owned", owned),
            ("not_served", not_served),
            ("no_hop", no_hop),
            ("table_full", table_full),
        ]
    }
}

/// What became of flows that hosts told of by way of their clients, since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adverts {
    /// Judged as claims are.
    pub claims: Claims,
    /// Refused: the host is none here, has no certificate, or is not reached.
    pub unknown_host: u64,
    /// Answers whose signed bytes nobody can read, in packets: a host's fault.
    pub malformed: u64,
    /// Answers that were sent on to their hosts, in packets.
    pub sent_on: u64,
}

impl Adverts {
    /// Flows that were brought back.
    pub fn pinned(&self) -> u64 {
        self.claims.data_plane.pinned
    }

    /// Why flows were refused, as metrics and `show recovery` have it.
    pub fn refused(&self) -> [(&'static str, u64); 8] {
        let Claimed { owned, not_served, no_hop, table_full, .. } = self.claims.data_plane;
        [
            ("not_allowed", self.claims.not_allowed),
            ("service_down", self.claims.service_down),
            ("unknown_host", self.unknown_host),
            ("owned", owned),
            ("not_served", not_served),
            ("no_hop", no_hop),
            ("table_full", table_full),
            ("malformed", self.malformed),
        ]
    }
}

/// What a host may claim.
pub struct Rights<'a> {
    identity: &'a Identity,
    /// The host's services, and whether each is down there. Empty if none is.
    services: Vec<(ServiceKey, bool)>,
}

impl<'a> Rights<'a> {
    /// Of the host with this certificate and these services.
    pub fn new(identity: &'a Identity, services: impl Iterator<Item = (ServiceKey, bool)>) -> Self {
        let services: Vec<_> = services.collect();
        let all_well = services.iter().all(|(_, is_down)| !is_down);
        Self { identity, services: if all_well { Vec::new() } else { services } }
    }

    /// The flows that it may claim; the others are counted. A service that is down has no flows (its pins went when it went
    /// down): their packets go on finding their sockets one by one.
    pub fn filter(&self, flows: Vec<FlowKey>, counts: &mut Claims) -> Vec<FlowKey> {
        let mut may = |flow: &FlowKey| {
            let is_allowed = self.identity.allows_virtual_address(flow.virtual_host().ip());
            let is_down = self.is_down(flow);
            counts.not_allowed += u64::from(!is_allowed);
            counts.service_down += u64::from(is_allowed && is_down);
            is_allowed && !is_down
        };
        flows.into_iter().filter(|flow| may(flow)).collect()
    }

    /// Whether the host's service that the flow is of is down: the longest prefix counts, and in it the port's own service.
    fn is_down(&self, flow: &FlowKey) -> bool {
        let (address, port) = (flow.virtual_host().ip(), flow.virtual_host().port());
        let is_of = |key: &ServiceKey| {
            key.subnet.net().contains(&address)
                && key.service.is_none_or(|own| own.protocol == flow.protocol() && own.port.get() == port)
        };
        let of = self.services.iter().filter(|(key, _)| is_of(key));
        let closest = of.max_by_key(|(key, _)| (key.subnet.net().prefix_len(), key.service.is_some()));
        closest.is_some_and(|(_, is_down)| *is_down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_the_same_answer_or_the_chains() {
        let data_plane = Claimed { pinned: 10, same_answer: 7, known: 5, owned: 3, ..Claimed::default() };
        assert_eq!(Claims { data_plane, ..Claims::default() }.found(), [("same-answer", 7), ("chain", 3)]);
    }

    #[test]
    fn a_host_may_claim_what_its_certificate_has_and_what_is_not_down() {
        let uris = [
            "slr://example.org/host/h1",
            "slr://example.org/host/h1?subnet=192.0.2.0/24",
            "slr://example.org/host/h1?subnet=2001:db8:1::/48",
        ];
        let identity = Identity::from_uris(uris).unwrap();
        let services = |down: &[&str]| {
            let all = ["tcp/80@192.0.2.0/24", "any@192.0.2.0/24", "tcp/80@192.0.2.8/29", "any@2001:db8:1::/48"];
            all.map(|key| (key.parse::<ServiceKey>().unwrap(), down.contains(&key)))
        };
        let table: [(&str, &[&str], Claims); 9] = [
            ("192.0.2.1:80", &[], Claims::default()),
            ("[2001:db8:1::1]:80", &[], Claims::default()),
            ("192.0.3.1:80", &[], Claims { not_allowed: 1, ..Claims::default() }),
            ("[2001:db8:2::1]:80", &["any@2001:db8:1::/48"], Claims { not_allowed: 1, ..Claims::default() }),
            ("192.0.2.1:80", &["tcp/80@192.0.2.0/24"], Claims { service_down: 1, ..Claims::default() }),
            ("192.0.2.1:81", &["tcp/80@192.0.2.0/24"], Claims::default()),
            ("192.0.2.1:81", &["any@192.0.2.0/24"], Claims { service_down: 1, ..Claims::default() }),
            ("192.0.2.1:80", &["any@192.0.2.0/24"], Claims::default()),
            ("192.0.2.9:80", &["tcp/80@192.0.2.0/24", "any@192.0.2.0/24"], Claims::default()),
        ];
        for (to, down, expected) in table {
            let client = if to.starts_with('[') { "[2001:db8::7]" } else { "198.51.100.7" };
            let flow: FlowKey = format!("tcp {client}:40000 > {to}").parse().unwrap();
            let mut counts = Claims::default();
            let kept = Rights::new(&identity, services(down).into_iter()).filter(vec![flow], &mut counts);
            assert_eq!(counts, expected, "{to} {down:?}");
            assert_eq!(kept.len(), usize::from(expected == Claims::default()), "{to} {down:?}");
        }
    }
}
