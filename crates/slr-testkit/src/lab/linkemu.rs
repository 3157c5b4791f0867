//! Finding and starting `slr-linkemu`, the process that carries a lab's frames and watches over its owner.

use super::plan::{EMULATOR_NODE, emulated_links};
use super::process;
use super::state::{Owner, RunDir};
use crate::emulator::control::{Request, ask};
use crate::emulator::{Config, PROTOCOL_VERSION};
use crate::topology::Topology;
use crate::wait::holds_within;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PROGRAM: &str = "slr-linkemu";
/// Names another place of the program.
const VARIABLE: &str = "SLR_LINKEMU";
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// The program: where `SLR_LINKEMU` says, else beside the running executable or one directory up (test executables are in
/// `deps/`), else built by the cargo that runs the test.
pub(super) fn locate() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        let path = PathBuf::from(path);
        return if path.is_file() { Ok(path) } else { bail!("{VARIABLE}={} is not a file", path.display()) };
    }
    let own = std::env::current_exe().context("path of the running program")?;
    let places = own.ancestors().skip(1).take(2).map(|dir| dir.join(PROGRAM));
    if let Some(found) = places.into_iter().find(|path| path.is_file()) {
        return Ok(found);
    }
    build(&own)?.with_context(|| {
        format!("{PROGRAM} is not beside {}; run `cargo build --release --package slr-testkit`", own.display())
    })
}

/// Builds the program when a test of another crate runs under cargo, which builds only that crate's own programs.
fn build(own: &Path) -> Result<Option<PathBuf>> {
    let (Some(cargo), Some(profile_dir)) = (std::env::var_os("CARGO"), own.ancestors().nth(2)) else { return Ok(None) };
    let Some(target_dir) = profile_dir.parent().filter(|_| profile_dir.ends_with("release")) else { return Ok(None) };
    let status = Command::new(cargo)
        .args(["build", "--release", "--package", "slr-testkit", "--bin", PROGRAM, "--target-dir"])
        .arg(target_dir)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .with_context(|| format!("build {PROGRAM}"))?;
    let built = profile_dir.join(PROGRAM);
    Ok((status.success() && built.is_file()).then_some(built))
}

/// Starts the emulator in its namespace and cgroup and waits until it answers.
pub(super) fn start(dir: &RunDir, topology: &Topology, program: &Path, owner: Option<Owner>, seed: u64) -> Result<()> {
    let run = dir.run().to_owned();
    let links = emulated_links(topology);
    let (socket, owner) = (dir.control_socket(), owner.map(|owner| owner.pid));
    let config = Config { version: PROTOCOL_VERSION, run: run.clone(), socket, seed, owner, links };
    let path = dir.emulator_config();
    std::fs::write(&path, serde_json::to_vec_pretty(&config)?).with_context(|| format!("write {}", path.display()))?;

    let mut command = Command::new(program);
    command.arg("run").arg(&path);
    process::place(&run, EMULATOR_NODE, &mut command)?;
    let process = process::spawn(dir, EMULATOR_NODE, "linkemu", command)?;
    let answers = || ask(&dir.control_socket(), &Request::Show);
    let mut last = answers();
    let _ = holds_within(START_TIMEOUT, || {
        last = answers();
        last.is_ok() || !process.is_alive()
    });
    last.map(|_| ()).with_context(|| format!("the link emulator did not start: {}", process.log_tail()))
}
