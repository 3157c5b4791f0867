//! Programs that a run starts, and that end with it.

use std::path::PathBuf;
use std::process::{Child, Command};

use anyhow::{Context, Result};

/// A process that ends with the value.
pub struct Process(Child);

impl Process {
    /// Starts it.
    pub fn start(mut command: Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("start {}", command.get_program().to_string_lossy()))?;
        Ok(Self(child))
    }

    /// One that was started.
    pub fn of(child: Child) -> Self {
        Self(child)
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has not ended.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already is to be waited for all the same.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The router's program that was built with this one.
pub fn beside() -> Result<PathBuf> {
    let me = std::env::current_exe().context("where this program is")?;
    let found = me.ancestors().skip(1).take(2).map(|dir| dir.join("slr-router")).find(|path| path.is_file());
    found.with_context(|| format!("slr-router is not beside {}: `cargo build --release --workspace`", me.display()))
}
