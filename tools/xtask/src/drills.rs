//! Failure drills in a lab: `probe drill` on a client, with the scenarios of `tools/drills`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use slr_testkit::holds_within;
use slr_testkit::lab::Lab;

use crate::load;
use crate::pair::{Kind, Pair, PairOptions};
use crate::site::{HOSTS, HostLines, Site, SiteOptions, program};

/// How long the servers that drills talk to may take until they are known to be well.
const KNOWN: Duration = Duration::from_secs(20);

/// A site whose `probe serve` is checked like any service: a drill kills it, and the router has to hear of it.
pub fn options() -> SiteOptions {
    let mut options = SiteOptions::default();
    options.subnets.truncate(2);
    let mut tables = String::new();
    for (subnet, _) in &options.subnets {
        for (service, check) in [("tcp/8080", "{ kind = \"http\", path = \"/\" }"), ("tcp/7007", "{ kind = \"tcp\" }")]
        {
            tables += &format!(
                "\n[[service]]\nsubnet = \"{subnet}\"\nservice = \"{service}\"\nweight = 100\ncheck = {check}\n"
            );
        }
    }
    for host in HOSTS {
        options.host_lines.insert(host.to_owned(), HostLines { tables: tables.clone(), ..HostLines::default() });
    }
    options
}

/// Brings a site up for drills.
pub fn site(prefix: &str) -> Result<Site> {
    let mut plain = options();
    let host_lines = std::mem::take(&mut plain.host_lines);
    let mut site = Site::up(prefix, plain)?;
    // Checked only once they are there: a site is up when everything that is checked is well.
    load::start_servers(site.lab())?;
    site.options_mut().host_lines = host_lines;
    for host in HOSTS {
        site.write_config(host)?;
        let (answer, accepted) = site.reload_host(host)?;
        ensure!(accepted, "hostd on {host} refused the servers' checks: {answer}");
    }
    let is_known = holds_within(KNOWN, || site.is_served() && serves(&site));
    ensure!(is_known, "the site's servers are not all well after {KNOWN:?}");
    Ok(site)
}

/// Two SLRs for drills, behind a router that runs BIRD.
pub fn pair(prefix: &str, kind: Kind) -> Result<Pair> {
    let pair = Pair::up(prefix, PairOptions::new(kind))?;
    load::start_servers(pair.lab())?;
    Ok(pair)
}

fn serves(site: &Site) -> bool {
    let Ok(states) = site.show("states") else { return false };
    let is_ours = |state: &&Value| state["service"].as_str().is_some_and(|service| service.starts_with("tcp/8080"));
    let ours: Vec<_> = states.as_array().into_iter().flatten().filter(is_ours).collect();
    ours.len() >= 2 * HOSTS.len() && ours.iter().all(|state| state["state"] == "active")
}

/// Where the scenarios are.
pub fn scenarios() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is one of the tools");
    let scenarios = tools.join("drills");
    let here = std::env::current_dir().unwrap_or_default();
    scenarios.strip_prefix(here).map_or(scenarios.clone(), Path::to_owned)
}

/// Makes one drill from a client; its report (see `probe/src/drill/result.rs`).
pub fn drill(lab: &Lab, client: &str, name: &str, words: &str, out: Option<&Path>) -> Result<Value> {
    let probe = program("probe")?;
    let mut command = lab.command(client, &probe)?;
    command.args(["drill", name, "--json", "--scenarios"]).arg(scenarios());
    command.env("SLR_BIN", probe.parent().context("a program is in a directory")?);
    if let Some(out) = out {
        command.arg("--out").arg(out);
    }
    // Last: what follows a -- among them is for the flows.
    command.args(words.split_whitespace());
    let output = command.output().context("start probe")?;
    ensure!(
        output.status.code().is_some_and(|code| code < 2),
        "probe drill {name}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let reports: Value = serde_json::from_slice(&output.stdout).context("the probe's JSON")?;
    Ok(reports[0].clone())
}
