use std::time::Duration;

use slr_model::PlacementPolicy;

use super::*;
use crate::Damping;

const INTERVAL: Duration = Duration::from_millis(400);

/// One host of a test.
#[derive(Clone)]
struct Given {
    name: NodeName,
    placed: bool,
    loads: Loads,
    weight: u16,
    returned_at: Option<Instant>,
}

fn host(name: &str, load: Option<f64>) -> Given {
    let mut loads = Loads::new();
    if let Some(load) = load {
        loads.set("load".parse().unwrap(), load).unwrap();
    }
    Given { name: name.parse().unwrap(), placed: true, loads, weight: 100, returned_at: None }
}

/// A balancer of one ring, and a clock.
struct Bench {
    balancer: Balancer<u8>,
    now: Instant,
    policy: Policy,
    placement: Placement,
}

impl Bench {
    fn new(policy: Policy, hosts: usize) -> Self {
        Self { balancer: Balancer::new(), now: Instant::now(), policy, placement: Placement::for_hosts(hosts, 7) }
    }

    fn of_cost(source: &str, damping: Damping, hosts: usize) -> Self {
        let cost = Policy::compile_cost(source).unwrap();
        Self::new(Policy { placement: PlacementPolicy::Weighted, cost, damping }, hosts)
    }

    /// Evaluates, and lets an interval pass.
    fn turn(&mut self, hosts: &[Given]) -> Evaluation {
        self.try_turn(hosts).unwrap()
    }

    fn try_turn(&mut self, hosts: &[Given]) -> Result<Evaluation, BalanceError> {
        let empty = Loads::new();
        let hosts: Vec<HostInput> = hosts
            .iter()
            .map(|host| HostInput {
                name: &host.name,
                placed: host.placed,
                node_loads: &host.loads,
                loads: &empty,
                rtt_ms: Some(1.0),
                loss: Some(0.0),
                weight: Weight::new(host.weight).unwrap(),
                flows: Some(1),
                routing_cost: 1.0,
                returned_at: host.returned_at,
            })
            .collect();
        let input = RingInput { placement: self.placement, hour: 12.0, hosts: &hosts };
        let done = self.balancer.evaluate(&0, self.now, &self.policy, &input);
        self.now += INTERVAL;
        done
    }

    fn weights(&self) -> Vec<u16> {
        self.balancer.weights(&0).iter().map(|(_, weight)| weight.get()).collect()
    }

    fn settle(&mut self, hosts: &[Given]) -> Vec<u16> {
        for _ in 0..100 {
            self.turn(hosts);
        }
        assert!(!self.turn(hosts).changed, "{:?}", self.balancer.report(&0));
        self.weights()
    }
}

#[test]
fn equal_hosts_have_equal_weights_and_nothing_is_built_again() {
    let mut bench = Bench::new(Policy::new(PlacementPolicy::Weighted), 3);
    let hosts = [host("a", Some(0.5)), host("b", Some(0.5)), host("c", Some(0.5))];
    let first = bench.turn(&hosts);
    assert_eq!((first.changed, first.moved_by_cost, first.builds), (true, 0, 1));
    assert_eq!(bench.weights(), [100, 100, 100]);
    for _ in 0..20 {
        let done = bench.turn(&hosts);
        assert_eq!((done.changed, done.builds, done.moved_by_state, done.clipped), (false, 0, 0, false));
    }
}

#[test]
fn weights_are_in_inverse_proportion_to_costs() {
    let mut bench = Bench::of_cost("1.0 / weight", Damping::default(), 3);
    let mut hosts = [host("a", None), host("b", None), host("c", None)];
    (hosts[0].weight, hosts[1].weight) = (200, 50);
    let weights = bench.settle(&hosts);
    let parts = weights.iter().map(|&weight| f64::from(weight) / f64::from(weights.iter().sum::<u16>()));
    for (part, expected) in parts.zip([4.0 / 7.0, 1.0 / 7.0, 2.0 / 7.0]) {
        assert!((part / expected - 1.0).abs() < 0.1, "{weights:?}");
    }
}

#[test]
fn least_cost_gives_all_to_the_cheapest() {
    let mut bench = Bench::new(Policy::new(PlacementPolicy::LeastCost), 3);
    let mut hosts = vec![host("a", Some(0.9)), host("b", Some(0.2)), host("c", Some(0.5))];
    assert_eq!(bench.settle(&hosts), [0, 100, 0]);
    hosts[1] = host("b", Some(0.49));
    assert_eq!(bench.settle(&hosts), [0, 100, 0]);
    hosts[1] = host("b", Some(0.8));
    assert_eq!(bench.settle(&hosts), [0, 0, 100]);
}
