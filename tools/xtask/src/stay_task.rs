//! `xtask stay`: a site with its daemons that is there until Enter, to be looked at by hand.

use std::io::stdin;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use slr_testkit::lab::Lab;
use xtask::load::start_servers;
use xtask::pair::{Kind, Pair, PairOptions, SLRS};
use xtask::traffic;

/// Where each SLR's page is, in its namespace.
const PAGE: &str = "127.0.0.1:9480";

/// Which.
#[derive(Args)]
pub struct Options {
    /// Topology: spare, two-slr, ecmp, nat or filtered
    #[arg(default_value = "spare", value_parser = kind)]
    topology: Kind,
    /// Options of `probe run` on the client c1, in one word; empty: no traffic
    #[arg(
        long,
        value_name = "OPTIONS",
        default_value = "--target 192.0.2.10 --flow keepalive=40 --flow http=10 --flow udp=30 --interval 50ms --duration 2h",
        allow_hyphen_values = true
    )]
    traffic: String,
}

fn kind(text: &str) -> Result<Kind, String> {
    [Kind::Spare, Kind::TwoSlr, Kind::Ecmp, Kind::Nat, Kind::Filtered]
        .into_iter()
        .find(|kind| kind.topology() == text)
        .ok_or_else(|| "it is one of spare, two-slr, ecmp, nat and filtered".to_owned())
}

/// Brings it up, says how to look at it, and takes it down when Enter is pressed.
pub fn run(options: &Options) -> Result<()> {
    let page = |slr: &str| (slr.to_owned(), format!("\n[api]\npage = \"{PAGE}\"\n"));
    let tables = SLRS.into_iter().map(page).collect();
    let pair = Pair::up("stay", PairOptions { tables, ..PairOptions::new(options.topology) })?;
    start_servers(pair.lab())?;
    let running =
        (!options.traffic.is_empty()).then(|| traffic::start(pair.lab(), "c1", &options.traffic)).transpose()?;
    println!("{}", words(pair.lab(), &std::env::current_exe().context("this program")?));
    stdin().read_line(&mut String::new()).context("wait for Enter")?;
    drop(running);
    Ok(())
}

fn words(lab: &Lab, program: &Path) -> String {
    let (dir, bin) = (lab.dir().display(), program.parent().unwrap_or(Path::new(".")).display());
    format!(
        "up: {}. On a node, for instance:\n\
         \x20   {bin}/lab exec --run {} slr1 -- {bin}/slr-router top --socket {dir}/slr1.sock\n\
         \x20   {bin}/lab exec --run {} h1 -- {bin}/hostd show services --socket {dir}/h1.sock\n\
         \x20   {bin}/lab exec --run {} slr1 -- curl http://{PAGE}/api/v1/overview\n\
         Enter takes it down.",
        lab.topology().name,
        lab.run(),
        lab.run(),
        lab.run(),
    )
}
