//! Filters of spoofed sources between this host and its clients: tried with an echo from a virtual address, by the daemon.

use std::net::IpAddr;

use anyhow::{Result, bail};
use slr_daemon::doctor::{Finding, Severity, finding};

use crate::status::{WayOut, WayOutcome};

/// What the daemon's tries tell. An error where they tell nothing.
pub fn judge(toward: IpAddr, ways: &[WayOut]) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for WayOut { subnet, from, own, outcome } in ways {
        match outcome {
            WayOutcome::Answered => {}
            WayOutcome::Withheld => found.push(withheld(toward, subnet.net(), *from, *own)),
            WayOutcome::Silent => match own {
                Some(own) => bail!("{toward} answers no echo, from {own} neither: name another address outside"),
                None => bail!("{toward} answered no echo, and this host has no address of its own to try it from"),
            },
            WayOutcome::NoKey => {
                bail!("no router has granted a key for {subnet}: is this host registered? (hostd show sessions)")
            }
            WayOutcome::Unsendable(why) => bail!("an echo from {from} to {toward} cannot be sent: {why}"),
        }
    }
    if ways.is_empty() {
        bail!("there is no virtual subnet of the family of {toward}");
    }
    Ok(found)
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
        assert_eq!(judge(toward, &[way(WayOutcome::Answered)]).unwrap(), []);
        let found = judge(toward, &[way(WayOutcome::Answered), way(WayOutcome::Withheld)]).unwrap();
        assert!(
            found[0].what.starts_with("198.51.100.1 answers an echo from 10.1.11.2 and none from 192.0.2.1: "),
            "{found:?}"
        );
        for unknown in [WayOutcome::Silent, WayOutcome::NoKey, WayOutcome::Unsendable("no route".into())] {
            assert!(judge(toward, &[way(unknown)]).is_err());
        }
        assert!(judge(toward, &[]).is_err());
    }
}
