//! `hostd doctor`: what on this machine, and on the way to clients, breaks or slows hostd. Changes nothing.

mod way_out;

use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use ipnet::IpNet;
use slr_daemon::admin;
use slr_daemon::doctor::{Examination, Finding, findings, machine, segments};
use slr_dataplane::host::{EGRESS_PROGRAM, XdpMode};
use slr_model::VirtualSubnet;

use crate::config::{DEFAULT_CONFIG, Settings};
use crate::parents;
use crate::status::{Request, WayOut};
use way_out::Judged;

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
    /// An address outside that answers pings, such as of a client: has the daemon send echoes there from each virtual subnet, and from its own
    /// address, which tells filters of spoofed sources on the way. May be given several times
    #[arg(long, value_name = "ADDRESS")]
    toward: Vec<IpAddr>,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// Looks at everything.
pub fn run(options: &Options) -> Result<ExitCode> {
    let settings = Settings::load(&options.config)?;
    let mut examination = Examination::default();
    examination.look_at_kernel();
    examination.look_at_clock();
    examination.look_at_pins(&settings.pin_path);
    examination.look_at_daemon(&settings.admin_socket, &NEEDED, "hostd");
    let carries_v6 = settings.subnets.iter().any(|subnet| subnet.prefix.net().addr().is_ipv6());
    let header = if settings.tunnel_v6.is_some() { 40 } else { 20 };
    let wants_native = settings.xdp != XdpMode::Generic;
    examination.look_at_interfaces(&settings.interfaces, wants_native, header, carries_v6);
    examination.look("mss", mss(&settings));
    examination.look("reverse path", reverse_paths(&settings));
    examination.look_at_firewall();
    let own: Vec<String> = settings.subnets.iter().map(|subnet| subnet.interface.clone()).collect();
    let is_virtual = |ip| settings.subnets.iter().any(|subnet| subnet.prefix.net().contains(&ip));
    examination.look_at_addresses(is_virtual, &own);
    examination.look_at_nodes(
        others(&settings),
        &settings.subnets.iter().map(|subnet| subnet.prefix.net()).collect::<Vec<_>>(),
    );
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
    look_at_ways_out(&mut examination, &settings, &options.toward);
    if options.toward.is_empty() && std::io::stderr().is_terminal() {
        eprintln!("not tried: filters of virtual source addresses on the way to clients; --toward ADDRESS does");
    }
    examination.tell(options.json)
}

/// What the daemon has tried toward each address.
fn look_at_ways_out(examination: &mut Examination, settings: &Settings, toward: &[IpAddr]) {
    if toward.is_empty() {
        return;
    }
    let mut judged = Judged::default();
    for address in toward {
        match admin::request::<Vec<WayOut>>(&settings.admin_socket, &Request::TryWays { toward: *address }) {
            Ok(ways) => judged.add(*address, &ways),
            Err(error) => judged.unknown.push(error.to_string()),
        }
    }
    let Judged { findings, unknown } = judged;
    if !findings.is_empty() || unknown.is_empty() {
        examination.look("way out", Ok(findings));
    }
    unknown.into_iter().for_each(|why| examination.look("way out", Err::<Vec<_>, _>(anyhow!(why))));
}

/// Every other node that the configuration knows by address.
fn others(settings: &Settings) -> Vec<(&str, IpNet)> {
    let routers = settings.routers.iter().flat_map(|(name, nets)| nets.iter().map(|net| (name.as_str(), *net)));
    let hosts =
        settings.site_hosts.iter().flat_map(|(name, ips)| ips.iter().map(|ip| (name.as_str(), IpNet::from(*ip))));
    let parents = settings.control.iter().flat_map(|control| &control.parents);
    let parents =
        parents.flat_map(|parent| parent.addresses.iter().map(|at| (parent.name.as_str(), IpNet::from(at.ip()))));
    routers.chain(hosts).chain(parents).collect()
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

/// Replies whose segments will not fit the tunnel on their way back.
fn mss(settings: &Settings) -> Result<Vec<Finding>> {
    let links = machine::links()?;
    let mut found = Vec::new();
    let reload = format!("hostd reload --socket {}", settings.admin_socket.display());
    for interface in settings.interfaces.iter().filter(|name| findings::link(&links, name).is_some()) {
        let filters = machine::egress_filters(interface)?;
        found.extend(segments::unclamped(interface, &filters, EGRESS_PROGRAM, &reload));
    }
    found.extend(segments::path_mtu(&links, &settings.interfaces, settings.path_mtu));
    for routes in machine::default_routes()? {
        found.extend(segments::other_ways_out(&links, &settings.interfaces, &routes));
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
