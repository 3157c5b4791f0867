//! `slr-linkemu run CONFIG`: the link emulator of one lab; `slr-linkemu down RUN`: what it starts when the lab's owner ends.
//!
//! Started by `slr_testkit::lab`, not by hand.

use anyhow::{Context, Result};
use slr_testkit::emulator;
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["run", config] => run(Path::new(config)),
        ["down", run] => slr_testkit::lab::down_from_outside(run),
        _ => Err(anyhow::anyhow!("usage: slr-linkemu run CONFIG | slr-linkemu down RUN")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("slr-linkemu: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(path: &Path) -> Result<()> {
    let text = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let config: emulator::Config = serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?;
    let own = std::env::current_exe().context("path of this program")?;
    emulator::run(&config, || {
        let down = Command::new(&own).arg("down").arg(&config.run).spawn();
        down.context("start the take-down of the lab").map(|_| ())
    })
}
