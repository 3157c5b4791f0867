//! What types cannot say about a configuration: duplicates, bounds, families, overlaps. Every finding is returned, not
//! only the first, so that one look at the file repairs it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use slr_daemon::config::Complaint;
use slr_dataplane::router;
use slr_model::Service;
use slr_policy::Damping;
use toml::Spanned;

mod announce;
mod control;
mod flow_secret;
mod number;
mod policy;

use super::{DEFAULT_PIN_PATH, DEFAULT_SOCKET, Dataplane, Settings, Subnet, Upstream, file, fixed::Fixed};

/// The kernel's table of subnets has 4,096 entries.
const SUBNETS_MAX: usize = 4_095;
/// The kernel's table of our own tunnel addresses has 64 entries.
const TUNNEL_ADDRESSES_MAX: usize = 64;
/// The kernel's table of upstream prefixes has 4,096 entries.
const UPSTREAM_PREFIXES_MAX: usize = 4_096;
/// Longest interface name: IFNAMSIZ less its terminator.
const INTERFACE_LEN_MAX: usize = 15;
/// Longest name of a subnet, like that of a node.
const NAME_LEN_MAX: usize = 63;

/// Checks a file; paths in it are relative to `folder`. `running`: what the daemon runs with, if it does.
pub fn settings(file: file::File, folder: &Path, running: Option<&Settings>) -> Result<Settings, Vec<Complaint>> {
    let mut found = Vec::new();
    let tunnel_addresses = tunnel_addresses(&file.tunnel.addresses, &mut found);
    let sources = sources(&file.tunnel.sources, &mut found);
    let upstreams = upstreams(&file.upstream, &mut found);
    let dataplane = dataplane(&file.dataplane, folder, &mut found);
    let damping = policy::damping(&file.policy, &mut found);
    let subnets = subnets(&file, &damping, &mut found);
    let control = control::control(&file, folder, &mut found);
    let keepalive = control::keepalive(&file.keepalive, &mut found);
    let announce = announce::announce(&file, folder, &mut found);
    let metrics = metrics(&file.metrics, &mut found);
    let api = file.api.check(folder, &tunnel_addresses, &mut found);
    addresses_outside_subnets(&file.tunnel.addresses, &subnets, &mut found);
    let fixed = Fixed::spans(&file);
    let settings = Settings {
        name: file.node.name,
        tier: file.node.tier,
        tunnel_addresses,
        sources,
        upstreams,
        dataplane,
        hosts_file: file.hosts.map(|path| folder.join(path)),
        admin_socket: file.admin.socket.map_or(DEFAULT_SOCKET.into(), |path| folder.join(path.into_inner())),
        control,
        keepalive,
        announce,
        damping,
        metrics,
        api,
        subnets,
    };
    if let Some(running) = running {
        fixed.compare(running, &settings, &mut found);
    }
    if found.is_empty() { Ok(settings) } else { Err(found) }
}

fn tunnel_addresses(given: &[Spanned<IpAddr>], found: &mut Vec<Complaint>) -> Vec<IpAddr> {
    let mut seen = BTreeSet::new();
    for (index, address) in given.iter().enumerate() {
        let ip = *address.get_ref();
        if let Some(why) = unusable(ip) {
            found.push(Complaint::new(
                address.span(),
                format!("{ip} cannot be a tunnel address: {why}"),
                "write a unicast address that upstream routers reach this router at",
            ));
        } else if !seen.insert(ip) {
            found.push(Complaint::new(address.span(), format!("tunnel address {ip} is listed twice"), "remove one"));
        } else if index == TUNNEL_ADDRESSES_MAX {
            found.push(too_many(address, "tunnel addresses", TUNNEL_ADDRESSES_MAX));
        }
    }
    given.iter().map(|address| *address.get_ref()).collect()
}

/// Why no datagram can be sent to this address, if so.
pub fn unusable(ip: IpAddr) -> Option<&'static str> {
    if ip.is_unspecified() {
        Some("it is the unspecified address")
    } else if ip.is_multicast() || matches!(ip, IpAddr::V4(v4) if v4.is_broadcast()) {
        Some("it is no unicast address")
    } else if ip.is_loopback() {
        Some("it is a loopback address, which no other machine reaches")
    } else if matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        Some("it is an IPv4 address in IPv6 clothes; write it as IPv4")
    } else if matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        Some("it is a link-local address, which names no interface here")
    } else {
        None
    }
}

fn sources(given: &[Spanned<IpNet>], found: &mut Vec<Complaint>) -> Vec<IpNet> {
    let mut families = BTreeMap::new();
    for prefix in given {
        let net = *prefix.get_ref();
        host_bits(prefix, "source prefix", found);
        if let Some(first) = families.insert(net.addr().is_ipv4(), net) {
            found.push(Complaint::new(
                prefix.span(),
                format!("{first} and {net} are both {} source prefixes", family(net.addr())),
                "keep one prefix a family: receivers register it as this router's",
            ));
        }
    }
    given.iter().map(|prefix| *prefix.get_ref()).collect()
}

fn upstreams(given: &[file::Upstream], found: &mut Vec<Complaint>) -> Vec<Upstream> {
    let mut names = BTreeSet::new();
    let mut owners: BTreeMap<IpNet, &str> = BTreeMap::new();
    for upstream in given {
        let name = upstream.name.get_ref();
        if !names.insert(name) {
            found.push(Complaint::new(
                upstream.name.span(),
                format!("two upstreams are called {name}"),
                "give each its own name, or list all prefixes in one entry",
            ));
        }
        if upstream.prefixes.get_ref().is_empty() {
            found.push(Complaint::new(
                upstream.prefixes.span(),
                format!("upstream {name} has no prefix, so none of its tunnels would be accepted"),
                "list the prefixes of its outer source addresses",
            ));
        }
        for prefix in upstream.prefixes.get_ref() {
            host_bits(prefix, "upstream prefix", found);
            let net = *prefix.get_ref();
            if net.prefix_len() == 0 {
                found.push(Complaint::new(
                    prefix.span(),
                    format!("{net} would accept tunnels from everyone"),
                    "write the prefix that the upstream takes its outer source addresses from",
                ));
            }
            if let Some(first) = owners.insert(net, name) {
                found.push(Complaint::new(
                    prefix.span(),
                    format!("{net} is listed for upstream {first} and again for {name}"),
                    "remove one",
                ));
            } else if owners.len() == UPSTREAM_PREFIXES_MAX + 1 {
                found.push(too_many(prefix, "upstream prefixes", UPSTREAM_PREFIXES_MAX));
            }
        }
    }
    let nets = |prefixes: &[Spanned<IpNet>]| prefixes.iter().map(|p| *p.get_ref()).collect();
    given.iter().map(|u| Upstream { name: u.name.get_ref().clone(), prefixes: nets(u.prefixes.get_ref()) }).collect()
}

fn dataplane(given: &file::Dataplane, folder: &Path, found: &mut Vec<Complaint>) -> Dataplane {
    let default = router::Config::default();
    let aged = router::SweepPolicy::default();
    let mut number = |name: &str, value: &Option<Spanned<u64>>, default: u32, range: RangeInclusive<u32>| {
        number::number(name, value, default, range, found)
    };
    let limits = router::Config {
        seed: given.seed,
        promote_per_s: number("promote_per_s", &given.promote_per_s, default.promote_per_s, 1..=10_000_000),
        promote_burst: number("promote_burst", &given.promote_burst, default.promote_burst, 1..=10_000_000),
        icmp_per_s: number("icmp_per_s", &given.icmp_per_s, default.icmp_per_s, 1..=1_000_000),
        icmp_burst: number("icmp_burst", &given.icmp_burst, default.icmp_burst, 1..=1_000_000),
        pmtu_expiry_s: number("pmtu_expiry_s", &given.pmtu_expiry_s, default.pmtu_expiry_s, 60..=86_400),
        // 576 bytes is what every IPv4 host accepts (RFC 791); 1,280 is IPv6's least link (RFC 8200).
        pmtu_floor: number("pmtu_floor", &given.pmtu_floor, default.pmtu_floor.into(), 576..=1_500) as u16,
        // By the list of peers.
        tell_pins: false,
        hold_orphans: false,
    };
    let flows_per_family = number("flows_per_family", &given.flows_per_family, 1 << 20, 1_024..=1 << 24);
    let new_flows_per_family = number("new_flows_per_family", &given.new_flows_per_family, 1 << 16, 1_024..=1 << 22);
    let sweep = router::SweepPolicy {
        tcp_idle_s: number("tcp_idle_s", &given.tcp_idle_s, aged.tcp_idle_s, 60..=604_800),
        udp_idle_s: number("udp_idle_s", &given.udp_idle_s, aged.udp_idle_s, 10..=86_400),
        closing_s: number("closing_s", &given.closing_s, aged.closing_s, 5..=3_600),
        unproven_s: number("unproven_s", &given.unproven_s, aged.unproven_s, 5..=86_400),
        pressure_percent: number("pressure_percent", &given.pressure_percent, aged.pressure_percent.into(), 1..=100)
            as u8,
    };
    Dataplane {
        interfaces: interfaces(&given.interfaces, found),
        xdp: given.xdp,
        pin_path: pin_path(given.pin_path.as_ref(), folder),
        flows_per_family,
        new_flows_per_family,
        limits,
        sweep,
    }
}

/// Where metrics are served when nothing is said: for this machine's own scraper.
const DEFAULT_METRICS: &str = "127.0.0.1:9401";

fn metrics(given: &file::Metrics, found: &mut Vec<Complaint>) -> Option<SocketAddr> {
    let Some(listen) = &given.listen else { return DEFAULT_METRICS.parse().ok() };
    if listen.get_ref() == "off" {
        return None;
    }
    let address = listen.get_ref().parse();
    if address.is_err() {
        found.push(Complaint::new(
            listen.span(),
            format!("{:?} is no address to serve metrics at", listen.get_ref()),
            format!("write address:port, such as \"{DEFAULT_METRICS}\" (the default), or \"off\""),
        ));
    }
    address.ok()
}

fn pin_path(given: Option<&Spanned<PathBuf>>, folder: &Path) -> PathBuf {
    given.map_or_else(|| DEFAULT_PIN_PATH.into(), |path| folder.join(path.get_ref()))
}

fn interfaces(given: &[Spanned<String>], found: &mut Vec<Complaint>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    for name in given {
        let text = name.get_ref();
        let possible = (1..=INTERFACE_LEN_MAX).contains(&text.len())
            && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
        if !possible {
            found.push(Complaint::new(
                name.span(),
                format!("{text:?} cannot be an interface"),
                format!("write a name of 1 to {INTERFACE_LEN_MAX} characters, as `ip link` shows it"),
            ));
        } else if !seen.insert(text) {
            found.push(Complaint::new(name.span(), format!("interface {text} is listed twice"), "remove one"));
        }
    }
    given.iter().map(|name| name.get_ref().clone()).collect()
}

fn subnets(file: &file::File, damping: &Damping, found: &mut Vec<Complaint>) -> Vec<Subnet> {
    let given = &file.subnet;
    let mut names = BTreeSet::new();
    let mut prefixes = BTreeMap::new();
    for subnet in given {
        let (name, prefix) = (subnet.name.get_ref(), *subnet.prefix.get_ref());
        let possible = (1..=NAME_LEN_MAX).contains(&name.len())
            && !name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control());
        if !possible {
            found.push(Complaint::new(
                subnet.name.span(),
                format!("{name:?} cannot name a subnet"),
                format!("write 1 to {NAME_LEN_MAX} characters without blanks and slashes, such as \"web\""),
            ));
        }
        if !names.insert(name) {
            let remedy = "give each subnet its own name: hosts refer to it";
            found.push(Complaint::new(subnet.name.span(), format!("two subnets are called {name}"), remedy));
        }
        if let Some(first) = prefixes.insert(prefix, name) {
            found.push(Complaint::new(
                subnet.prefix.span(),
                format!("subnets {first} and {name} have the same prefix {prefix}"),
                "keep one, or write a longer prefix: the longest match decides",
            ));
        } else if prefixes.len() == SUBNETS_MAX + 1 {
            found.push(too_many(&subnet.prefix, "subnets", SUBNETS_MAX));
        }
        if let Some(services) = &subnet.services {
            check_services(name, services, found);
        }
    }
    given.iter().map(|given| subnet(given, &file.policy, damping, found)).collect()
}

fn subnet(given: &file::Subnet, default: &file::Policy, damping: &Damping, found: &mut Vec<Complaint>) -> Subnet {
    let list = |services: &Spanned<Vec<Spanned<Service>>>| services.get_ref().iter().map(|s| *s.get_ref()).collect();
    let policy = policy::policy(given, default, damping, found);
    Subnet {
        name: given.name.get_ref().clone(),
        prefix: *given.prefix.get_ref(),
        account: given.account,
        services: given.services.as_ref().map(list),
        orphan: given.orphan,
        echo: given.echo,
        key_mask: given.key_mask,
        aggregate: policy::aggregate(given, default, found),
        classes: policy::classes(given, found),
        rules: policy::rules(given, &policy, found),
        policy,
    }
}

fn check_services(name: &str, services: &Spanned<Vec<Spanned<Service>>>, found: &mut Vec<Complaint>) {
    if services.get_ref().is_empty() {
        found.push(Complaint::new(
            services.span(),
            format!("subnet {name} serves nothing"),
            "list what it serves, such as [\"tcp/80\"], or leave the line out to serve everything",
        ));
    }
    let mut seen = BTreeSet::new();
    for service in services.get_ref() {
        if !seen.insert(service.get_ref()) {
            let message = format!("subnet {name} lists {} twice", service.get_ref());
            found.push(Complaint::new(service.span(), message, "remove one"));
        }
    }
}

/// A tunnel address in a virtual subnet would be a client's packet and a tunnel at once.
fn addresses_outside_subnets(addresses: &[Spanned<IpAddr>], subnets: &[Subnet], found: &mut Vec<Complaint>) {
    for address in addresses {
        if let Some(subnet) = subnets.iter().find(|s| s.prefix.contains(*address.get_ref())) {
            found.push(Complaint::new(
                address.span(),
                format!("tunnel address {} lies in subnet {} ({})", address.get_ref(), subnet.name, subnet.prefix),
                "write an address of this router's own, outside every virtual subnet",
            ));
        }
    }
}

fn host_bits(prefix: &Spanned<IpNet>, what: &str, found: &mut Vec<Complaint>) {
    let net = *prefix.get_ref();
    if net.trunc() != net {
        let message = format!("{what} {net} has bits set behind its prefix");
        found.push(Complaint::new(prefix.span(), message, format!("write {}", net.trunc())));
    }
}

fn too_many<T>(at: &Spanned<T>, what: &str, max: usize) -> Complaint {
    Complaint::new(
        at.span(),
        format!("more than {max} {what}"),
        format!("the kernel's table holds {max}; remove this one"),
    )
}

/// `IPv4` or `IPv6`.
pub fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}
