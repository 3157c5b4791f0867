//! The command line: what can be asked for. Doc comments here are the help texts.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{check, replay};

/// Service level router: places the flows of virtual hosts on servers and tunnels them there.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration and its hosts file without touching anything. Exit code 0: good, 1: refused, 2: not readable.
    Check(check::Options),
    /// Feed a capture to the real program, packet by packet, and say what becomes of each.
    Replay(replay::Options),
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Check(options) => return check::run(&options),
            Command::Replay(options) => replay::run(&options)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
