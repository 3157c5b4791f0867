//! One function per verb.

use crate::args::{Args, Command};
use crate::{interrupt, status};
use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use slr_testkit::lab::{Lab, Shaping, UpOptions, down, down_all, down_orphans, list_runs};
use slr_testkit::topology::Topology;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::ExitCode;

/// Runs what the command line asks for.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Up { topology, run, owner, seed } => up(&topology, run, owner, seed)?,
        Command::Down { run, all, orphans } => take_down(run, all, orphans)?,
        Command::Status { run, json } => return status::show(&open(run)?, json),
        Command::List => print_lines(&list_runs()?)?,
        Command::Exec { node, run, command } => return Err(exec(&open(run)?, &node, &command)),
        Command::Spawn { node, name, run, command } => spawn(&open(run)?, &node, &name, &command)?,
        Command::Signal { node, name, signal: which, run } => signal(&open(run)?, &node, &name, which)?,
        Command::Links { run, json } => status::show_links(&open(run)?, json)?,
        Command::Link { link: (a, b), run, from, delay, loss, rate, blackhole, mtu, clear } => {
            let lab = open(run)?;
            let mut shaping = if clear { Shaping::clear() } else { Shaping::default() };
            shaping = delay.into_iter().fold(shaping, Shaping::delay);
            shaping = loss.into_iter().fold(shaping, Shaping::loss);
            shaping = rate.into_iter().fold(shaping, Shaping::rate);
            shaping = blackhole.into_iter().fold(shaping, Shaping::blackhole);
            shaping = from.iter().fold(shaping, |shaping, node| shaping.only_from(node));
            if clear || delay.is_some() || loss.is_some() || rate.is_some() || blackhole.is_some() {
                lab.shape(&a, &b, shaping)?;
            } else if mtu.is_none() {
                bail!("nothing to change: give --delay, --loss, --rate, --blackhole, --mtu or --clear");
            }
            mtu.map_or(Ok(()), |mtu| lab.set_mtu(&a, &b, mtu))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn up(topology: &Path, run: Option<String>, owner: Option<u32>, seed: u64) -> Result<()> {
    let interrupted = interrupt::flag()?;
    let topology = match topology.to_str().and_then(Topology::shipped) {
        Some(shipped) => shipped,
        None => Topology::load(topology)?,
    };
    let run = run.unwrap_or_else(|| topology.name.clone());
    let options = UpOptions::new(&run).seed(seed).cancelled_by(interrupted);
    let options = owner.into_iter().try_fold(options, UpOptions::owned_by)?;
    let start = std::time::Instant::now();
    Lab::up(&topology, &options)?;
    let (nodes, links) = (topology.nodes.len(), topology.links.len());
    eprintln!("lab {run} is up: {nodes} nodes, {links} links, {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn take_down(run: Option<String>, all: bool, orphans: bool) -> Result<()> {
    let runs = match (run, all, orphans) {
        (Some(run), ..) => {
            down(&run)?;
            vec![run]
        }
        (None, true, _) => down_all()?,
        (None, _, true) => down_orphans()?,
        (None, ..) => match &list_runs()?[..] {
            [] => vec![],
            [only] => {
                down(only)?;
                vec![only.clone()]
            }
            several => bail!("several labs are up: {}; name one by --run, or say --all", several.join(", ")),
        },
    };
    for run in runs {
        eprintln!("lab {run} is down");
    }
    Ok(())
}

/// The lab of that name, or the only one.
fn open(run: Option<String>) -> Result<Lab> {
    match (run, &list_runs()?[..]) {
        (Some(run), _) => Lab::open(&run),
        (None, [only]) => Lab::open(only),
        (None, []) => bail!("no lab is up; start with `lab up`"),
        (None, several) => bail!("several labs are up: {}; name one by --run", several.join(", ")),
    }
}

/// Becomes the command, so that signals, terminal and exit status are its own; returns only if that fails.
fn exec(lab: &Lab, node: &str, words: &[String]) -> anyhow::Error {
    match lab.command(node, &words[0]) {
        Ok(mut command) => {
            anyhow::Error::from(command.args(&words[1..]).exec()).context(format!("start {} on {node}", words[0]))
        }
        Err(error) => error,
    }
}

fn spawn(lab: &Lab, node: &str, name: &str, words: &[String]) -> Result<()> {
    let mut command = std::process::Command::new(&words[0]);
    command.args(&words[1..]);
    let process = lab.spawn(node, name, command)?;
    eprintln!("{name} runs on {node} as process {}, log {}", process.pid(), lab.log_path(node, name).display());
    Ok(())
}

/// To the process group that `spawn` made, so to workers as well. Fine if it has ended.
fn signal(lab: &Lab, node: &str, name: &str, which: Signal) -> Result<()> {
    let mut all = lab.processes()?.into_iter().filter(|process| process.node == node && process.name == name);
    let found = all.next().with_context(|| format!("no {name} was started on {node}; `lab status` lists what was"))?;
    if found.is_alive() {
        killpg(Pid::from_raw(found.pid.cast_signed()), which)
            .with_context(|| format!("send {which} to {name} on {node}"))?;
    }
    Ok(())
}

fn print_lines(lines: &[String]) -> Result<()> {
    lines.iter().try_for_each(|line| status::print(line)).context("write to stdout")
}
