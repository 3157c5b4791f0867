//! `slr-router doctor`: what on this machine breaks or slows the router. Reads, and changes nothing.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Result;
use clap::Args;
use ipnet::IpNet;
use slr_control::Trust;
use slr_daemon::doctor::{Examination, Finding, Severity, finding, machine};

use crate::config::{DEFAULT_CONFIG, Settings, Xdp};
use crate::control::trust_files;

/// Bits of linux/capability.h.
const NEEDED: [(u32, &str, &str); 4] = [
    (12, "CAP_NET_ADMIN", "the program cannot be put on interfaces, and nothing can be announced"),
    (13, "CAP_NET_RAW", "tunnels cannot be probed, and packets that were held not sent on"),
    (38, "CAP_PERFMON", "programs are not verified as those of a trusted user, and do not load"),
    (39, "CAP_BPF", "programs cannot be loaded"),
];

/// Of what.
#[derive(Debug, Args)]
pub struct Options {
    /// The configuration.
    #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// Looks at everything.
pub fn run(options: &Options) -> Result<ExitCode> {
    let settings = Settings::load(&options.config)?;
    let mut examination = Examination::default();
    let interfaces = &settings.dataplane.interfaces;
    examination.look_at_kernel();
    examination.look_at_clock();
    examination.look_at_pins(&settings.dataplane.pin_path);
    examination.look_at_daemon(&settings.admin_socket, &NEEDED, "slr-router");
    let carries_v6 = settings.subnets.iter().any(|subnet| subnet.prefix.net().addr().is_ipv6());
    let header = if settings.sources.iter().any(|source| source.addr().is_ipv6()) { 40 } else { 20 };
    examination.look_at_interfaces(interfaces, settings.dataplane.xdp != Xdp::Generic, header, carries_v6);
    examination.look("forwarding", forwarding(interfaces));
    examination.look_at_firewall();
    let is_virtual = |ip| settings.subnets.iter().any(|subnet| subnet.prefix.net().contains(&ip));
    examination.look_at_addresses(is_virtual, &[]);
    if let Some(control) = &settings.control {
        let others = control.peers.iter().chain(&control.parents).chain(&control.neighbours);
        let nodes = others.clone();
        let nodes =
            nodes.flat_map(|other| other.addresses.iter().map(|at| (other.name.as_str(), IpNet::from(at.ip()))));
        let subnets: Vec<IpNet> = settings.subnets.iter().map(|subnet| subnet.prefix.net()).collect();
        examination.look_at_nodes(nodes, &subnets);
        examination.look_at_ways(
            others.flat_map(|other| other.addresses.iter().map(|address| (other.name.as_str(), address.ip()))),
        );
        let trust = Trust::load(trust_files(control)).map_err(Into::into);
        let warnings = trust.map(|trust| trust.current().warnings(SystemTime::now()));
        let told = warnings.map(|warnings| warnings.into_iter().map(|warning| (warning.why, warning.remedy)));
        examination.look_at_warnings("certificate", told);
    }
    examination.tell(options.json)
}

/// What is not for a virtual subnet is the kernel's to forward, where the router stands between two links.
fn forwarding(interfaces: &[String]) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    if interfaces.len() < 2 {
        return Ok(found);
    }
    for (path, name) in [
        ("net/ipv4/ip_forward", "net.ipv4.ip_forward"),
        ("net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding"),
    ] {
        if machine::sysctl(path)?.as_deref() == Some("0") {
            let what = format!(
                "{name} is 0: what is not for a virtual subnet is not forwarded between {}",
                interfaces.join(" and ")
            );
            found.push(finding(Severity::Broken, what, format!("sysctl -w {name}=1")));
        }
    }
    Ok(found)
}
