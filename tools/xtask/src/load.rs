//! Steady load on a site while something happens to it: [`LIVE`] flows of every lasting kind from one client, request
//! after request from the other, both families.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use slr_testkit::holds_within;
use slr_testkit::lab::Lab;

use crate::site::{CLIENT_RANGES, HOSTS, Site, VIRTUAL, program};
use crate::traffic::{self, Report, Running};

/// Flows that live as long as the load.
pub const LIVE: usize = 500;
/// [`LIVE`] in kinds: keep-alive requests to nginx; the others to `probe serve` on every host.
const KEEPALIVE: &str = "--flow keepalive=150 --think 200ms";
const LASTING: &str = "--flow download=50 --download-bytes 1G --download-path /bytes/{bytes}?rate=50000 --http-port 8080 \
    --flow interactive=200 --flow udp=100 --interval 200ms";
/// New connections at a time, each for one request.
const REQUESTS: &str = "--flow http=4";
/// Starts are spread, so that a shared machine does not answer the first ones late.
const RAMP: &str = "--ramp 2s --timeout 20s --stall-timeout 20s";
/// A probe that nobody stops ends itself.
const LONGEST: &str = "--duration 300s";
/// Where the live flows come from: all of `show flows` with these addresses are theirs.
const LIVE_CLIENT: (&str, [&str; 2]) = ("c2", ["10.0.2.2", "fd00:0:2::2"]);
/// How long it may take until all flows are there and pinned.
const STARTED: Duration = Duration::from_secs(20);

/// A flow as `show flows` names it: protocol, client, virtual host; and the host it goes to.
pub type Flows = BTreeMap<(String, String, String), String>;

/// A load that is on.
pub struct Load {
    live: Vec<Running>,
    requests: Running,
}

/// What became of a load.
pub struct Outcome {
    /// The live flows, by probe.
    pub live: Vec<Report>,
    /// The requests.
    pub requests: Report,
}

/// Start `probe serve` on every host: TCP and UDP echo that say who answers (the latter with no thought for its source
/// address), and downloads at a stated rate.
pub fn start_servers(lab: &Lab) -> Result<()> {
    for host in HOSTS {
        let mut command = std::process::Command::new(program("probe")?);
        command.args(["serve", "--identity", host, "--http-port", "8080", "--udp-naive"]);
        let server = lab.spawn(host, "probe-serve", command)?;
        let serves = holds_within(STARTED, || server.log().contains("\"udp\"") || !server.is_alive());
        ensure!(serves && server.is_alive(), "probe serve on {host}: {}", server.log_tail());
    }
    Ok(())
}

impl Load {
    /// Start everything, and wait until every live flow is pinned.
    pub fn start(site: &Site) -> Result<Self> {
        start_servers(site.lab())?;
        let targets = VIRTUAL.map(|address| format!("--target {address}")).join(" ");
        let (client, ranges) = CLIENT_RANGES[0];
        let ranges = ranges.map(|range| format!("--source-range {range}")).join(" ");
        let start =
            |node: &str, words: &str| traffic::start(site.lab(), node, &format!("{targets} {words} {RAMP} {LONGEST}"));
        let live = vec![start(LIVE_CLIENT.0, KEEPALIVE)?, start(LIVE_CLIENT.0, LASTING)?];
        let requests = start(client, &format!("{REQUESTS} {ranges} --source-freebind"))?;
        let all = holds_within(STARTED, || live_flows(site).is_ok_and(|flows| flows.len() >= LIVE));
        ensure!(all, "{} live flows are pinned after {STARTED:?}, not {LIVE}", live_flows(site)?.len());
        Ok(Self { live, requests })
    }

    /// End it.
    pub fn stop(self) -> Result<Outcome> {
        self.requests.interrupt()?;
        self.live.iter().try_for_each(Running::interrupt)?;
        let live = self.live.into_iter().map(Running::finish).collect::<Result<_>>()?;
        Ok(Outcome { live, requests: self.requests.finish()? })
    }
}

/// The live flows that the router has pinned and that go on.
pub fn live_flows(site: &Site) -> Result<Flows> {
    let mut found = Flows::new();
    for address in LIVE_CLIENT.1 {
        let words = ["show", "flows", "--json", "--limit", "10000", "--client", address];
        let (text, fine) = site.tell("slr1", "slr-router", &words)?;
        ensure!(fine, "show flows: {text}");
        let answer: Value = serde_json::from_str(&text).context("JSON of show flows")?;
        let flows = answer["flows"].as_array().context("flows are a list")?;
        for flow in flows.iter().filter(|flow| flow["pinned"] == true && flow["closing"] == false) {
            let [protocol, client, virtual_host, host] = ["protocol", "client", "virtual_host", "host"]
                .map(|field| flow[field].as_str().map_or_else(|| flow[field].to_string(), str::to_owned));
            found.insert((protocol, client, virtual_host), host);
        }
    }
    Ok(found)
}

impl Outcome {
    fn reports(&self) -> impl Iterator<Item = &Report> {
        self.live.iter().chain([&self.requests])
    }

    /// Panics unless no flow failed, was reset or changed server, and no message was lost; says what was seen.
    pub fn assert_clean(&self, what: &str) {
        for report in self.reports() {
            report.assert_clean(what);
            assert_eq!(report.total("reset"), 0, "{what}: flows were reset");
            for kind in report.kinds() {
                assert_eq!(kind["exchanges"]["lost"], 0, "{what}: messages were lost: {kind}");
                assert!(kind["exchanges"]["answered"].as_u64() > Some(0) || kind["kind"] == "download", "{kind}");
            }
        }
        let started: u64 = self.live.iter().map(|report| report.total("started")).sum();
        assert_eq!(started, LIVE as u64, "{what}: live flows had to start again");
        let requests = self.requests.total("completed");
        println!("{what}: {started} live flows, {requests} requests, longest gap {:?}", self.longest_gap());
    }

    /// The longest that any flow went without progress.
    pub fn longest_gap(&self) -> Duration {
        let gaps = self.reports().flat_map(Report::kinds).filter_map(|kind| kind["gap_us"]["max"].as_u64());
        Duration::from_micros(gaps.max().unwrap_or(u64::MAX))
    }
}
