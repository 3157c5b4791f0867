//! `doctor`: what on this machine breaks or slows a daemon, each with the command that mends it.
//!
//! [`machine`] reads, [`findings`] and its neighbours judge: what is read comes in, findings come out. The daemons say what they need and in which words;
//! here is what both ask of a machine.

pub mod findings;
pub mod machine;
mod nodes;
mod offloads;
mod rules;
pub mod segments;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::output::print;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Packets or connections are lost.
    Broken,
    /// It costs time, or will break.
    Slow,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Slow => "slow",
        }
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at: a word of [`Examination::look`].
    pub check: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, where, and what comes of it.
    pub what: String,
    /// A command that mends it, for a shell; or what to do where no command can.
    pub fix: String,
}

/// A finding; its check is named by [`Examination::look`].
pub fn finding(severity: Severity, what: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { check: String::new(), severity, what: what.into(), fix: fix.into() }
}

/// What could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    /// As in [`Finding`].
    pub check: String,
    /// What was in the way.
    pub why: String,
}

/// Everything that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examination {
    /// The worst first.
    pub findings: Vec<Finding>,
    /// What nothing is known of.
    pub unknown: Vec<Unknown>,
    /// What was looked at and is well.
    pub well: Vec<String>,
}

impl Examination {
    /// Looks at one thing. An error is something that could not be looked at.
    pub fn look<F: IntoIterator<Item = Finding>>(&mut self, check: &str, found: Result<F>) {
        match found {
            Ok(found) => {
                let found: Vec<Finding> =
                    found.into_iter().map(|finding| Finding { check: check.to_owned(), ..finding }).collect();
                if found.is_empty() {
                    self.well.push(check.to_owned());
                }
                self.findings.extend(found);
            }
            Err(error) => self.unknown.push(Unknown { check: check.to_owned(), why: format!("{error:#}") }),
        }
    }

    /// What the programs need of the kernel.
    pub fn look_at_kernel(&mut self) {
        let found = machine::kernel_release().and_then(|release| {
            let jit = machine::sysctl("net/core/bpf_jit_enable")?;
            Ok(findings::kernel(&release, Path::new("/sys/kernel/btf/vmlinux").exists(), jit.as_deref()))
        });
        self.look("kernel", found);
    }

    /// Whether anybody sets the clock, by which certificates are judged.
    pub fn look_at_clock(&mut self) {
        self.look("clock", machine::clock_error_us().map(findings::clock));
    }

    /// Where programs and tables are pinned.
    pub fn look_at_pins(&mut self, path: &Path) {
        let found = machine::is_bpf_file_system(path);
        self.look("pins", found.map(|is_bpf| findings::pins(&path.display().to_string(), is_bpf)));
    }

    /// Whether the daemon runs, and may do what it has to.
    pub fn look_at_daemon(&mut self, socket: &Path, needed: &[(u32, &str, &str)], unit: &str) {
        let found = match machine::process_at(socket) {
            Ok(pid) => machine::capabilities(pid).map(|effective| findings::capabilities(effective, needed, unit)),
            Err(error) => {
                let what = format!("the daemon does not run: {error:#}");
                let is_down = finding(Severity::Broken, what, format!("systemctl start {unit}"));
                machine::bounding_capabilities()
                    .map(|bounding| findings::bounds(bounding, needed).into_iter().chain([is_down]).collect())
            }
        };
        self.look("daemon", found);
    }

    /// Interfaces: whether they are there and run XDP, and whether what tunnels carry fits.
    pub fn look_at_interfaces(&mut self, interfaces: &[String], is_native: bool, header: u32, carries_v6: bool) {
        match machine::links() {
            Ok(links) => {
                self.look("xdp", Ok(findings::xdp(&links, interfaces, is_native)));
                self.look("mtu", Ok(findings::mtu(&links, interfaces, header, carries_v6)));
                let is_there = |name: &&String| findings::link(&links, name).is_some();
                let of = |name: &String| Ok(offloads::offloads(&links, name, &machine::features(name)?));
                let found: Result<Vec<Vec<Finding>>> = interfaces.iter().filter(is_there).map(of).collect();
                self.look("offloads", found.map(|found| found.into_iter().flatten()));
            }
            Err(error) => self.look("interfaces", Err::<Vec<_>, _>(error)),
        }
    }

    /// Rules that drop what this system lives by.
    pub fn look_at_firewall(&mut self) {
        let found = machine::firewall().map(|ruleset| {
            findings::icmp_filter(&ruleset).into_iter().chain(rules::reverse_path(&ruleset)).collect::<Vec<_>>()
        });
        self.look("firewall", found);
    }

    /// Ways to other nodes of the system, by name and address.
    pub fn look_at_ways<'a>(&mut self, ways: impl IntoIterator<Item = (&'a str, IpAddr)>) {
        let found = ways.into_iter().map(|(name, address)| {
            let route = machine::route_to(address).map_err(|error| format!("{error:#}"));
            if route.is_err()
                && let Some(refused) = rules::refused(name, address, &machine::routing_rules(address)?)
            {
                return Ok(Some(refused));
            }
            let routes = machine::routes_of(address)?;
            let next = route.as_ref().ok().and_then(findings::gateway).unwrap_or(address);
            let route = route.as_ref().map(drop).map_err(String::as_str);
            Ok(findings::way(name, address, next, route, &routes, &machine::neighbours(next, address)?))
        });
        let found: Result<Vec<Option<Finding>>> = found.collect();
        self.look("ways", found.map(|found| found.into_iter().flatten()));
    }

    /// What will break, and what to do about it.
    pub fn look_at_warnings(&mut self, check: &str, warnings: Result<impl IntoIterator<Item = (String, String)>>) {
        let found = |(what, fix): (String, String)| finding(Severity::Slow, what, fix);
        self.look(check, warnings.map(|warnings| warnings.into_iter().map(found)));
    }

    /// Addresses of this machine that are virtual ones; `own` are the interfaces where they belong.
    pub fn look_at_addresses(&mut self, is_virtual: impl Fn(IpAddr) -> bool, own: &[String]) {
        self.look("addresses", machine::addresses().map(|addresses| findings::overlap(&addresses, is_virtual, own)));
    }

    /// Other nodes of the system, by name, with their addresses or prefixes, beside this one's virtual subnets.
    pub fn look_at_nodes<'a>(&mut self, others: impl IntoIterator<Item = (&'a str, IpNet)>, subnets: &[IpNet]) {
        self.look("other nodes", Ok(nodes::inside(others, subnets)));
    }

    /// Prints it. The exit code: 0 if nothing was found, 1 if something was, 2 if nothing was and not everything could be looked at.
    pub fn tell(mut self, json: bool) -> Result<ExitCode> {
        self.findings.sort_by_key(|finding| finding.severity);
        print(if json { serde_json::to_string_pretty(&self)? } else { self.text() });
        Ok(match (self.findings.is_empty(), self.unknown.is_empty()) {
            (false, _) => ExitCode::from(1),
            (true, false) => ExitCode::from(2),
            (true, true) => ExitCode::SUCCESS,
        })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let _ = writeln!(text, "{}: {}: {}", finding.severity.as_str(), finding.check, finding.what);
            let _ = writeln!(text, "    {}", finding.fix);
        }
        for unknown in &self.unknown {
            let _ = writeln!(text, "not looked at: {}: {}", unknown.check, unknown.why);
        }
        let _ = write!(text, "{} well: {}", self.well.len(), self.well.join(", "));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_and_the_text_say_what_was_found() {
        let mut examination = Examination::default();
        examination.look("kernel", Ok([]));
        assert_eq!(examination.clone().tell(false).unwrap(), ExitCode::SUCCESS);
        examination.look("firewall", Err::<Vec<_>, _>(anyhow::anyhow!("nft is not installed")));
        assert_eq!(examination.clone().tell(true).unwrap(), ExitCode::from(2));
        examination.look("mtu", Ok([finding(Severity::Slow, "eth0 takes 1300 bytes", "ip link set eth0 mtu 1500")]));
        assert_eq!(
            examination.text(),
            "slow: mtu: eth0 takes 1300 bytes\n    ip link set eth0 mtu 1500\nnot looked at: firewall: nft is not installed\n1 well: kernel"
        );
        assert_eq!(examination.tell(false).unwrap(), ExitCode::from(1));
    }
}
