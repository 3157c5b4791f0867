//! `xtask flood`: an ACK flood from a client of a lab that is up; drills run it beside what they measure.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use slr_testkit::lab::Lab;
use xtask::flood::{self, Plan};
use xtask::site::CLIENT_RANGES;

/// From where to where, and how much.
#[derive(Args)]
pub struct Options {
    /// The client: c1 or c2
    client: String,
    /// Where to, such as 192.0.2.10:80; several take turns
    #[arg(required = true)]
    to: Vec<SocketAddr>,
    /// Name of the lab
    #[arg(long)]
    run: String,
    /// Segments a second
    #[arg(long, value_name = "SEGMENTS")]
    rate: u32,
    /// For how long
    #[arg(long, value_name = "SECONDS")]
    lasts: u64,
    /// The same seed, the same segments
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Sends it, and says what has left.
pub fn run(options: &Options) -> Result<()> {
    let ranges = CLIENT_RANGES.iter().find(|(client, _)| *client == options.client);
    let (client, ranges) = ranges.with_context(|| format!("{} is no client of a lab", options.client))?;
    let plan = Plan {
        from: ranges.iter().map(|range| range.parse().expect("a prefix")).collect(),
        to: options.to.clone(),
        per_s: options.rate,
        lasts: Duration::from_secs(options.lasts),
        seed: options.seed,
    };
    let sent = flood::run(&Lab::open(&options.run)?, client, &plan)?;
    println!("{} segments of {} bytes sent, {} refused", sent.segments, sent.bytes, sent.refused);
    Ok(())
}
