//! Traffic through a site: `probe run` from a client's namespace, and what it reports.

use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use slr_testkit::lab::Lab;

use crate::site::program;

/// A probe that is running. It ends when this is dropped.
pub struct Running {
    /// None once it was waited for.
    child: Option<Child>,
    words: String,
}

/// What a probe reported; see `probe/src/run/report.rs` for the shape.
#[derive(Clone, Debug)]
pub struct Report(pub Value);

/// Start a probe on a node.
pub fn start(lab: &Lab, node: &str, words: &str) -> Result<Running> {
    let mut command = lab.command(node, program("probe")?)?;
    command.arg("run").args(words.split_whitespace()).arg("--json");
    command.args(["--identity-header", "X-Served-By"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().with_context(|| format!("start probe on {node}"))?;
    Ok(Running { child: Some(child), words: words.to_owned() })
}

/// Run a probe to its end.
pub fn run(lab: &Lab, node: &str, words: &str) -> Result<Report> {
    start(lab, node, words)?.finish()
}

impl Running {
    /// Have it come to its end early.
    pub fn interrupt(&self) -> Result<()> {
        // Not waited for yet, so the number is still this child's.
        let child = self.child.as_ref().context("the probe has ended")?;
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).context("interrupt probe")
    }

    /// Wait for the report.
    pub fn finish(mut self) -> Result<Report> {
        let child = self.child.take().context("the probe has ended")?;
        let output = child.wait_with_output().context("wait for probe")?;
        ensure!(
            output.status.code().is_some_and(|code| code < 2),
            "probe run {}: {}: {}",
            self.words,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(Report(serde_json::from_slice(&output.stdout).context("the probe's JSON")?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What ends early, a test that fails for one, leaves nobody sending.
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Report {
    /// A number of the totals.
    pub fn total(&self, field: &str) -> u64 {
        self.0["total"][field].as_u64().unwrap_or_default()
    }

    /// Panics, in words, unless flows were started and none failed, was reset or changed server.
    pub fn assert_clean(&self, what: &str) {
        assert!(self.total("started") > 0, "{what}: no flow was started");
        let examples: Vec<_> =
            self.kinds().flat_map(|kind| kind["examples"].as_array().into_iter().flatten()).collect();
        assert_eq!(self.total("failed"), 0, "{what}: flows failed: {examples:?}");
        assert_eq!(self.total("changed_server"), 0, "{what}: flows changed server");
    }

    /// The report's parts, one per kind and target.
    pub fn kinds(&self) -> impl Iterator<Item = &Value> {
        self.0["kinds"].as_array().into_iter().flatten()
    }

    /// Answers by server, over all kinds of this name.
    pub fn shares(&self, kind: &str) -> std::collections::BTreeMap<String, u64> {
        let mut shares = std::collections::BTreeMap::new();
        for part in self.kinds().filter(|part| part["kind"] == kind) {
            for server in part["servers"].as_array().into_iter().flatten() {
                let name = server["server"].as_str().unwrap_or_default().to_owned();
                *shares.entry(name).or_default() += server["answers"].as_u64().unwrap_or_default();
            }
        }
        shares
    }
}
