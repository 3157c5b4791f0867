//! What this host says of itself, made of what its parts know. Pure.

use std::collections::BTreeMap;
use std::time::Instant;

use slr_model::{Advert, HostState, ServiceAdvert, ServiceKey};

use crate::config::Served;
use crate::drain::Cause;
use crate::health::{Health, Verdict};
use crate::load::Board;
use crate::reason::cut;
use crate::sockets::Survey;

/// What each check has found so far.
pub type Verdicts = BTreeMap<ServiceKey, Verdict>;

/// All that an advert is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// What is served.
    pub services: &'a [Served],
    /// How it is.
    pub verdicts: &'a Verdicts,
    /// How busy this host is.
    pub board: &'a Board,
    /// Its connections.
    pub survey: &'a Survey,
    /// Why it drains, if it does.
    pub draining: Option<&'a Cause>,
}

impl Parts<'_> {
    /// Every check has come to a first verdict.
    pub fn are_known(&self) -> bool {
        self.services.iter().all(|served| self.health(served) != Health::Unknown)
    }

    /// The advert.
    pub fn advert(&self, now: Instant) -> Advert {
        let flows = self.flows();
        let services = self.services.iter().map(|served| self.service(served, flows[&served.key], now));
        Advert { loads: self.board.host(self.survey.total(), now), services: services.collect() }
    }

    fn service(&self, served: &Served, flows: u64, now: Instant) -> ServiceAdvert {
        let (state, reason) = self.state(served);
        let loads = self.board.service(&served.key, flows, now);
        ServiceAdvert { key: served.key, state, reason, loads, flows, weight: served.weight }
    }

    /// The state of a service, and why. A service that fails while its host drains is down: its flows do better elsewhere.
    /// One of which nothing is known keeps the flows it may have from the daemon before, and gets no new ones.
    pub fn state(&self, served: &Served) -> (HostState, String) {
        match (self.health(served), self.draining) {
            (Health::Down, _) => {
                (HostState::Down, self.verdicts.get(&served.key).map_or_else(String::new, Verdict::reason))
            }
            (_, Some(cause)) => (HostState::Draining, cut(cause.reason())),
            (Health::Unknown, None) => (HostState::Draining, "its check has no verdict yet".to_owned()),
            (Health::Up, None) => (HostState::Active, String::new()),
        }
    }

    /// Connections of each service.
    pub fn flows(&self) -> BTreeMap<ServiceKey, u64> {
        self.survey.by_service(self.services.iter().map(|served| served.key))
    }

    /// What is known of a service; one without a check is well.
    pub fn health(&self, served: &Served) -> Health {
        match served.check {
            None => Health::Up,
            Some(_) => self.verdicts.get(&served.key).map_or(Health::Unknown, Verdict::health),
        }
    }
}

#[cfg(test)]
mod tests {
    use slr_model::Weight;

    use super::*;
    use crate::health::Outcome;
    use crate::load::Formulas;

    fn served(key: &str, checked: bool) -> Served {
        let key: ServiceKey = key.parse().unwrap();
        let check = crate::health::Check {
            kind: crate::health::Kind::Tcp { port: 80 },
            address: key.subnet.network(),
            interval: std::time::Duration::from_secs(1),
            timeout: std::time::Duration::from_secs(1),
            rise: 1,
            fall: 1,
        };
        Served { key, weight: Weight::default(), check: checked.then_some(check) }
    }

    fn states(services: &[Served], verdicts: &Verdicts, draining: Option<&Cause>) -> Vec<String> {
        let board = Board::new(Vec::new(), Formulas { host: None, services: BTreeMap::new() });
        let parts = Parts { services, verdicts, board: &board, survey: &Survey::default(), draining };
        let shown = |service: ServiceAdvert| format!("{} {} {}", service.key, service.state, service.reason);
        parts.advert(Instant::now()).services.into_iter().map(shown).collect()
    }

    #[test]
    fn each_service_has_a_state_of_its_own() {
        let services = [served("tcp/80@192.0.2.0/24", true), served("any@192.0.2.0/24", false)];
        let mut verdicts = Verdicts::new();
        let unknown = states(&services, &verdicts, None);
        assert_eq!(unknown[0], "tcp/80@192.0.2.0/24 draining its check has no verdict yet");
        assert_eq!(unknown[1], "any@192.0.2.0/24 active ");
        let mut find = |outcome: Outcome| {
            verdicts.entry(services[0].key).or_default().take(outcome, 1, 1);
            verdicts.clone()
        };
        let up = find(Outcome::Success);
        assert_eq!(states(&services, &up, None), ["tcp/80@192.0.2.0/24 active ", "any@192.0.2.0/24 active "]);
        let drained = Some(&Cause::Operator);
        assert_eq!(states(&services, &up, drained)[0], "tcp/80@192.0.2.0/24 draining drained on the host");
        let down = find(Outcome::Failure("http: status 500".to_owned()));
        let expected = ["tcp/80@192.0.2.0/24 down http: status 500", "any@192.0.2.0/24 active "];
        assert_eq!(states(&services, &down, None), expected);
        assert_eq!(states(&services, &down, drained)[0], expected[0], "a broken service does not drain, it is down");
    }
}
