//! A site's daemons as time goes by: other builds of them, reloads, unloading, and what is left at a node.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use slr_testkit::lab::{Lab, Process};

use super::{READY, Site, program};

/// What may not differ between a node that never had a daemon and one whose daemon was unloaded. Link-local addresses are
/// left out: they are made from MAC addresses, which no two labs share.
const FOOTPRINT: &str = r"
    ip -o link show | sed 's/^[0-9]*: //' | cut -d: -f1 | sort
    ip -details link show | grep -o 'prog/xdp.*' || true
    for link in $(ip -o link show | sed 's/^[0-9]*: //' | cut -d: -f1 | cut -d@ -f1); do
        tc qdisc show dev $link; tc filter show dev $link ingress; tc filter show dev $link egress
    done 2>/dev/null
    { ip route show table all; ip -6 route show table all; } | grep -v -e fe80 -e expires | sed 's/ pref medium//' | sort
    ip rule show; ip -6 rule show
    { ip neigh show; ip -6 neigh show; } | grep -i -e permanent -e managed -e extern_learn || true
    sysctl --all --pattern '^net\.ipv[46]\.(conf|ip_forward|tcp)' 2>/dev/null | grep -v -e stable_secret -e mc_forwarding
";

impl Site {
    /// Start another build of hostd on a host and wait until it answers.
    pub fn start_hostd_program(&mut self, node: &str, program: &Path) -> Result<()> {
        self.write_config(node)?;
        let process = self.start(node, program)?;
        self.await_daemon(node, "hostd", &process, |site| site.show_host(node, "subnets").is_ok())?;
        self.hostd.insert(node.to_owned(), process);
        Ok(())
    }

    /// The daemon of a node: the SLR's slr-router or a host's hostd.
    pub fn daemon(&self, node: &str) -> Result<&Process> {
        if node == "slr1" { self.router() } else { self.hostd(node) }
    }

    /// End the daemon of a node as a service manager does, and wait for its end.
    pub fn terminate(&self, node: &str) -> Result<()> {
        let process = self.daemon(node)?;
        process.signal(Signal::SIGTERM)?;
        let status = process.wait_exit(READY).with_context(|| format!("the daemon of {node} survives SIGTERM"))?;
        ensure!(status.success(), "the daemon of {node} ended with {status}: {}", process.log_tail());
        Ok(())
    }

    /// Have a host's hostd read its configuration again; what it answered, and whether it accepted.
    pub fn reload_host(&self, node: &str) -> Result<(String, bool)> {
        self.tell(node, "hostd", &["reload"])
    }

    /// Run `unload` for the daemon of a node, which must have ended; what it printed.
    pub fn unload(&self, node: &str) -> Result<String> {
        let name = if node == "slr1" { "slr-router" } else { "hostd" };
        let mut command = self.lab.command(node, program(name)?)?;
        command.args(["unload", "--config"]).arg(self.config_path(node));
        let output = command.output().with_context(|| format!("start {name}"))?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        ensure!(output.status.success(), "{name} unload on {node}: {text}");
        Ok(text)
    }
}

/// Links, programs, filters, routes, rules, kept neighbours and settings of a node, and programs on its cgroup.
pub fn footprint(lab: &Lab, node: &str) -> Result<String> {
    let cgroup = lab.cgroup_dir(node)?;
    let programs = format!("bpftool cgroup show {} | grep --invert-match '^ID'; true", cgroup.display());
    Ok(lab.sh(node, FOOTPRINT)? + &lab.sh(node, &programs)?)
}
