//! The command line: what can be asked for. Doc comments here are the help texts.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::{DEFAULT_CONFIG, DEFAULT_SOCKET};
use crate::{capture, check, daemon, doctor, drain, show, trace, unload};

/// Host daemon of service level routing: takes clients' datagrams out of tunnels and lets this server's programs answer
/// them from virtual addresses.
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
    /// Check a configuration without touching anything. Exit code 0: good, 1: refused, 2: not readable.
    Check {
        /// The configuration.
        #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Say what on this machine breaks or slows hostd, each with the command that mends it. Exit code 0: nothing, 1: something, 2: not
    /// everything could be looked at.
    Doctor(doctor::Options),
    /// Show what the running daemon knows.
    Show {
        #[command(subcommand)]
        what: show::What,
        #[command(flatten)]
        output: Output,
    },
    /// Say what this host does with a flow: whether it serves the address, the service's state, and whose socket gets the packets.
    Trace(trace::Options),
    /// Write packets to a pcapng file as they came, tunnel headers and all, and as they left or were handed to the stack, each with what
    /// became of it and why. tcpdump sees only what is left after XDP.
    ///
    /// Only one can capture at a time. The program that does it is on the interfaces for so long alone; what it may cost is bounded by
    /// --sample and --rate. Exit code 1: the daemon ended it.
    Capture(capture::Options),
    /// Have the running daemon read its configuration again, all or nothing. Same as SIGHUP, with an answer.
    Reload {
        #[command(flatten)]
        output: Output,
    },
    /// Take no new flows and keep those that are there, until `undrain`, also over restarts.
    ///
    /// Counted are TCP connections at virtual addresses that the client still needs this host for, and connected UDP sockets.
    /// Other UDP flows have no end that a host could see: they move on when hostd ends after the drain, or the host is down.
    ///
    /// Exit code 0: accepted; with --wait: safe to stop, no flow is left and no router sends new ones. 1: refused, or ended
    /// by `undrain` meanwhile. 2: no daemon. 3: the timeout is over and flows are left. 4: the timeout is over, or without
    /// one 10 s, and no router has heard.
    Drain {
        /// Wait until no flow is left, counting.
        #[arg(long)]
        wait: bool,
        /// Wait at most so many seconds.
        #[arg(long, value_name = "SECONDS", requires = "wait")]
        timeout: Option<u64>,
        #[command(flatten)]
        output: Output,
    },
    /// Take new flows again. Exit code 0: accepted, also if the host was not drained.
    Undrain {
        #[command(flatten)]
        output: Output,
    },
    /// Write man pages and shell completions into a folder.
    #[command(hide = true)]
    Manual {
        /// The folder.
        dir: PathBuf,
    },
    /// Remove programs, tables, interfaces, routes and changed sysctls. The daemon must not be running.
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
            Command::Check { config } => return check::run(&config),
            Command::Doctor(options) => return doctor::run(&options),
            Command::Show { what, output } => show::run(what, &output)?,
            Command::Trace(options) => trace::run(&options)?,
            Command::Capture(options) => return capture::run(&options),
            Command::Reload { output } => show::reload(&output)?,
            Command::Drain { wait, timeout, output } => return drain::command::drain(wait, timeout, &output),
            Command::Undrain { output } => return drain::command::undrain(&output),
            Command::Manual { dir } => slr_manual::write(<Self as CommandFactory>::command(), &dir)?,
            Command::Unload { config } => unload::run(&config)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
