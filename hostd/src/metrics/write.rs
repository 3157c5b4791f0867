//! From the snapshot to the page.

use slr_daemon::metrics::{Family, Samples, Text};
use slr_model::{Loads, ServiceKey};

use super::families as name;
use super::snapshot::*;

/// How metrics name all ports of a subnet together.
const ANY: &str = "any";

impl slr_daemon::metrics::Snapshot for Snapshot {
    fn write(&self, text: &mut Text) {
        self.traffic(text);
        self.services(text);
        self.checks(text);
        self.loads(text);
        self.sessions(text);
        self.recovery(text);
        self.daemon(text);
    }
}

impl Snapshot {
    fn traffic(&self, text: &mut Text) {
        each(text, &name::PACKETS, &self.reasons, |s, r| s.add(&[r.reason, r.verdict], r.packets));
        each(text, &name::BYTES, &self.reasons, |s, r| s.add(&[r.reason, r.verdict], r.bytes));
        let account = |subnet: &Subnet| subnet.account.map(|id| id.to_string()).unwrap_or_default();
        let all: Vec<([String; 2], &Subnet)> =
            self.subnets.iter().map(|one| ([one.subnet.to_string(), account(one)], one)).collect();
        each(text, &name::SUBNET_PACKETS, &all, |s, ([net, to], one)| {
            s.add(&[net, to, "received"], one.received_packets);
            s.add(&[net, to, "sent"], one.sent_packets);
        });
        each(text, &name::SUBNET_BYTES, &all, |s, ([net, to], one)| {
            s.add(&[net, to, "received"], one.received_bytes);
            s.add(&[net, to, "sent"], one.sent_bytes);
        });
    }

    fn services(&self, text: &mut Text) {
        let all: Vec<([String; 2], &Service)> = self.services.iter().map(|one| (words(&one.key), one)).collect();
        each(text, &name::SERVICE_STATE, &all, |s, ([net, of], one)| states(s, &[net, of], &SERVICE_STATES, one.state));
        each(text, &name::SERVICE_STATE_AGE, &all, |s, ([net, of], one)| {
            s.add(&[net, of], one.state_age.as_secs_f64());
        });
        each(text, &name::SERVICE_FLOWS, &all, |s, ([net, of], one)| s.add(&[net, of], one.flows));
    }

    fn checks(&self, text: &mut Text) {
        let all: Vec<([String; 2], &Check)> = self.checks.iter().map(|check| (words(&check.key), check)).collect();
        each(text, &name::CHECK_HEALTHY, &all, |s, ([net, of], c)| s.add(&[net, of, c.check], c.is_healthy));
        each(text, &name::CHECKS, &all, |s, ([net, of], c)| {
            s.add(&[net, of, c.check, "success"], c.successes);
            s.add(&[net, of, c.check, "failure"], c.failures);
        });
        each(text, &name::CHECK_TOOK, &all, |s, ([net, of], c)| {
            if let Some(took) = c.took {
                s.add(&[net, of, c.check], took.as_secs_f64());
            }
        });
    }

    fn loads(&self, text: &mut Text) {
        let of_host = (["", ""].map(String::from), &self.loads);
        let of_services = self.services.iter().map(|one| (words(&one.key), &one.loads));
        let all: Vec<([String; 2], &Loads)> = std::iter::once(of_host).chain(of_services).collect();
        each(text, &name::LOAD, &all, |s, ([net, of], loads)| {
            loads.iter().for_each(|(load, value)| s.add(&[net, of, load.as_str()], value));
        });
        each(text, &name::LOAD_FAILURES, &self.load_failures, |s, (load, n)| s.add(&[load], *n));
    }

    fn sessions(&self, text: &mut Text) {
        each(text, &name::SESSION, &self.sessions, |s, (router, state)| states(s, &[router], &SESSION_STATES, state));
        each(text, &name::HANDSHAKES_FAILED, &self.handshakes_failed, |s, (why, n)| s.add(&[why], *n));
        each(text, &name::MESSAGES_BAD, &self.messages_bad, |s, (why, n)| s.add(&[why], *n));
        text.family(&name::DRAINING).add(&[], self.is_draining);
        text.family(&name::FLOWS).add(&[], self.flows);
    }

    fn recovery(&self, text: &mut Text) {
        each(text, &name::STALLS, &self.recovery.stalls, |s, (outcome, n)| s.add(&[outcome], *n));
        each(text, &name::ECHOES, &self.recovery.echoes, |s, (outcome, n)| s.add(&[outcome], *n));
        text.family(&name::WATCHED).add(&[], self.recovery.watched);
        text.family(&name::SWEEP_BUSY).add(&[], self.recovery.swept_for.as_secs_f64());
        text.family(&name::KEY_EPOCH).add(&[], self.recovery.key_epoch);
    }

    fn daemon(&self, text: &mut Text) {
        let Config { reloads_applied, reloads_refused, is_last_good, in_force_since_s } = self.config;
        let reloads = [("applied", reloads_applied), ("refused", reloads_refused)];
        each(text, &name::RELOADS, &reloads, |s, (result, n)| s.add(&[result], *n));
        text.family(&name::CONFIG_GOOD).add(&[], is_last_good);
        each(text, &name::CONFIG_SINCE, in_force_since_s.as_slice(), |s, since| s.add(&[], *since));
        let Control { turns, busy, longest } = self.control;
        text.family(&name::TURNS).add(&[], turns);
        text.family(&name::TURN_BUSY).add(&[], busy.as_secs_f64());
        text.family(&name::TURN_LONGEST).add(&[], longest.as_secs_f64());
        each(text, &name::CERTIFICATE_END, &self.certificates, |s, (which, end)| s.add(&[which], *end));
    }
}

fn each<T>(text: &mut Text, family: &'static Family, all: &[T], mut add: impl FnMut(&mut Samples, &T)) {
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
