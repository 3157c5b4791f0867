//! From the file as written to [`Settings`]: what types cannot say. Everything that is wrong is said at once.

mod control;
mod echo;
mod load;
mod number;
mod service;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;

use ipnet::IpNet;
use slr_daemon::config::Complaint;
use slr_model::VirtualSubnet;
use toml::Spanned;

use super::file::{File, Router, SiteHost};
use super::{DEFAULT_INTERFACE, DEFAULT_PIN_PATH, Settings, Subnet};

/// IFNAMSIZ, less the final zero.
const INTERFACE_LEN_MAX: usize = 15;
/// What IPv6 asks of every link (RFC 8200 5); less leaves no room for headers.
const PATH_MTU_MIN: u16 = 1280;
/// As many headers as the data plane takes (`SLR_CHAIN_HEADERS`).
const CHAIN_HEADERS_MAX: u8 = 4;

/// Checks a file; paths in it are relative to `folder`.
pub fn settings(file: File, folder: &Path) -> Result<Settings, Vec<Complaint>> {
    let mut complaints = Complaints::default();
    let (mut tunnel_v4, mut tunnel_v6) = (None, None);
    for address in file.tunnel.addresses.get_ref() {
        let known = match *address.get_ref() {
            IpAddr::V4(v4) => tunnel_v4.replace(v4).is_some(),
            IpAddr::V6(v6) => tunnel_v6.replace(v6).is_some(),
        };
        if known {
            complaints.add(
                address.span(),
                "a second tunnel address of this family",
                "at most one IPv4 and one IPv6 address",
            );
        }
        complaints.unicast(address);
    }
    if file.tunnel.addresses.get_ref().is_empty() {
        complaints.add(file.tunnel.addresses.span(), "no tunnel address", "the address that routers send tunnels to");
    }
    let path_mtu = file.tunnel.path_mtu.map(|mtu| {
        if *mtu.get_ref() < PATH_MTU_MIN {
            complaints.add(mtu.span(), "path_mtu is below what IPv6 asks of a link", "1280 bytes or more");
        }
        mtu.into_inner()
    });
    let chain_headers = file.tunnel.chain_headers.map_or(CHAIN_HEADERS_MAX, |headers| {
        if !(1..=CHAIN_HEADERS_MAX).contains(headers.get_ref()) {
            complaints.add(headers.span(), "chain_headers is not a chain's length", "1 to 4");
        }
        headers.into_inner()
    });
    let interfaces = complaints.interfaces(&file.dataplane.interfaces);
    let subnets = complaints.subnets(file.subnet, &interfaces);
    complaints.tunnels_are_not_virtual(file.tunnel.addresses.get_ref(), &subnets);
    let pin_path = file.dataplane.pin_path.map_or(DEFAULT_PIN_PATH.into(), |path| complaints.absolute(path));
    let cgroup = file.dataplane.cgroup.map(|path| complaints.absolute(path));
    let control = complaints.control(file.control, file.parent, folder);
    let (services, service_loads) = complaints.services(file.service, &subnets);
    let (sources, formulas) = complaints.loads(file.load, file.host.load, service_loads);
    let drain = complaints.drain(&file.drain);
    let metrics = complaints.metrics(&file.metrics);
    let tunnels: Vec<IpAddr> = file.tunnel.addresses.get_ref().iter().map(|address| *address.get_ref()).collect();
    let api = file.api.check(folder, &tunnels, &mut complaints.found);
    let echoes = complaints.echoes(&file.echo);
    let routers = complaints.routers(file.router);
    let site_hosts = complaints.site_hosts(file.site_host);
    let settings = Settings {
        name: file.host.name,
        tunnel_v4,
        tunnel_v6,
        path_mtu,
        chain_headers,
        interfaces,
        xdp: file.dataplane.xdp.into(),
        pin_path,
        cgroup,
        admin_socket: file.admin.socket,
        routers,
        site_hosts,
        subnets,
        control,
        services,
        sources,
        formulas,
        drain,
        metrics,
        api,
        echoes,
    };
    if complaints.found.is_empty() { Ok(settings) } else { Err(complaints.found) }
}

/// What was found wrong.
#[derive(Default)]
struct Complaints {
    found: Vec<Complaint>,
    /// Of the services so far.
    checks_per_s: f64,
}

impl Complaints {
    fn add(&mut self, span: Range<usize>, message: impl Into<String>, remedy: &str) {
        self.found.push(Complaint::new(span, message, remedy));
    }

    fn unicast(&mut self, address: &Spanned<IpAddr>) {
        let given = address.get_ref();
        let mapped = matches!(given, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        if given.is_unspecified() || given.is_multicast() || given.is_loopback() || mapped {
            let message = format!("{given} is no address that a tunnel can end at");
            self.add(address.span(), message, "a unicast address of the host's own");
        }
    }

    fn absolute(&mut self, path: Spanned<std::path::PathBuf>) -> std::path::PathBuf {
        if !path.get_ref().is_absolute() {
            self.add(path.span(), "not an absolute path", "start it with /");
        }
        path.into_inner()
    }

    fn interface_name(&mut self, name: &Spanned<String>) {
        let text = name.get_ref();
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':';
        if text.is_empty() || text.len() > INTERFACE_LEN_MAX || text.contains(odd) || text == "." || text == ".." {
            self.add(
                name.span(),
                format!("{text:?} is no interface name"),
                "1 to 15 characters without blanks, / and :",
            );
        }
    }

    fn interfaces(&mut self, names: &Spanned<Vec<Spanned<String>>>) -> Vec<String> {
        let mut known = Vec::new();
        for name in names.get_ref() {
            self.interface_name(name);
            if known.contains(name.get_ref()) {
                self.add(name.span(), "interface given twice", "once is enough");
            }
            known.push(name.get_ref().clone());
        }
        if known.is_empty() {
            self.add(names.span(), "no interface", "the interfaces at which tunnels arrive, such as [\"eth0\"]");
        }
        known
    }

    fn subnets(&mut self, written: Vec<super::file::Subnet>, underlay: &[String]) -> Vec<Subnet> {
        let mut names = BTreeMap::new();
        let mut subnets: Vec<Subnet> = Vec::new();
        for subnet in written {
            if names.insert(subnet.name.get_ref().clone(), ()).is_some() {
                self.add(subnet.name.span(), "subnet name given twice", "each subnet has a name of its own");
            }
            let prefix = *subnet.prefix.get_ref();
            if let Some(other) = subnets.iter().find(|other| overlap(other.prefix, prefix)) {
                let message = format!("{prefix} overlaps {} of subnet {:?}", other.prefix, other.name);
                self.add(subnet.prefix.span(), message, "an address belongs to one subnet");
            }
            let interface = subnet.interface.map_or(DEFAULT_INTERFACE.to_owned(), |name| {
                self.interface_name(&name);
                if underlay.contains(name.get_ref()) {
                    let remedy = "a name of its own, such as \"slr-0\": the interface is made by hostd";
                    self.add(name.span(), "this interface is one at which tunnels arrive", remedy);
                }
                name.into_inner()
            });
            let stall = self.stall(subnet.stall_ms);
            subnets.push(Subnet { name: subnet.name.into_inner(), prefix, interface, stall });
        }
        subnets
    }

    fn tunnels_are_not_virtual(&mut self, addresses: &[Spanned<IpAddr>], subnets: &[Subnet]) {
        for address in addresses {
            if let Some(subnet) = subnets.iter().find(|subnet| subnet.prefix.contains(*address.get_ref())) {
                let message = format!("{} lies in virtual subnet {}", address.get_ref(), subnet.prefix);
                self.add(address.span(), message, "an address of the host's own, outside the virtual subnets");
            }
        }
    }

    fn routers(&mut self, written: Vec<Router>) -> Vec<(slr_model::NodeName, Vec<IpNet>)> {
        let mut routers: Vec<(slr_model::NodeName, Vec<IpNet>)> = Vec::new();
        for router in written {
            if routers.iter().any(|(name, _)| name == router.name.get_ref()) {
                self.add(router.name.span(), "router given twice", "give its prefixes in one entry");
            }
            if router.prefixes.get_ref().is_empty() {
                self.add(router.prefixes.span(), "no prefix", "the prefixes that this router's tunnels come from");
            }
            let mut prefixes = Vec::new();
            for prefix in router.prefixes.into_inner() {
                let net = *prefix.get_ref();
                if net.trunc() != net || net.prefix_len() == 0 {
                    let message = format!("{net} is no prefix that a router sends from");
                    self.add(prefix.span(), message, "a range with zero host bits, such as 10.1.255.0/24");
                }
                prefixes.push(net);
            }
            routers.push((router.name.into_inner(), prefixes));
        }
        routers
    }

    fn site_hosts(&mut self, written: Vec<SiteHost>) -> Vec<(slr_model::NodeName, Vec<IpAddr>)> {
        let mut hosts: Vec<(slr_model::NodeName, Vec<IpAddr>)> = Vec::new();
        for host in written {
            if hosts.iter().any(|(name, _)| name == host.name.get_ref()) {
                self.add(host.name.span(), "site host given twice", "give its addresses in one entry");
            }
            if host.addresses.get_ref().is_empty() {
                self.add(host.addresses.span(), "no address", "the tunnel addresses of this host");
            }
            for address in host.addresses.get_ref() {
                self.unicast(address);
            }
            let addresses = host.addresses.into_inner().into_iter().map(Spanned::into_inner).collect();
            hosts.push((host.name.into_inner(), addresses));
        }
        hosts
    }
}

fn overlap(a: VirtualSubnet, b: VirtualSubnet) -> bool {
    a.contains(b.network()) || b.contains(a.network())
}
