//! The command line.

use crate::units;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  lab up                                      the topology one-site, under the run name \"one-site\"
  lab status                                  nodes, processes, links and their counters
  lab exec c1 -- curl http://10.1.11.2/who    run a program on a node: its namespace, its cgroup
  lab signal h1 nginx SIGKILL                 to the whole process group
  lab link c1-internet --delay 5ms --loss 1%  both directions, at once
  lab link site-h1 --from h1 --blackhole on   nothing from h1 arrives, its carrier stays up
  lab link site-h1 --mtu 1400
  lab down

With one lab up, --run may be left out. Exit status: 0 done, 1 no (`status` of
a lab that is not whole), 2 error; `exec` passes on that of the program.";

/// Network topologies on one machine: a namespace and a cgroup per node, emulated links, real servers.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring a topology up
    Up {
        /// A topology file, or the name of a shipped one: one-site, two-tiers, spare, two-slr, ecmp, nat, filtered
        #[arg(long, default_value = "one-site")]
        topology: PathBuf,
        /// Name of this lab [default: the topology's name]
        #[arg(long)]
        run: Option<String>,
        /// Take the lab down when the process with this id ends, however it ends (in a script: $$)
        #[arg(long, value_name = "PID")]
        owner: Option<u32>,
        /// Seed of the links' random losses
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Take a lab down: processes, namespaces, cgroups, pins, files
    Down {
        /// Name of the lab
        #[arg(long)]
        run: Option<String>,
        /// All labs on this machine
        #[arg(long, conflicts_with = "run")]
        all: bool,
        /// Those labs whose owner has ended
        #[arg(long, conflicts_with_all = ["run", "all"])]
        orphans: bool,
    },
    /// Show nodes, addresses, processes, links and counters
    Status {
        /// Name of the lab
        #[arg(long)]
        run: Option<String>,
        /// One JSON object instead of tables
        #[arg(long)]
        json: bool,
    },
    /// Show the names of the labs that are up
    List,
    /// Run a program on a node
    Exec {
        /// The node
        node: String,
        /// Name of the lab
        #[arg(long)]
        run: Option<String>,
        /// Program and arguments, after --
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Start a program on a node that stays: output to a log, ended with the lab
    Spawn {
        /// The node
        node: String,
        /// Its name in status and log
        name: String,
        /// Name of the lab
        #[arg(long)]
        run: Option<String>,
        /// Program and arguments, after --
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Send a signal to a program that was spawned, and to what it started
    Signal {
        /// The node
        node: String,
        /// Its name in status
        name: String,
        /// The signal, such as SIGKILL
        signal: nix::sys::signal::Signal,
        /// Name of the lab
        #[arg(long)]
        run: Option<String>,
    },
    /// Change a link while it runs
    Link {
        /// The nodes it joins, as A-B
        #[arg(value_name = "A-B", value_parser = units::link_name)]
        link: (String, String),
        /// Name of the lab
        #[arg(long)]
        run: Option<String>,
        /// Only the direction that leaves this node
        #[arg(long, value_name = "NODE")]
        from: Option<String>,
        /// One-way delay, such as 5ms, 300us, 1s
        #[arg(long, value_parser = units::duration)]
        delay: Option<Duration>,
        /// Loss, such as 1%
        #[arg(long, value_parser = units::percentage)]
        loss: Option<f64>,
        /// Rate, such as 100mbit; 0 or "unlimited"
        #[arg(long, value_parser = units::rate)]
        rate: Option<u64>,
        /// Swallow everything, carrier up
        #[arg(long, value_name = "on|off", value_parser = units::on_off)]
        blackhole: Option<bool>,
        /// Bytes of an IP packet, both ends
        #[arg(long)]
        mtu: Option<u16>,
        /// First make the link perfect again (delay, loss, rate, blackhole)
        #[arg(long)]
        clear: bool,
    },
    /// Show the emulated links and their counters
    Links {
        /// Name of the lab
        #[arg(long)]
        run: Option<String>,
        /// One JSON object per line instead of a table
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_link_change_is_read_with_its_units() {
        let words = "lab link c1-internet --delay 5ms --loss 1% --rate 100mbit --blackhole on --mtu 1400 --from c1";
        let Command::Link { link, delay, loss, rate, blackhole, mtu, from, .. } =
            Args::try_parse_from(words.split(' ')).unwrap().command
        else {
            panic!("link expected");
        };
        assert_eq!(link, ("c1".to_owned(), "internet".to_owned()));
        assert_eq!((delay, loss, rate), (Some(Duration::from_millis(5)), Some(0.01), Some(100_000_000)));
        assert_eq!((blackhole, mtu, from.as_deref()), (Some(true), Some(1400), Some("c1")));
    }
}
