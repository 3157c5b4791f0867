//! Options of `probe drill`.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::{Args, Parser};

use crate::{
    run::RunArgs,
    units::{parse_duration, show_us},
};

/// Make something fail under load, and report what became of every flow.
///
/// Opens flows of all kinds, has the scenario's command make a failure at a known instant, watches each flow from the
/// client's side, has the failure end, and tells who survived, how soon each went on, who was reset. Before it, the same
/// without a failure: what that shows is the probe's own error.
///
/// Drills: table-loss, partial-table-loss, slr-failure, slr-failure-lagging, route-change, host-failure, host-drain,
/// server-crash, rolling-restart, ecmp-reply, nat-client, echo-filtered, mass-stall; all makes every one that can be made here.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Exit status: 0 every flow survived, 1 some did not, 2 a drill could not be made.

Examples
  A drill of the lab (tools/drills/README.md says how a site comes up), with and without help:
    probe drill host-failure --rungs mirror,chain --rungs none --out results
  Any other balancer:
    probe drill failover --target 192.0.2.10 --inject 'ssh lb1 reboot' --heal true -- --http-port 8080
  What came of it, as a page:
    probe report results/*.json --html drills.html")]
pub struct DrillArgs {
    /// The drill: the scenario NAME.toml in --scenarios, or any name with --inject
    pub name: String,

    /// Directory of scenarios
    #[arg(long, value_name = "DIR", default_value = "tools/drills")]
    pub scenarios: PathBuf,

    /// One scenario file, whatever the drill's name
    #[arg(long, value_name = "FILE", conflicts_with = "inject")]
    pub scenario: Option<PathBuf>,

    /// Command that makes the failure, in place of a scenario
    #[arg(long, value_name = "COMMAND")]
    pub inject: Option<String>,

    /// Command that ends the failure
    #[arg(long, value_name = "COMMAND", requires = "inject")]
    pub heal: Option<String>,

    /// Command that puts the rungs of PROBE_RUNGS in force; if that is empty, those that the site had
    #[arg(long, value_name = "COMMAND", requires = "inject")]
    pub rungs_command: Option<String>,

    /// Command that prints how many flows each rung has saved, as a JSON object of numbers
    #[arg(long, value_name = "COMMAND", requires = "inject")]
    pub counters: Option<String>,

    /// Rungs of recovery to allow: none, or some with commas; each --rungs is a drill of its own
    /// [default: as the site is configured]
    #[arg(long, value_name = "RUNGS")]
    pub rungs: Vec<String>,

    /// Address to open flows to (repeatable) [default: the scenario's]
    #[arg(long = "target", value_name = "ADDRESS")]
    pub targets: Vec<IpAddr>,

    /// Flows at a time, over all kinds and targets (`-- --flow KIND=COUNT` chooses kinds)
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(20..=20_000))]
    pub flows: u32,

    /// Round-trip time of the way, for the scenario's path command
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub rtt: Option<Duration>,

    /// Loss of the way in each direction, for the scenario's path command
    #[arg(long, value_name = "PERCENT")]
    pub loss: Option<f64>,

    /// Time over which flows begin
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    pub ramp: Duration,

    /// Time between the last flow's beginning and the failure
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    pub before: Duration,

    /// Time between the failure and its end [default: the scenario's, or 5s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub after: Option<Duration>,

    /// Time that flows are watched after the failure's end
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    pub healed: Duration,

    /// Time after the failure over which idle flows speak again
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    pub idle_spread: Duration,

    /// Longest that a command may take
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub command_timeout: Duration,

    /// Without the failure: the probe's own error alone
    #[arg(long)]
    pub null: bool,

    /// Leave out the run without the failure
    #[arg(long, conflicts_with = "null")]
    pub skip_null: bool,

    /// Seed of the flows' phases: the same seed is the same plan
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// Print JSON: an object for each drill, in a list
    #[arg(long)]
    pub json: bool,

    /// Write each drill's JSON into this directory
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Options of `probe run` for the flows; they win over the scenario's
    #[arg(last = true, value_name = "RUN OPTIONS")]
    pub traffic: Vec<String>,
}

/// Kinds and their part of the flows in per cent; interactive takes what rounding leaves.
const MIX: [(&str, u32); 6] =
    [("http", 2), ("keepalive", 20), ("download", 10), ("upload", 10), ("udp", 20), ("idle", 13)];
/// How the flows behave unless told otherwise: each speaks often enough to notice an outage of 100 ms, and all together
/// leave most of one core idle. A failed flow is known as such within what a drill waits.
const MANNERS: &str = "--interval 200ms --think 200ms --download-path /bytes/{bytes}?rate=10000 --download-bytes 100M \
    --upload-rate 10000 --upload-bytes 100M --udp-loss-ok 100 --timeout 10s --stall-timeout 10s";

#[derive(Parser)]
#[command(no_binary_name = true, args_override_self = true)]
struct Words {
    #[command(flatten)]
    args: RunArgs,
}

/// The flows' options: manners, then the scenario's, then the command line's.
pub fn traffic(args: &DrillArgs, scenario: &str, longest: Duration) -> Result<RunArgs> {
    let said = |name: &str| args.traffic.iter().any(|word| word == name || word.starts_with(&format!("{name}=")));
    let mut words: Vec<String> = MANNERS.split_ascii_whitespace().map(str::to_owned).collect();
    let targets_said = said("--target") || !args.targets.is_empty();
    let mut scenario = scenario.split_ascii_whitespace();
    let mut flows_said = said("--flow");
    while let Some(word) = scenario.next() {
        if (word == "--target" && targets_said) || (word == "--flow" && said("--flow")) {
            scenario.next();
            continue;
        }
        flows_said |= word == "--flow";
        words.push(word.to_owned());
    }
    words.extend(args.targets.iter().flat_map(|target| ["--target".to_owned(), target.to_string()]));
    if !flows_said {
        words.extend(mix(args.flows));
    }
    words.extend(args.traffic.iter().cloned());
    let own = [("--ramp", show(args.ramp)), ("--duration", show(longest)), ("--seed", args.seed.to_string())];
    words.extend(own.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
    let parsed =
        Words::try_parse_from(words).context("the options of the flows (scenario's `traffic`, words after --)")?;
    Ok(parsed.args)
}

fn mix(flows: u32) -> Vec<String> {
    let counts = MIX.map(|(kind, percent)| (kind, (flows * percent / 100).max(2)));
    let rest = flows.saturating_sub(counts.iter().map(|(_, count)| count).sum()).max(2);
    let all = counts.into_iter().chain([("interactive", rest)]);
    all.flat_map(|(kind, count)| ["--flow".to_owned(), format!("{kind}={count}")]).collect()
}

fn show(duration: Duration) -> String {
    format!("{}us", duration.as_micros())
}

impl DrillArgs {
    /// The way's set-up in words.
    pub fn way(&self) -> String {
        let rtt = self.rtt.map_or("as it is".to_owned(), |rtt| show_us(rtt.as_micros() as u64));
        let loss = self.loss.map_or("as it is".to_owned(), |loss| format!("{loss} %"));
        format!("round-trip time {rtt}, loss {loss}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: DrillArgs,
    }

    fn planned(words: &str, scenario: &str) -> RunArgs {
        let words = std::iter::once("drill").chain(words.split(' '));
        let args = Command::try_parse_from(words).expect("good words").args;
        traffic(&args, scenario, Duration::from_secs(9)).expect("good options")
    }

    #[test]
    fn the_command_line_wins_over_the_scenario() {
        let scenario = "--target 192.0.2.1 --target 2001:db8::1 --http-port 8080";
        let args = planned("x", scenario);
        assert_eq!((args.targets.len(), args.http_port), (2, 8080));
        assert_eq!(args.flows.iter().map(|(_, count)| count).sum::<u32>(), 1000);
        assert_eq!(args.flows.len(), 7, "every kind takes part");
        let args = planned("x --target 192.0.2.9 --seed 7 -- --flow udp=3 --http-port 81", scenario);
        assert_eq!(args.targets, ["192.0.2.9".parse::<IpAddr>().expect("an address")]);
        assert_eq!((args.http_port, args.flows.len(), args.seed), (81, 1, 7));
    }
}
