//! The command line: what can be asked for. Doc comments here are the help texts.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, CommandFactory, Parser, Subcommand};
use ipnet::IpNet;
use slr_daemon::admin;
use slr_model::{NodeName, ServiceKey};

use crate::config::{DEFAULT_CONFIG, DEFAULT_SOCKET};
use crate::daemon::Request;
use crate::{announce, capture, check, daemon, diff, doctor, drain, forget, replay, show, top, trace, unload};

/// Service level router: places the flows of virtual hosts on servers and tunnels them there.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon. Packets keep flowing while it is stopped, killed or restarted; `unload` ends that.
    Run {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Check a configuration and its hosts file without touching anything. Exit code 0: good, 1: refused, 2: not readable.
    Check(check::Options),
    /// Say what on this machine breaks or slows the router, each with the command that mends it. Exit code 0: nothing, 1: something, 2: not
    /// everything could be looked at.
    Doctor(doctor::Options),
    /// Show what the running daemon knows.
    Show {
        #[command(subcommand)]
        what: show::What,
        #[command(flatten)]
        output: Output,
    },
    /// Have the running daemon read its configuration again, all or nothing. Same as SIGHUP, with an answer.
    Reload {
        #[command(flatten)]
        output: Output,
    },
    /// Say what another configuration would move, without applying it.
    Diff {
        /// The configuration to compare with what is in force.
        #[arg(value_name = "CONFIG", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Have a host take no new flows; the flows that it has go on.
    Drain(drain::Options),
    /// End a drain.
    Undrain(drain::Options),
    /// Give up the hosts of a service that vanished together and were held: the fault is not ours, they are lost.
    ReleaseHold {
        /// Which service, as `show alarms` names it, such as tcp/80@192.0.2.0/24.
        service: ServiceKey,
        #[command(flatten)]
        output: Output,
    },
    /// Forget a host that will not come back. It returns if it connects again.
    Remove {
        /// The host.
        host: NodeName,
        #[command(flatten)]
        output: Output,
    },
    /// Take this router out of service, and back: what the routers around are told of it.
    Announce(announce::Options),
    /// Withdraw what a daemon announced that has gone and does not come back. Runs beside the daemon, as a service of its own.
    Watchdog {
        /// The daemon's configuration.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Do something with the flows that the running daemon's router remembers.
    Flows {
        #[command(subcommand)]
        what: forget::What,
    },
    /// Say what the running router does with a flow, and why: subnet, route, slot, hosts, what is remembered, and what becomes of its next
    /// packets.
    Trace(trace::Options),
    /// Show the running router live: rates of hosts and subnets, states, drops, recovery, what happened.
    Top(top::Options),
    /// Write packets to a pcapng file as they came and as they left, each with what became of it and why. XDP comes before everything
    /// that tcpdump sees, so this is what to look with at a router.
    ///
    /// Only one can capture at a time. The program that does it is on the interfaces for so long alone; what it may cost is bounded by
    /// --sample and --rate. Exit code 1: the daemon ended it.
    Capture(capture::Options),
    /// Feed a capture to the real program, packet by packet, and say what becomes of each.
    Replay(replay::Options),
    /// Write man pages and shell completions into a folder.
    #[command(hide = true)]
    Manual {
        /// The folder.
        dir: PathBuf,
    },
    /// Take the program off its interfaces and forget flows and tables. The daemon must not be running.
    Unload {
        /// The configuration, which names the pins and the admin socket.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
}

/// Where to ask, and how to answer.
#[derive(Debug, Args)]
pub struct Output {
    /// Print JSON instead of a table.
    #[arg(long, global = true)]
    pub json: bool,
    /// The daemon's admin socket.
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Run { config } => daemon::run(&config)?,
            Command::Check(options) => return check::run(&options),
            Command::Doctor(options) => return doctor::run(&options),
            Command::Show { what, output } => show::run(&what, &output)?,
            Command::Reload { output } => show::reload(&output)?,
            Command::Diff { config, output } => diff::run(&config, &output)?,
            Command::Drain(options) => return drain::drain(&options),
            Command::Undrain(options) => return drain::undrain(&options),
            Command::ReleaseHold { service, output } => {
                admin::request::<()>(&output.socket, &Request::ReleaseHold { service })?;
            }
            Command::Remove { host, output } => admin::request::<()>(&output.socket, &Request::Remove { host })?,
            Command::Announce(options) => return announce::run(&options),
            Command::Watchdog { config } => announce::watchdog::run(&config)?,
            Command::Flows { what } => forget::run(what)?,
            Command::Trace(options) => trace::run(&options)?,
            Command::Top(options) => top::run(&options)?,
            Command::Capture(options) => return capture::run(&options),
            Command::Replay(options) => replay::run(&options)?,
            Command::Manual { dir } => slr_manual::write(<Self as CommandFactory>::command(), &dir)?,
            Command::Unload { config } => unload::run(&config)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads an address as the prefix that holds it alone, so that `--client 10.0.0.1` needs no `/32`.
pub fn prefix_or_address(text: &str) -> Result<IpNet, String> {
    text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| {
        format!("{text:?} is neither an address nor a prefix: write 198.51.100.7, 198.51.100.0/24 or 2001:db8::/64")
    })
}
