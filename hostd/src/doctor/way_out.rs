//! Filters of spoofed sources between this host and its clients: tried with an echo from a virtual address, by the daemon.

use std::net::IpAddr;

use slr_daemon::doctor::{Finding, Severity, finding};

use crate::status::{WayOut, WayOutcome};

/// What is wrong, and what nothing is known of and why.
#[derive(Debug, Default)]
pub struct Judged {
    pub findings: Vec<Finding>,
    pub unknown: Vec<String>,
}

impl Judged {
    /// What the daemon's tries toward an address tell: of each virtual subnet something of its own.
    pub fn add(&mut self, toward: IpAddr, ways: &[WayOut]) {
        if ways.is_empty() {
            self.unknown.push(format!("there is no virtual subnet of the family of {toward}"));
        }
        for WayOut { subnet, from, own, outcome } in ways {
            let why = match outcome {
                WayOutcome::Answered => continue,
                WayOutcome::Withheld => {
                    self.findings.push(withheld(toward, subnet.net(), *from, *own));
                    continue;
                }
                WayOutcome::Silent => match own {
                    Some(own) => format!("{toward} answers no echo, from {own} neither: name another address outside"),
                    None => {
                        format!("{toward} answered no echo, and this host has no address of its own to try it from")
                    }
                },
                WayOutcome::NoKey => {
                    format!("no router has granted a key for {subnet}: is this host registered? (hostd show sessions)")
                }
                WayOutcome::Unsendable(why) => format!("an echo from {from} to {toward} cannot be sent: {why}"),
            };
            self.unknown.push(why);
        }
    }
}

fn withheld(toward: IpAddr, subnet: ipnet::IpNet, from: IpAddr, own: Option<IpAddr>) -> Finding {
    let own = own.map_or_else(String::new, |own| own.to_string());
    let what = format!(
        "{toward} answers an echo from {own} and none from {from}: what has a source in {subnet} is filtered on its way there (uRPF, BCP 38), \
         or what is for {subnet} comes to no router of ours"
    );
    let fix = format!(
        "on each router between here and {toward}: let sources in {subnet} pass (Linux: sysctl -w net.ipv4.conf.all.rp_filter=2). If an SLR shows \
         answers meanwhile, it is the way back: slr-router capture --text --client {toward}"
    );
    finding(Severity::Broken, what, fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_become_findings_or_what_is_not_known() {
        let toward = "198.51.100.1".parse().unwrap();
        let way = |outcome| WayOut {
            subnet: "192.0.2.0/24".parse().unwrap(),
            from: "192.0.2.1".parse().unwrap(),
            own: Some("10.1.11.2".parse().unwrap()),
            outcome,
        };
        let judged = |ways: &[WayOut]| {
            let mut judged = Judged::default();
            judged.add(toward, ways);
            (judged.findings, judged.unknown)
        };
        assert_eq!(judged(&[way(WayOutcome::Answered)]), (vec![], vec![]));
        for outcome in [WayOutcome::Silent, WayOutcome::NoKey, WayOutcome::Unsendable("no route".into())] {
            let (found, unknown) = judged(&[way(outcome), way(WayOutcome::Answered), way(WayOutcome::Withheld)]);
            assert_eq!((found.len(), unknown.len()), (1, 1), "neither hides the other: {found:?} {unknown:?}");
            assert!(
                found[0].what.starts_with("198.51.100.1 answers an echo from 10.1.11.2 and none from 192.0.2.1: "),
                "{found:?}"
            );
        }
        assert_eq!(judged(&[]).1.len(), 1);
    }
}
