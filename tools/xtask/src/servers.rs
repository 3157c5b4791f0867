//! The servers on a host, told to stop, to freeze, to go on.

use std::fs;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::site::Site;

/// The processes of a host's nginx: the master and its workers, who serve.
pub fn nginx(site: &Site, host: &str) -> Result<Vec<Pid>> {
    let file = site.lab().service_dir(host, "nginx").join("nginx.pid");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let master: i32 = text.trim().parse().with_context(|| format!("{} holds no number", file.display()))?;
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
    let workers = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    Ok(std::iter::once(master).chain(workers).map(Pid::from_raw).collect())
}

/// Send a signal to a host's nginx, workers included.
pub fn signal_nginx(site: &Site, host: &str, signal: Signal) -> Result<()> {
    for process in nginx(site, host)? {
        kill(process, signal).with_context(|| format!("{signal} to nginx of {host}"))?;
    }
    Ok(())
}
