//! `hostd doctor`: what on this machine breaks or slows hostd. Reads, and changes nothing.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result};
use clap::Args;
use slr_daemon::doctor::{Examination, Finding, findings, machine};
use slr_dataplane::host::XdpMode;
use slr_model::VirtualSubnet;

use crate::config::{DEFAULT_CONFIG, Settings};
use crate::parents;

/// Bits of linux/capability.h.
const NEEDED: [(u32, &str, &str); 3] = [
    (12, "CAP_NET_ADMIN", "interfaces and routes of virtual subnets cannot be made"),
    (13, "CAP_NET_RAW", "clients of stalled flows cannot be asked"),
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
    examination.look_at_kernel();
    examination.look_at_pins(&settings.pin_path);
    examination.look_at_daemon(&settings.admin_socket, &NEEDED, "hostd");
    let carries_v6 = settings.subnets.iter().any(|subnet| subnet.prefix.net().addr().is_ipv6());
    let header = if settings.tunnel_v6.is_some() { 40 } else { 20 };
    let wants_native = settings.xdp != XdpMode::Generic;
    examination.look_at_interfaces(&settings.interfaces, wants_native, header, carries_v6);
    examination.look("reverse path", reverse_paths(&settings));
    examination.look_at_firewall();
    let own: Vec<String> = settings.subnets.iter().map(|subnet| subnet.interface.clone()).collect();
    let is_virtual = |ip| settings.subnets.iter().any(|subnet| subnet.prefix.net().contains(&ip));
    examination.look_at_addresses(is_virtual, &own);
    if let Some(control) = &settings.control {
        let parents = control.parents.iter();
        examination.look_at_ways(
            parents.flat_map(|parent| parent.addresses.iter().map(|address| (parent.name.as_str(), address.ip()))),
        );
        let trust = parents::trust(control, &settings);
        let warnings = trust.map(|trust| trust.current().warnings(SystemTime::now()));
        let told = warnings.map(|warnings| warnings.into_iter().map(|warning| (warning.why, warning.remedy)));
        examination.look_at_warnings("certificate", told);
    }
    examination.look("services", unheard(&settings));
    examination.tell(options.json)
}

/// Where tunnels arrive, and where what was in them comes out.
fn reverse_paths(settings: &Settings) -> Result<Vec<Finding>> {
    let value = |of: &str| -> Result<Option<u32>> {
        let text = machine::sysctl(&format!("net/ipv4/conf/{of}/rp_filter"))?;
        text.map(|text| text.parse().with_context(|| format!("rp_filter of {of}: {text}"))).transpose()
    };
    let all = value("all")?.unwrap_or_default();
    let mut interfaces: Vec<&str> = settings.interfaces.iter().map(String::as_str).collect();
    interfaces.extend(settings.subnets.iter().map(|subnet| subnet.interface.as_str()));
    interfaces.sort_unstable();
    interfaces.dedup();
    let mut found = Vec::new();
    for interface in interfaces {
        if let Some(own) = value(interface)? {
            found.extend(findings::reverse_path(interface, all, own));
        }
    }
    Ok(found)
}

/// Services that the configuration lists and nobody listens for.
fn unheard(settings: &Settings) -> Result<Vec<Finding>> {
    let listeners = machine::listeners()?;
    let found = settings.services.iter().filter_map(|served| {
        let service = served.key.service?;
        let subnet: VirtualSubnet = served.key.subnet;
        findings::unheard(
            &served.key.to_string(),
            service.protocol.as_str(),
            service.port.get(),
            |ip| subnet.net().contains(&ip),
            &listeners,
            subnet.net().addr().is_ipv4(),
        )
    });
    Ok(found.collect())
}
