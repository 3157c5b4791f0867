//! `xtask drills`: a fresh lab for each drill, so that none suffers from the one before.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use xtask::drills;
use xtask::pair::Kind;
use xtask::site::program;

/// What there is to make something fail in, of the lab's topologies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Place {
    /// One SLR
    OneSite,
    /// Two SLRs of one cluster, one preferred
    Spare,
    /// Two SLRs of two clusters
    TwoSlr,
    /// Two active SLRs of one cluster
    Ecmp,
    /// Two SLRs of two clusters, and clients behind a translator
    Nat,
    /// Two SLRs of two clusters, and clients that drop echo requests
    Filtered,
}

/// Drills, and where each is made if nobody says otherwise.
const DRILLS: [(&str, Place); 15] = [
    ("table-loss", Place::OneSite),
    ("partial-table-loss", Place::OneSite),
    ("slr-failure", Place::Spare),
    ("slr-failure-lagging", Place::Spare),
    ("route-change", Place::TwoSlr),
    ("route-change-flood", Place::TwoSlr),
    ("route-change-forged", Place::TwoSlr),
    ("host-failure", Place::OneSite),
    ("host-drain", Place::OneSite),
    ("server-crash", Place::OneSite),
    ("rolling-restart", Place::Spare),
    ("ecmp-reply", Place::Ecmp),
    ("nat-client", Place::Nat),
    ("echo-filtered", Place::Filtered),
    ("mass-stall", Place::TwoSlr),
];

/// Which, and how.
#[derive(Args)]
pub struct Options {
    /// Drills to make, of tools/drills [default: all]
    names: Vec<String>,
    /// Where to make them [default: as tools/drills/README.md says]
    #[arg(long, value_enum)]
    topology: Option<Place>,
    /// Where results and the page drills.html go
    #[arg(long, value_name = "DIR", default_value = "target/drills")]
    out: PathBuf,
    /// Options of `probe drill`, in one word
    #[arg(long, value_name = "OPTIONS", default_value = "--rtt 10ms", allow_hyphen_values = true)]
    options: String,
}

/// Makes them, and says where the page is.
pub fn run(options: &Options) -> Result<()> {
    let all = DRILLS.map(|(name, _)| name.to_owned());
    let names = if options.names.is_empty() { &all[..] } else { &options.names };
    for name in names {
        let usual = DRILLS.iter().find(|(drill, _)| drill == name).map_or(Place::OneSite, |(_, place)| *place);
        let report = make(name, options.topology.unwrap_or(usual), options)?;
        let total = &report["measured"]["total"];
        println!(
            "{name}: {} of {} flows survived, recovery p99 {} us",
            total["survived"], total["flows"], total["recovery_us"]["p99"]
        );
    }
    println!("{}", page(&options.out, &results(&options.out)?)?);
    Ok(())
}

/// Every result in a directory, this run's and those before it.
pub fn results(directory: &std::path::Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let mut results: Vec<_> =
        paths.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect();
    results.sort();
    Ok(results)
}

fn make(name: &str, place: Place, options: &Options) -> Result<serde_json::Value> {
    let kind = match place {
        Place::OneSite => {
            let site = drills::site("drill")?;
            return drills::drill(site.lab(), "c1", name, &options.options, Some(&options.out));
        }
        Place::Spare => Kind::Spare,
        Place::TwoSlr => Kind::TwoSlr,
        Place::Ecmp => Kind::Ecmp,
        Place::Nat => Kind::Nat,
        Place::Filtered => Kind::Filtered,
    };
    let pair = drills::pair("drill", kind)?;
    drills::drill(pair.lab(), kind.client(), name, &options.options, Some(&options.out))
}

/// Writes the page of some results; where it is, in words.
pub fn page(out: &std::path::Path, files: &[PathBuf]) -> Result<String> {
    let page = out.join("drills.html");
    let status = Command::new(program("probe")?).arg("report").args(files).arg("--html").arg(&page).status();
    ensure!(status.context("start probe")?.success(), "probe report failed");
    Ok(format!("the page is {}", page.display()))
}
