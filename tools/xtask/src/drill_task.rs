//! `xtask drills`: a fresh site for each drill, so that none suffers from the one before.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use xtask::drills;
use xtask::site::program;

/// Drills that the lab's one-site topology can make.
pub const HERE: [&str; 6] =
    ["table-loss", "partial-table-loss", "host-failure", "host-drain", "server-crash", "rolling-restart"];

/// Which, and how.
#[derive(Args)]
pub struct Options {
    /// Drills to make, of tools/drills [default: those that one site can make]
    names: Vec<String>,
    /// Where results and the page drills.html go
    #[arg(long, value_name = "DIR", default_value = "target/drills")]
    out: PathBuf,
    /// Options of `probe drill`, in one word
    #[arg(long, value_name = "OPTIONS", default_value = "--rtt 10ms", allow_hyphen_values = true)]
    options: String,
}

/// Makes them, and says where the page is.
pub fn run(options: &Options) -> Result<()> {
    let names = if options.names.is_empty() { HERE.map(str::to_owned).to_vec() } else { options.names.clone() };
    for name in &names {
        let site = drills::site("drill")?;
        let report = drills::drill(&site, name, &options.options, Some(&options.out))?;
        let total = &report["measured"]["total"];
        println!(
            "{name}: {} of {} flows survived, recovery p99 {} us",
            total["survived"], total["flows"], total["recovery_us"]["p99"]
        );
    }
    let files: Vec<_> = names.iter().map(|name| options.out.join(format!("{name}.json"))).collect();
    println!("{}", page(&options.out, &files)?);
    Ok(())
}

/// Writes the page of some results; where it is, in words.
pub fn page(out: &std::path::Path, files: &[PathBuf]) -> Result<String> {
    let page = out.join("drills.html");
    let status = Command::new(program("probe")?).arg("report").args(files).arg("--html").arg(&page).status();
    ensure!(status.context("start probe")?.success(), "probe report failed");
    Ok(format!("the page is {}", page.display()))
}
