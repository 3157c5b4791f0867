//! `xtask thresholds`: the table of docs/measuring.md.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use xtask::drills;
use xtask::pair::Kind;
use xtask::thresholds;

/// Which, and for how long.
#[derive(Args)]
pub struct Options {
    /// Values of stall_ms; 0 watches nothing
    #[arg(long, value_delimiter = ',', default_value = "0,20,50,100,200")]
    stall_ms: Vec<u64>,
    /// Losses in each direction, in per cent
    #[arg(long, value_delimiter = ',', default_value = "0,1,3")]
    loss: Vec<f64>,
    /// Seconds for each pair of them
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// Measures, and prints a table.
pub fn run(options: &Options) -> Result<()> {
    let pair = drills::pair("thresholds", Kind::Spare)?;
    println!("{:>8}  {:>5}  {:>26}  {:>18}", "stall_ms", "loss", "echoes per flow and minute", "hostd, % of a core");
    for stall_ms in &options.stall_ms {
        for loss in &options.loss {
            let row = thresholds::measure(&pair, *stall_ms, *loss, Duration::from_secs(options.seconds))?;
            println!("{stall_ms:>8}  {loss:>3} %  {:>26.2}  {:>18.1}", row.echoes, row.hostd_percent);
        }
    }
    Ok(())
}
