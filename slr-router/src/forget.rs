//! `slr-router flows forget`: an operator gives up flows, a client's or all.

use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::Result;
use clap::{ArgGroup, Args, Subcommand};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use slr_daemon::admin;
use slr_model::FlowKey;

use crate::cli::{Output, prefix_or_address};
use crate::daemon::Request;

/// What can be done with flows.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Forget flows. A forgotten flow's next packet is placed like that of any unknown flow: an established TCP
    /// connection becomes an orphan, and may end.
    Forget {
        /// Which.
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        output: Output,
    },
}

/// Which flows.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(group(ArgGroup::new("whose").required(true)))]
pub struct Which {
    /// Those of every client.
    #[arg(long, group = "whose")]
    all: bool,
    /// Those of this client, or of the clients in this prefix.
    #[arg(long, group = "whose", value_name = "PREFIX", value_parser = prefix_or_address)]
    client: Option<IpNet>,
    /// Only this share of them: the same flows each time.
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u8).range(1..=100))]
    percent: u8,
}

impl Which {
    /// Whether this flow is one of them.
    pub fn has(&self, flow: &FlowKey) -> bool {
        let is_whose = self.client.is_none_or(|clients| clients.contains(&flow.client().ip()));
        is_whose && part(flow) < u64::from(self.percent)
    }
}

/// A flow's place among a hundred.
fn part(flow: &FlowKey) -> u64 {
    let mut hasher = DefaultHasher::new();
    flow.hash(&mut hasher);
    hasher.finish() % 100
}

/// Has the daemon do it.
pub fn run(what: What) -> Result<()> {
    let What::Forget { which, output } = what;
    let forgotten: u64 = admin::request(&output.socket, &Request::ForgetFlows(which))?;
    if output.json {
        println!("{{\"forgotten\":{forgotten}}}");
    } else {
        println!("{forgotten} flows forgotten");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flows() -> impl Iterator<Item = FlowKey> {
        (0..1000).map(|n| format!("tcp 198.51.100.{}:{} > 192.0.2.9:80", n % 4, 40_000 + n).parse().expect("a flow"))
    }

    #[test]
    fn clients_and_shares() {
        let which = |client: Option<&str>, percent| {
            let client = client.map(|text| text.parse().expect("a prefix"));
            flows().filter(|flow| Which { all: client.is_none(), client, percent }.has(flow)).collect::<Vec<_>>()
        };
        assert_eq!(which(None, 100).len(), 1000);
        assert_eq!(which(Some("198.51.100.2/32"), 100).len(), 250);
        assert_eq!(which(Some("2001:db8::/32"), 100).len(), 0);
        let half = which(None, 50);
        assert!((400..600).contains(&half.len()), "{}", half.len());
        assert!(half.iter().all(|flow| which(None, 80).contains(flow)), "a larger share holds the smaller one");
    }
}
