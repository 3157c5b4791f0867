//! `probe drill`: a failure under load, and what became of every flow.
//!
//! [`scenario`] says which commands make it; [`pass`] opens flows, runs the commands and collects; [`judge`] and
//! [`figures`] are the arithmetic. It knows nothing of what it measures but addresses and commands.

mod args;
mod command;
mod figures;
mod judge;
mod pass;
pub mod result;
mod saved;
mod scenario;
mod setup;
mod table;

use std::{
    fs,
    io::{self, Write},
};

use anyhow::{Context, Result, bail, ensure};
use tokio::task::LocalSet;

pub use args::DrillArgs;
use command::Shell;
use result::{DrillReport, Pass, SCHEMA};
use scenario::{Counters, DRILLS, Scenario};

/// Makes the drills and prints their reports; true when every flow survived all of them.
pub fn drill(args: &DrillArgs) -> Result<bool> {
    crate::limits::raise_descriptor_limit();
    if let Some(out) = &args.out {
        fs::create_dir_all(out).with_context(|| format!("cannot make --out {}", out.display()))?;
    }
    let mut reports = Vec::new();
    for (name, scenario) in scenarios(args)? {
        let rungs: Vec<_> = if args.rungs.is_empty() { vec![None] } else { args.rungs.iter().map(Some).collect() };
        for rungs in rungs {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start tokio")?;
            let made = make(args, &name, &scenario, rungs.cloned());
            match LocalSet::new().block_on(&runtime, made)? {
                Made::Report(report) => reports.push(tell(args, *report)?),
                Made::NotHere(why) if args.name == "all" => eprintln!("probe: {name} left out: {why}"),
                Made::NotHere(why) => bail!("{name} cannot be made here: {why}"),
            }
        }
    }
    if args.json {
        writeln!(io::stdout().lock(), "{}", serde_json::to_string(&reports)?)?;
    }
    ensure!(!reports.is_empty(), "no drill could be made here");
    Ok(reports.iter().all(DrillReport::is_clean))
}

fn scenarios(args: &DrillArgs) -> Result<Vec<(String, Scenario)>> {
    if let Some(inject) = &args.inject {
        let counters = args.counters.clone().map(|command| Counters { command, fields: Default::default() });
        let scenario = Scenario {
            inject: Some(inject.clone()),
            heal: args.heal.clone(),
            rungs: args.rungs_command.clone(),
            counters,
            directory: ".".into(),
            ..Scenario::default()
        };
        return Ok(vec![(args.name.clone(), scenario)]);
    }
    if let Some(path) = &args.scenario {
        return Ok(vec![(args.name.clone(), Scenario::load(path)?)]);
    }
    let names = if args.name == "all" { DRILLS.to_vec() } else { vec![args.name.as_str()] };
    names.into_iter().map(|name| Ok((name.to_owned(), Scenario::find(&args.scenarios, name)?))).collect()
}

enum Made {
    Report(Box<DrillReport>),
    NotHere(String),
}

async fn make(args: &DrillArgs, name: &str, scenario: &Scenario, rungs: Option<String>) -> Result<Made> {
    ensure!(args.null || scenario.inject.is_some(), "the scenario of {name} has no `inject`");
    let loss = args.loss.map_or(String::new(), |loss| loss.to_string());
    let rtt_ms = args.rtt.map_or(String::new(), |rtt| (rtt.as_micros() as f64 / 1e3).to_string());
    let shell = |rungs: Option<&str>| Shell {
        directory: scenario.directory.clone(),
        variables: vec![
            ("PROBE_DRILL", name.to_owned()),
            ("PROBE_RUNGS", rungs.unwrap_or_default().to_owned()),
            ("PROBE_SEED", args.seed.to_string()),
            ("PROBE_RTT_MS", rtt_ms.clone()),
            ("PROBE_LOSS_PERCENT", loss.clone()),
        ],
        limit: args.command_timeout,
    };
    if let Some(needs) = &scenario.needs
        && let Err(why) = shell(None).run("needs", needs).await
    {
        return Ok(Made::NotHere(format!("{why:#}")));
    }
    let lacks = |option: &str, what: &str| format!("{option}: {name} has no command `{what}`");
    let rungs_command = match &rungs {
        Some(_) => Some(scenario.rungs.as_deref().with_context(|| lacks("--rungs", "rungs"))?),
        None => None,
    };
    if args.rtt.is_some() || args.loss.is_some() {
        let command = scenario.path.as_deref().with_context(|| lacks("--rtt and --loss", "path"))?;
        shell(None).run("path", command).await?;
    }
    let made = passes(args, scenario, &shell(rungs.as_deref()), rungs_command).await;
    // Whatever came of it, the site is not left with fewer rungs than it had.
    let restored = match rungs_command {
        Some(command) => shell(None).run("rungs", command).await.map(drop),
        None => Ok(()),
    };
    let (null, measured) = made?;
    restored?;
    let traffic = args::traffic(args, &scenario.traffic, args.before)?;
    let targets = traffic.targets.iter().map(ToString::to_string).collect();
    Ok(Made::Report(Box::new(DrillReport {
        schema: SCHEMA.to_owned(),
        drill: name.to_owned(),
        summary: scenario.summary.clone(),
        rungs,
        seed: args.seed,
        setup: setup::read(args, scenario, targets),
        measured,
        null,
    })))
}

/// What is measured, under some rungs: without the failure and with it.
async fn passes(
    args: &DrillArgs,
    scenario: &Scenario,
    shell: &Shell,
    rungs: Option<&str>,
) -> Result<(Option<Pass>, Option<Pass>)> {
    for (what, command) in [("rungs", rungs), ("prepare", scenario.prepare.as_deref())] {
        if let Some(command) = command {
            shell.run(what, command).await?;
        }
    }
    let null = if args.skip_null { None } else { Some(pass::make(args, scenario, shell, false).await?) };
    let broken_off = null.as_ref().is_some_and(|null| null.interrupted);
    let measured = if args.null || broken_off { None } else { Some(pass::make(args, scenario, shell, true).await?) };
    Ok((null, measured))
}

/// Prints a report, and writes its file.
fn tell(args: &DrillArgs, report: DrillReport) -> Result<DrillReport> {
    if !args.json {
        writeln!(io::stdout().lock(), "{}", table::show(&report))?;
    }
    if let Some(out) = &args.out {
        let path = out.join(report.file_stem() + ".json");
        fs::write(&path, serde_json::to_string(&report)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report)
}
