//! `xtask forge`: forged answers to augmented echoes, into a router of a lab that is up; drills run it beside what they measure.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use slr_testkit::lab::Lab;
use xtask::forge::{self, Plan};

/// Into which router, and how much.
#[derive(Args)]
pub struct Options {
    /// The router
    router: String,
    /// Whose answers they seem to be
    client: IpAddr,
    /// Where to
    virtual_address: IpAddr,
    /// The router's interface
    #[arg(long, default_value = "to-internet")]
    interface: String,
    /// Name of the lab
    #[arg(long)]
    run: String,
    /// The epoch that the router accepts (slr-router show recovery)
    #[arg(long)]
    epoch: u32,
    /// Answers a second
    #[arg(long, value_name = "ANSWERS")]
    rate: u32,
    /// For how long
    #[arg(long, value_name = "SECONDS")]
    lasts: u64,
}

/// Sends them, and says how many.
pub fn run(options: &Options) -> Result<()> {
    let plan = Plan {
        client: options.client,
        virtual_address: options.virtual_address,
        epoch: options.epoch,
        per_s: options.rate,
        lasts: Duration::from_secs(options.lasts),
    };
    let sent = forge::run(&Lab::open(&options.run)?, &options.router, &options.interface, &plan)?;
    println!("{sent} forged answers sent");
    Ok(())
}
