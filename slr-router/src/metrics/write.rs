//! From the snapshot to the page.

use std::time::Duration;

use slr_daemon::metrics::{Samples, Text};
use slr_model::{Loads, ServiceKey};

use super::families as name;
use super::snapshot::*;

/// How metrics name all ports of a subnet together.
const ANY: &str = "any";

impl slr_daemon::metrics::Snapshot for Snapshot {
    fn write(&self, text: &mut Text) {
        self.traffic(text);
        self.rings(text);
        self.services(text);
        self.places(text);
        self.sessions(text);
        self.paths(text);
        self.daemon(text);
    }
}

impl Snapshot {
    fn traffic(&self, text: &mut Text) {
        each(text, &name::PACKETS, &self.reasons, |s, r| s.add(&[r.reason, r.verdict], r.packets));
        each(text, &name::BYTES, &self.reasons, |s, r| s.add(&[r.reason, r.verdict], r.bytes));
        let flows: Vec<(&str, Flows)> = ["ipv4", "ipv6"].into_iter().zip(self.flows.into_iter().flatten()).collect();
        each(text, &name::FLOWS_PINNED, &flows, |s, (family, f)| s.add(&[family], f.pinned));
        each(text, &name::FLOWS_PENDING, &flows, |s, (family, f)| {
            if let Some(pending) = f.pending {
                s.add(&[family], pending);
            }
        });
        each(text, &name::FLOWS_CAPACITY, &flows, |s, (family, f)| s.add(&[family], f.capacity));
        each(text, &name::HOP_PACKETS, &self.hops, |s, h| s.add(&[&h.host], h.packets));
        each(text, &name::HOP_BYTES, &self.hops, |s, h| s.add(&[&h.host], h.bytes));
        each(text, &name::HOP_NEW_FLOWS, &self.hops, |s, h| s.add(&[&h.host], h.new_flows));
        each(text, &name::HOP_UP, &self.hops, |s, h| s.add(&[&h.host], h.is_up));
        each(text, &name::HOP_MTU, &self.hops, |s, h| s.add(&[&h.host], u64::from(h.mtu)));
        let subnets: Vec<([String; 2], &Subnet)> =
            self.subnets.iter().map(|s| ([s.subnet.to_string(), s.account.to_string()], s)).collect();
        each(text, &name::SUBNET_PACKETS, &subnets, |s, ([net, to], u)| s.add(&[net, to], u.packets));
        each(text, &name::SUBNET_BYTES, &subnets, |s, ([net, to], u)| s.add(&[net, to], u.bytes));
        each(text, &name::SUBNET_NEW_FLOWS, &subnets, |s, ([net, to], u)| s.add(&[net, to], u.new_flows));
    }

    fn rings(&self, text: &mut Text) {
        let rings: Vec<([String; 2], &Ring)> = self.rings.iter().map(|ring| (words(&ring.key), ring)).collect();
        each(text, &name::RING_SLOTS, &rings, |s, ([net, of], r)| s.add(&[net, of, &r.class], r.slots));
        each(text, &name::SLOTS_MOVED, &rings, |s, ([net, of], r)| s.add(&[net, of, &r.class], r.slots_moved));
        each(text, &name::BUDGET_CLIPPED, &rings, |s, ([net, of], r)| s.add(&[net, of, &r.class], r.clipped));
    }

    fn services(&self, text: &mut Text) {
        let all: Vec<([String; 2], &HostService)> = self.services.iter().map(|one| (words(&one.key), one)).collect();
        each(text, &name::SERVICE_STATE, &all, |s, ([net, of], one)| {
            states(s, &[&one.host, net, of], &SERVICE_STATES, one.state);
        });
        each(text, &name::SERVICE_STATE_AGE, &all, |s, ([net, of], one)| {
            s.add(&[&one.host, net, of], one.state_age.as_secs_f64());
        });
        each(text, &name::SERVICE_HELD, &all, |s, ([net, of], one)| s.add(&[&one.host, net, of], one.is_held));
        each(text, &name::SERVICE_FLOWS, &all, |s, ([net, of], one)| s.add(&[&one.host, net, of], one.flows));
        let of_hosts = self.hosts.iter().map(|host| (["", ""].map(String::from), &host.host, &host.loads));
        let of_services = all.iter().map(|(words, one)| (words.clone(), &one.host, &one.loads));
        let loads: Vec<([String; 2], _, &Loads)> = of_hosts.chain(of_services).collect();
        each(text, &name::LOAD, &loads, |s, ([net, of], host, loads)| {
            loads.iter().for_each(|(load, value)| s.add(&[host, net, of, load.as_str()], value));
        });
    }

    fn places(&self, text: &mut Text) {
        let all: Vec<([String; 2], &Place)> = self.places.iter().map(|place| (words(&place.key), place)).collect();
        each(text, &name::COST, &all, |s, ([net, of], place)| {
            if let Some(cost) = place.cost {
                s.add(&[&place.host, net, of, &place.class], cost);
            }
        });
        each(text, &name::WEIGHT, &all, |s, ([net, of], p)| s.add(&[&p.host, net, of, &p.class], p.weight));
        each(text, &name::SHARE, &all, |s, ([net, of], p)| s.add(&[&p.host, net, of, &p.class], p.share));
    }

    fn sessions(&self, text: &mut Text) {
        each(text, &name::SESSION, &self.hosts, |s, host| states(s, &[&host.host], &SESSION_STATES, host.session));
        each(text, &name::ROUTER_SESSION, &self.routers, |s, (router, is_there)| s.add(&[router], *is_there));
        each(text, &name::HANDSHAKES_REFUSED, &self.handshakes_refused, |s, (why, n)| s.add(&[why], *n));
        each(text, &name::MESSAGES_BAD, &self.messages_bad, |s, (why, n)| s.add(&[why], *n));
        each(text, &name::INPUTS_MISSING, &self.inputs_missing, |s, (input, n)| s.add(&[input], *n));
    }

    fn paths(&self, text: &mut Text) {
        let all: Vec<(String, &Path)> = self.paths.iter().map(|path| (path.address.to_string(), path)).collect();
        let seconds = |us: u32| f64::from(us) / 1e6;
        each(text, &name::PATH, &all, |s, (at, path)| states(s, &[&path.host, at], &PATH_STATES, path.state));
        each(text, &name::KEEPALIVE_RTT, &all, |s, (at, path)| {
            if let Some(us) = path.rtt_us {
                s.add(&[&path.host, at], seconds(us));
            }
        });
        each(text, &name::KEEPALIVE_RTT_MIN, &all, |s, (at, path)| {
            if let Some(us) = path.rtt_us_min {
                s.add(&[&path.host, at], seconds(us));
            }
        });
        each(text, &name::KEEPALIVE_LOSS, &all, |s, (at, path)| s.add(&[&path.host, at], path.loss));
        each(text, &name::KEEPALIVES, &self.keepalives, |s, (result, n)| s.add(&[result], *n));
    }

    fn daemon(&self, text: &mut Text) {
        each(text, &name::ALARMS, &self.alarms, |s, (kind, n)| s.add(&[kind], *n));
        let announced: Vec<(String, &str)> =
            self.announced.iter().map(|(net, level)| (net.to_string(), *level)).collect();
        each(text, &name::ANNOUNCED, &announced, |s, (net, level)| states(s, &[net], &ANNOUNCED_LEVELS, level));
        each(text, &name::ANNOUNCE_CHANGES, &self.announce_changes, |s, (level, n)| s.add(&[level], *n));
        each(text, &name::ANNOUNCE_FAILING, self.announce_failing.as_slice(), |s, fails| s.add(&[], *fails));
        each(text, &name::RECOVERED, &self.recovered, |s, (rung, n)| s.add(&[rung], *n));
        each(text, &name::CLAIMS, &self.claims, |s, (result, n)| s.add(&[result], *n));
        each(text, &name::ADVERTS, &self.adverts, |s, (result, n)| s.add(&[result], *n));
        each(text, &name::HALF_OPEN, &self.half_open, |s, (result, n)| s.add(&[result], *n));
        each(text, &name::FLOW_EPOCH, self.flow_epoch.as_slice(), |s, epoch| s.add(&[], u64::from(*epoch)));
        each(text, &name::FLOW_EPOCHS_REFUSED, self.flow_epochs_refused.as_slice(), |s, n| s.add(&[], *n));
        each(text, &name::MIRROR_STATE, &self.mirrors, |s, mirror| {
            states(s, &[mirror.router.as_str(), "told"], &MIRROR_STATES, mirror.told);
            states(s, &[mirror.router.as_str(), "heard"], &MIRROR_STATES, mirror.heard);
        });
        each(text, &name::MIRROR_LAG, &self.mirrors, |s, mirror| {
            mirror.lags.iter().for_each(|(at, lag)| s.add(&[mirror.router.as_str(), at], lag.as_secs_f64()));
        });
        each(text, &name::MIRROR_QUEUE, &self.mirrors, |s, mirror| s.add(&[mirror.router.as_str()], mirror.queue));
        each(text, &name::MIRROR_FLOWS, &self.mirrors, |s, mirror| {
            mirror.flows.iter().for_each(|(result, n)| s.add(&[mirror.router.as_str(), result], *n));
        });
        each(text, &name::MIRROR_RESYNCS, &self.mirrors, |s, mirror| s.add(&[mirror.router.as_str()], mirror.resyncs));
        each(text, &name::MIRROR_LOST, self.mirror_lost.as_slice(), |s, n| s.add(&[], *n));
        let Config { reloads_applied, reloads_refused, is_last_good, in_force_since_s } = self.config;
        let reloads = [("applied", reloads_applied), ("refused", reloads_refused)];
        each(text, &name::RELOADS, &reloads, |s, (result, n)| s.add(&[result], *n));
        text.family(&name::CONFIG_GOOD).add(&[], is_last_good);
        each(text, &name::CONFIG_SINCE, in_force_since_s.as_slice(), |s, since| s.add(&[], *since));
        let Control { turns, busy, longest, evaluation } = self.control;
        text.family(&name::TURNS).add(&[], turns);
        text.family(&name::TURN_BUSY).add(&[], busy.as_secs_f64());
        text.family(&name::TURN_LONGEST).add(&[], longest.as_secs_f64());
        each(text, &name::EVALUATION, evaluation.as_slice(), |s, time: &Duration| s.add(&[], time.as_secs_f64()));
        each(text, &name::CERTIFICATE_END, &self.certificates, |s, (which, end)| s.add(&[which], *end));
    }
}

fn each<T>(
    text: &mut Text,
    family: &'static slr_daemon::metrics::Family,
    all: &[T],
    mut add: impl FnMut(&mut Samples, &T),
) {
    let mut samples = text.family(family);
    all.iter().for_each(|one| add(&mut samples, one));
}

/// One sample for each state: 1 for the one that it is in.
fn states(samples: &mut Samples, labels: &[&str], all: &[&str], current: &str) {
    let mut values = labels.to_vec();
    for state in all {
        values.push(state);
        samples.add(&values, *state == current);
        values.pop();
    }
}

/// Subnet and service, as labels.
fn words(key: &ServiceKey) -> [String; 2] {
    [key.subnet.to_string(), key.service.map_or_else(|| ANY.to_owned(), |service| service.to_string())]
}
