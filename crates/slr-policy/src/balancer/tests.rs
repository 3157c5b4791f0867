use std::sync::Arc;
use std::time::Duration;

use slr_model::PlacementPolicy;

use super::*;
use crate::{Damping, HopSet, Member, Ring};

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
        let done = self.evaluate(0, hosts);
        self.now += INTERVAL;
        done
    }

    /// Evaluates one ring of several.
    fn evaluate(&mut self, ring: u8, hosts: &[Given]) -> Result<Evaluation, BalanceError> {
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
        self.balancer.evaluate(&ring, self.now, &self.policy, &input)
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

/// Slots that have another host, by the rings themselves.
fn moved_between(before: &[(NodeName, Weight)], after: &[(NodeName, Weight)], placement: Placement) -> u32 {
    let members = |weights: &[(NodeName, Weight)]| -> Vec<Member> {
        let hop = |index: usize| HopId::new(index as u16 + 1).unwrap();
        let member = |(index, (name, weight)): (usize, &(NodeName, Weight))| Member {
            name: name.clone(),
            hop: hop(index),
            weight: *weight,
        };
        weights.iter().enumerate().map(member).collect()
    };
    let ring = Ring::build(&members(before), placement).unwrap();
    ring.advance(&members(after), placement, &HopSet::new()).unwrap().moved_slots
}

#[test]
fn a_change_of_costs_is_spread_over_intervals_and_each_keeps_the_budget() {
    let mut bench = Bench::new(Policy::new(PlacementPolicy::Weighted), 3);
    let names = ["a", "b", "c"];
    bench.turn(&names.map(|name| host(name, Some(0.5))));
    let unequal = [host("a", Some(0.9)), host("b", Some(0.45)), host("c", Some(0.3))];
    let budget = (0.05 * 1_021.0) as u32;
    let mut clipped = 0;
    for _ in 0..20 {
        let before = bench.balancer.weights(&0);
        let done = bench.turn(&unequal);
        let moved = moved_between(&before, &bench.balancer.weights(&0), bench.placement);
        assert_eq!((done.moved_by_cost, done.moved_by_state), (moved, 0));
        assert!(moved <= budget && done.allowed <= budget, "{done:?}");
        clipped += u32::from(done.clipped);
    }
    assert!(clipped >= 3, "{clipped} of 20 evaluations were clipped");
    let report = bench.balancer.report(&0).unwrap();
    assert_eq!(report.clipped_total, u64::from(clipped));
    assert!(report.moved_by_cost_total > u64::from(3 * budget) && report.slots == 1_021, "{report:?}");
}

#[test]
fn evaluations_that_come_early_have_no_budget_of_their_own() {
    let mut bench = Bench::new(Policy::new(PlacementPolicy::Weighted), 3);
    let unequal = [host("a", Some(0.9)), host("b", Some(0.3)), host("c", Some(0.3))];
    bench.turn(&unequal);
    bench.turn(&unequal);
    let mut moved = 0;
    for _ in 0..8 {
        bench.now -= INTERVAL * 7 / 8;
        moved += bench.turn(&unequal).moved_by_cost;
    }
    // An interval has passed in all, and the one before had left a part of its own.
    assert!(moved <= 2 * 51, "{moved}");
}

#[test]
fn a_host_that_leaves_takes_its_slots_along_at_once_and_what_was_learned_of_it_stays() {
    let mut bench = Bench::of_cost("1.0 / weight", Damping::default(), 4);
    let mut hosts = [host("a", None), host("b", None), host("c", None), host("d", None)];
    hosts[3].weight = 300;
    let settled = bench.settle(&hosts);
    hosts[3].placed = false;
    let done = bench.turn(&hosts);
    assert!(done.moved_by_state > 400, "half of 1,021 slots were its: {done:?}");
    assert_eq!((bench.weights()[3], done.moved_by_cost), (0, 0));
    hosts[3].placed = true;
    bench.turn(&hosts);
    assert_eq!(bench.weights()[3], settled[3], "it did not come back from an outage");
    assert!(bench.try_turn(&hosts[..3]).unwrap().moved_by_state > 400);
    assert_eq!(bench.weights().len(), 3);
}

#[test]
fn a_host_that_comes_back_begins_with_a_tenth_and_ramps_up() {
    let mut bench = Bench::new(Policy::new(PlacementPolicy::Weighted), 3);
    let mut hosts = [host("a", Some(0.6)), host("b", Some(0.6)), host("c", Some(0.6))];
    bench.settle(&hosts);
    hosts[2].placed = false;
    bench.turn(&hosts);
    // Idle at first: its small load is no reason to give it more than its share.
    hosts[2] = Given { returned_at: Some(bench.now), ..host("c", Some(0.02)) };
    bench.turn(&hosts);
    let mut before = bench.weights()[2];
    assert_eq!(before, 10);
    for turn in 1..=25 {
        bench.turn(&hosts);
        let weight = bench.weights()[2];
        assert!(
            weight >= before && f64::from(weight) <= 10.0 + 90.0 * f64::from(turn) / 25.0 + 1.0,
            "{turn}: {weight}"
        );
        before = weight;
    }
    assert_eq!(before, 100);
    hosts[2] = Given { returned_at: hosts[2].returned_at, ..host("c", Some(0.6)) };
    let weights = bench.settle(&hosts);
    assert!(weights.iter().all(|weight| (88..=112).contains(weight)), "alike but for the hysteresis: {weights:?}");
}

#[test]
fn all_hosts_that_come_back_at_once_share_alike() {
    let mut bench = Bench::new(Policy::new(PlacementPolicy::Weighted), 3);
    let now = bench.now;
    let back = |name| Given { returned_at: Some(now), ..host(name, Some(0.5)) };
    let done = bench.turn(&["a", "b", "c"].map(back));
    assert_eq!((done.changed, done.moved_by_state), (true, 0));
    for _ in 0..40 {
        bench.turn(&["a", "b", "c"].map(back));
        let weights = bench.weights();
        assert!(weights.iter().all(|&weight| weight == weights[0]), "{weights:?}");
    }
}

#[test]
fn when_the_cheapest_leaves_the_ring_is_not_empty() {
    let mut bench = Bench::new(Policy::new(PlacementPolicy::LeastCost), 3);
    let mut hosts = [host("a", Some(0.1)), host("b", Some(0.5)), host("c", Some(0.9))];
    assert_eq!(bench.settle(&hosts), [100, 0, 0]);
    hosts[0].placed = false;
    let done = bench.turn(&hosts);
    assert_eq!((bench.weights(), done.moved_by_state), (vec![0, 100, 0], 1_021));
    let nobody_says =
        [Given { placed: false, ..host("a", None) }, Given { placed: false, ..host("b", None) }, host("c", None)];
    bench.turn(&nobody_says);
    assert_eq!(bench.weights(), [0, 0, 100]);
}

#[test]
fn a_missing_input_costs_what_the_median_costs_and_is_counted() {
    let mut bench = Bench::new(Policy::new(PlacementPolicy::Weighted), 3);
    let hosts = [host("a", Some(0.8)), host("b", None), host("c", Some(0.8))];
    let done = bench.turn(&hosts);
    assert_eq!(done.inputs_missing, 1);
    assert_eq!(bench.settle(&hosts), [100, 100, 100]);
    let report = bench.balancer.report(&0).unwrap();
    let silent = &report.hosts[1];
    assert_eq!(silent.fault.as_ref().unwrap().to_string(), "no value of expected_load is known");
    assert_eq!((silent.cost, report.inputs_missing_total), (None, 102));
    // Nobody says anything: what is configured counts.
    let mut hosts = [host("a", None), host("b", None)];
    hosts[0].weight = 200;
    let mut fresh = Bench::new(Policy::new(PlacementPolicy::Weighted), 2);
    assert_eq!(fresh.settle(&hosts), [200, 100]);
}

#[test]
fn hosts_without_weight_and_idle_hosts_stay_as_they_are() {
    let mut bench = Bench::new(Policy::new(PlacementPolicy::Weighted), 3);
    let mut hosts = [host("a", Some(0.2)), host("b", Some(0.01)), host("c", Some(0.2))];
    hosts[2].weight = 0;
    assert_eq!(bench.settle(&hosts), [100, 100, 0], "below a quarter of load nothing moves");
}

#[test]
fn one_absurd_load_does_not_empty_the_others() {
    let mut bench = Bench::of_cost("load", Damping::default(), 3);
    let hosts = [host("a", Some(1e-300)), host("b", Some(0.5)), host("c", Some(1e300))];
    let weights = bench.settle(&hosts);
    assert!(weights.iter().all(|&weight| weight >= 2), "{weights:?}");
    let free = [host("a", Some(0.0)), host("b", Some(-1.0))];
    assert_eq!(Bench::of_cost("load", Damping::default(), 2).settle(&free), [100, 100]);
}

#[test]
fn weights_that_come_from_elsewhere_are_where_the_next_evaluation_begins() {
    let mut bench = Bench::new(Policy::new(PlacementPolicy::Weighted), 2);
    let weights = [("b", 50), ("a", 150)].map(|(name, weight)| (name.parse().unwrap(), Weight::new(weight).unwrap()));
    bench.balancer.adopt(&0, bench.placement, &weights).unwrap();
    assert_eq!(bench.weights(), [150, 50]);
    // Loads in proportion to the shares: there is nothing to change.
    let hosts = [host("a", Some(0.6)), host("b", Some(0.6))];
    let done = bench.turn(&hosts);
    assert_eq!((done.changed, done.builds, done.moved_by_state), (false, 0, 0));
}

#[test]
fn another_expression_forgets_what_the_last_one_saw_but_not_the_weights() {
    let mut bench = Bench::of_cost("1.0 / weight", Damping::default(), 2);
    let mut hosts = [host("a", Some(0.5)), host("b", Some(0.5))];
    hosts[0].weight = 300;
    assert_eq!(bench.settle(&hosts), [148, 51], "three to one, in steps of five per cent around a mean of 100");
    bench.policy.cost = Policy::compile_cost("max(load, 0.25) / share").unwrap();
    let done = bench.turn(&hosts);
    assert!(!done.changed, "equal loads, whatever the shares: {done:?}");
    let report = bench.balancer.report(&0).unwrap();
    let names: Vec<String> = report.hosts[0].inputs.iter().map(|(variable, _)| variable.to_string()).collect();
    assert_eq!((names.as_slice(), report.hosts[0].weight.get()), (["load", "share"].map(String::from).as_slice(), 148));
}

#[test]
fn inputs_that_name_a_host_twice_are_refused_and_change_nothing() {
    let mut bench = Bench::new(Policy::new(PlacementPolicy::Weighted), 2);
    bench.turn(&[host("a", Some(0.5)), host("b", Some(0.5))]);
    let refused = bench.try_turn(&[host("b", Some(0.5)), host("a", Some(0.5)), host("b", Some(0.1))]).unwrap_err();
    assert_eq!(refused.to_string(), "host b is among the inputs twice: a ring has one host of a name");
    assert_eq!(bench.weights(), [100, 100]);
}

#[test]
fn rings_that_are_not_wanted_are_forgotten() {
    let mut bench = Bench::new(Policy::new(PlacementPolicy::Weighted), 1);
    bench.turn(&[host("a", Some(0.5))]);
    bench.balancer.retain(|key| *key != 0);
    assert!(bench.balancer.keys().next().is_none() && bench.weights().is_empty());
    assert_eq!(bench.balancer.report(&0), None);
}

#[test]
fn counted_traffic_tells_what_a_load_is_due_to() {
    // Host b has half of the ring, but long connections keep three quarters of the traffic on a, which is as strong.
    let counted = |told: bool| {
        let mut bench = Bench::new(Policy::new(PlacementPolicy::Weighted), 2);
        let hosts = [host("a", Some(0.9)), host("b", Some(0.3))];
        for turn in 1..60 {
            if told {
                let packets = [(hosts[0].name.clone(), turn * 3_000), (hosts[1].name.clone(), turn * 1_000)];
                bench.balancer.note_traffic(&0, &Arc::new(packets.into()));
            }
            bench.turn(&hosts);
        }
        bench.weights()
    };
    let told = counted(true);
    let ratio = |weights: &[u16]| f64::from(weights[0]) / f64::from(weights[1]);
    assert!((0.82..1.22).contains(&ratio(&told)), "alike but for the hysteresis: {told:?}");
    let blind = counted(false);
    assert!(ratio(&blind) < 0.1, "{blind:?}");
}

mod random {
    use proptest::prelude::*;

    use super::*;

    /// What happens in a turn: how much time passes (in tenths of an interval), and each host's load, presence and weight.
    type Turn = (u32, Vec<(u8, bool, u8)>);

    fn turns() -> impl Strategy<Value = Vec<Turn>> {
        let host = (0u8..=100, prop::bool::weighted(0.9), 0u8..=4);
        prop::collection::vec((0u32..=15, prop::collection::vec(host, 12)), 2..20)
    }

    fn given(spec: &[(u8, bool, u8)], hosts: usize) -> Vec<Given> {
        let one = |(index, &(load, placed, weight)): (usize, &(u8, bool, u8))| {
            let load = (load > 3).then(|| f64::from(load) / 100.0);
            Given { placed, weight: u16::from(weight) * 50, ..host(&format!("h{index}"), load) }
        };
        // One of 98 is not even listed.
        spec.iter().take(hosts).enumerate().filter(|(_, spec)| spec.0 < 98).map(one).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        #[test]
        fn whatever_happens_the_budget_holds_and_order_makes_no_difference(
            turns in turns(),
            hosts in 1usize..12,
            least_cost in any::<bool>(),
            budget in 0.005f64..0.3,
            turned in 0usize..12,
        ) {
            let placement = if least_cost { PlacementPolicy::LeastCost } else { PlacementPolicy::Weighted };
            let mut policy = Policy::new(placement);
            policy.damping.budget = budget;
            let mut bench = Bench::new(policy.clone(), hosts);
            let mut other = Bench::new(policy, hosts);
            other.now = bench.now;
            let (mut moved, mut elapsed) = (0u32, 0.0);
            for (tenths, spec) in &turns {
                let passes = INTERVAL * *tenths / 10;
                let hosts = given(spec, hosts);
                let before = bench.balancer.weights(&0);
                let done = bench.turn(&hosts);
                bench.now = bench.now - INTERVAL + passes;
                let after = bench.balancer.weights(&0);
                let slots = f64::from(bench.placement.size.get());

                prop_assert!(done.moved_by_cost <= done.allowed && f64::from(done.allowed) <= budget * slots);
                let listed = |weights: &[(NodeName, Weight)]| weights.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
                let rings = !with_weight(&before).is_empty() && !with_weight(&after).is_empty();
                if done.moved_by_state == 0 && rings && listed(&before) == listed(&after) {
                    prop_assert_eq!(moved_between(&before, &after, bench.placement), done.moved_by_cost);
                }
                prop_assert_eq!(done.changed, with_weight(&before) != with_weight(&after));
                moved += done.moved_by_cost;
                prop_assert!(f64::from(moved) <= budget * slots * (1.0 + elapsed) + 1.0);
                elapsed += f64::from(*tenths) / 10.0;
                let placed = |host: &Given| host.placed && host.weight > 0;
                for (host, (_, weight)) in by_name(&hosts).into_iter().zip(&after) {
                    prop_assert!(placed(host) || weight.is_zero());
                    prop_assert!(least_cost || !placed(host) || !weight.is_zero());
                }
                let total: u32 = after.iter().map(|(_, weight)| u32::from(weight.get())).sum();
                prop_assert_eq!(total > 0, hosts.iter().any(placed));

                let mut hosts = hosts;
                let by = turned % hosts.len().max(1);
                hosts.rotate_left(by);
                prop_assert_eq!(other.turn(&hosts), done);
                other.now = bench.now;
                prop_assert_eq!(other.balancer.weights(&0), after);
            }
        }
    }

    fn with_weight(weights: &[(NodeName, Weight)]) -> Vec<(NodeName, Weight)> {
        weights.iter().filter(|(_, weight)| !weight.is_zero()).cloned().collect()
    }

    fn by_name(hosts: &[Given]) -> Vec<&Given> {
        let mut hosts: Vec<&Given> = hosts.iter().collect();
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        hosts
    }
}

/// A host's services mostly share its load: their rings are built once, whatever steps they take.
#[test]
fn rings_that_are_alike_are_built_once() {
    let mut bench = Bench::of_cost("load + 0.1", Damping::default(), 30);
    let mut hosts: Vec<Given> = (0..30).map(|index| host(&format!("h{index:02}"), Some(0.5))).collect();
    let (mut alone, mut other) = (0, 0);
    for turn in 0..20 {
        hosts[turn].loads.set("load".parse().unwrap(), 0.9).unwrap();
        let first = bench.evaluate(0, &hosts).unwrap();
        alone += bench.balancer.placer.built;
        bench.balancer.placer.built = 0;
        for ring in 1..4 {
            assert_eq!(bench.evaluate(ring, &hosts).unwrap(), first, "what is reported of a ring is its own");
            other += bench.balancer.placer.built;
        }
        bench.balancer.placer.built = 0;
        bench.now += INTERVAL;
    }
    assert!(alone >= 20, "every turn changes the ring: {alone} built");
    assert_eq!(other, 0, "the other three rings are the first one's");
    let weights = bench.weights();
    hosts[0].loads.set("load".parse().unwrap(), 0.1).unwrap();
    bench.evaluate(1, &hosts).unwrap();
    assert_eq!(bench.weights(), weights, "one ring's change is not another's");
}
