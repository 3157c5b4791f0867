//! What is judged. Each function takes what was read and says what is wrong with it; none reads.

use std::net::IpAddr;

use serde_json::Value;

use super::{Finding, Severity, finding};

/// The oldest kernel that the programs are tested on.
const KERNEL_MIN: (u32, u32) = (6, 1);

/// A kernel that lacks what the programs need, or runs them slowly.
pub fn kernel(release: &str, has_btf: bool, jit: Option<&str>) -> Vec<Finding> {
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let mut found = Vec::new();
    if version < KERNEL_MIN {
        let what = format!("kernel {release} is older than {}.{}", KERNEL_MIN.0, KERNEL_MIN.1);
        found.push(finding(Severity::Broken, what, "install a newer kernel: Debian 12 and Ubuntu 24.04 have one"));
    }
    if !has_btf {
        let what =
            "the kernel has no type information (/sys/kernel/btf/vmlinux): programs that read sockets do not load";
        found.push(finding(Severity::Broken, what, "install a kernel with CONFIG_DEBUG_INFO_BTF=y"));
    }
    if jit == Some("0") {
        let what = "BPF programs are interpreted, at a multiple of their cost";
        found.push(finding(Severity::Slow, what, "sysctl -w net.core.bpf_jit_enable=1"));
    }
    found
}

/// The strict reverse-path filter where clients' datagrams come out of tunnels, or where replies of others come back.
pub fn reverse_path(interface: &str, all: u32, own: u32) -> Option<Finding> {
    (all.max(own) == 1).then(|| {
        let what = format!(
            "the reverse-path filter of {interface} is strict: what comes out of a tunnel there is dropped, unless the way back to the \
             client is the same"
        );
        finding(Severity::Broken, what, format!("sysctl -w net.ipv4.conf.{interface}.rp_filter=2"))
    })
}

/// Interfaces that are not there, or down, or do not run XDP as they should. `is_native`: the configuration does not ask for generic mode.
pub fn xdp(links: &Value, interfaces: &[String], is_native: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    for name in interfaces {
        let Some(link) = link(links, name) else {
            let what = format!("there is no interface {name}, which the configuration names");
            found.push(finding(Severity::Broken, what, format!("name another interface, or: ip link add {name} …")));
            continue;
        };
        if !has_flag(link, "UP") {
            let what = format!("interface {name} is down");
            found.push(finding(Severity::Broken, what, format!("ip link set {name} up")));
        }
        // 1: in the driver; 2: generic; 3: in the card; 4: several.
        match link["xdp"]["mode"].as_u64() {
            None => {
                let what = format!("no XDP program is on {name}: packets pass by this system");
                let fix =
                    "look at the daemon's log, then restart it: it attaches when it starts, and tries again each 5 s";
                found.push(finding(Severity::Broken, what, fix));
            }
            Some(2) if !is_native => {
                let what = format!(
                    "XDP runs in generic mode on {name}, as configured: each packet costs a socket buffer first"
                );
                found.push(finding(
                    Severity::Slow,
                    what,
                    "set xdp = \"native\" in the configuration, then restart the daemon",
                ));
            }
            Some(2) => {
                let driver = link["linkinfo"]["info_kind"].as_str().unwrap_or("its driver");
                let what = format!(
                    "XDP runs in generic mode on {name}: each packet costs a socket buffer first ({driver} does not take it, or not with its \
                     settings: an MTU above 3,498, LRO, or too few queues)"
                );
                let fix = format!("ethtool -K {name} lro off; ip link set {name} mtu 1500; then restart the daemon");
                found.push(finding(Severity::Slow, what, fix));
            }
            Some(_) => {}
        }
    }
    found
}

/// Interfaces through which a tunnel does not carry what it must: IPv6 allows no datagram to be refused that has 1,280 bytes.
pub fn mtu(links: &Value, interfaces: &[String], header: u32, carries_v6: bool) -> Vec<Finding> {
    let least = if carries_v6 { 1280 + header } else { 576 + header };
    let small =
        |name: &&String| link(links, name).and_then(|link| link["mtu"].as_u64()).is_some_and(|mtu| mtu < least.into());
    let tell = |name: &String| {
        let mtu = link(links, name).map_or(0, |link| link["mtu"].as_u64().unwrap_or_default());
        let what = format!("{name} takes {mtu} bytes: with its tunnel header a datagram that must pass has {least}");
        finding(Severity::Broken, what, format!("ip link set {name} mtu 1500"))
    };
    interfaces.iter().filter(small).map(tell).collect()
}

/// Rules of nftables that drop ICMP: path MTUs are not learned, and answers to echoes are lost.
pub fn icmp_filter(ruleset: &Value) -> Vec<Finding> {
    let rules = ruleset["nftables"].as_array().into_iter().flatten().filter_map(|entry| entry.get("rule"));
    let word = |rule: &Value, field: &str| rule[field].as_str().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for rule in rules {
        let expressions = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
        let drops = expressions.iter().any(|step| step.get("drop").is_some() || step.get("reject").is_some());
        let is_icmp = expressions.iter().any(|step| is_about_icmp(&step["match"]));
        if drops && is_icmp {
            let [family, table, chain] = ["family", "table", "chain"].map(|field| word(rule, field));
            let handle = rule["handle"].as_u64().unwrap_or_default();
            let what = format!(
                "a rule of nftables drops ICMP (table {family} {table}, chain {chain}): path MTUs are not learned, so that large datagrams \
                 vanish, and answers to echoes are lost"
            );
            let fix = format!("nft delete rule {family} {table} {chain} handle {handle}");
            found.push(finding(Severity::Broken, what, fix));
        }
    }
    found
}

/// A match of the protocol, or of an ICMP field other than echo requests alone, which nobody here needs.
fn is_about_icmp(matched: &Value) -> bool {
    const NAMES: [&str; 3] = ["icmp", "icmpv6", "ipv6-icmp"];
    let is_name = |value: &Value| value.as_str().is_some_and(|name| NAMES.contains(&name));
    let right = &matched["right"];
    let is_right = is_name(right) || right["set"].as_array().is_some_and(|set| set.iter().any(is_name));
    let is_field = is_name(&matched["left"]["payload"]["protocol"]) && *right != *"echo-request";
    is_right || is_field
}

/// Bits of linux/capability.h.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Capabilities that a process lacks, of those that it needs: bit, name, and what for.
pub fn capabilities(effective: u64, needed: &[(u32, &str, &str)], unit: &str) -> Vec<Finding> {
    lacking(effective, needed, |name| {
        let fix = format!("systemctl revert {unit} && systemctl restart {unit}   # or run it as root");
        (format!("the daemon has no {name}"), fix)
    })
}

/// Capabilities that nothing that is started here can have, of those that a daemon needs: why it does not run.
pub fn bounds(bounding: u64, needed: &[(u32, &str, &str)]) -> Vec<Finding> {
    lacking(bounding, needed, |name| {
        let fix = format!("give this container {name} (docker run --cap-add {name}), or run the daemon outside of it");
        (format!("nothing that is started here can have {name}"), fix)
    })
}

/// Those that are not in a set; `tell`: what that means, and its fix.
fn lacking(set: u64, needed: &[(u32, &str, &str)], tell: impl Fn(&str) -> (String, String)) -> Vec<Finding> {
    let found = needed.iter().filter(|(bit, ..)| is_lacking(set, *bit)).map(|(_, name, what_for)| {
        let (what, fix) = tell(name);
        finding(Severity::Broken, format!("{what}: {what_for}"), fix)
    });
    found.collect()
}

/// What was split off from CAP_SYS_ADMIN, it still includes (capabilities(7)).
fn is_lacking(set: u64, bit: u32) -> bool {
    let has = |bit: u32| set >> bit & 1 == 1;
    let is_split_off = matches!(bit, CAP_PERFMON | CAP_BPF);
    !(has(bit) || is_split_off && has(CAP_SYS_ADMIN))
}

/// From here on the kernel itself calls the clock unsynchronised (NTP_PHASE_LIMIT).
const CLOCK_ERROR_US_MAX: i64 = 16_000_000;

/// A clock that nobody sets.
pub fn clock(error_us: i64) -> Option<Finding> {
    (error_us >= CLOCK_ERROR_US_MAX).then(|| {
        let what = "nothing has set the clock for hours: certificates are refused as it drifts, and times in logs and captures of several nodes \
                    do not compare";
        finding(Severity::Slow, what, "timedatectl set-ntp true   # or start chrony or ntpd")
    })
}

/// Whom a route hands datagrams to. `route`: what `ip -json route get` has.
pub fn gateway(route: &Value) -> Option<IpAddr> {
    let first = route.get(0)?;
    let named = first["gateway"].as_str().or_else(|| first["via"]["host"].as_str());
    named?.parse().ok()
}

/// A folder of pins that is on no bpf file system.
pub fn pins(path: &str, is_bpf: bool) -> Option<Finding> {
    (!is_bpf).then(|| {
        let what = format!("{path} is on no bpf file system: nothing outlives the daemon there");
        finding(Severity::Broken, what, "mount -t bpf bpf /sys/fs/bpf")
    })
}

/// A router that packets do not get to. `next`: who is first on the way, the router itself or a gateway; `route`: why the kernel has
/// none, if so; `routes`: those that the address is in; `neighbours`: entries of `next`.
pub fn way(
    name: &str,
    address: IpAddr,
    next: IpAddr,
    route: Result<(), &str>,
    routes: &Value,
    neighbours: &Value,
) -> Option<Finding> {
    let family = if address.is_ipv4() { "" } else { "-6 " };
    if let Err(why) = route {
        let kind = |route: &Value| {
            let kind = route["type"].as_str()?;
            matches!(kind, "blackhole" | "unreachable" | "prohibit").then(|| (kind.to_owned(), route["dst"].clone()))
        };
        if let Some((kind, to)) = routes.as_array().into_iter().flatten().find_map(kind) {
            let what = format!("a route of type {kind} is in the way to {name} at {address}");
            let to = to.as_str().unwrap_or_default().to_owned();
            return Some(finding(Severity::Broken, what, format!("ip {family}route delete {kind} {to}")));
        }
        let what = format!("there is no route to {name} at {address}: {why}");
        return Some(finding(Severity::Broken, what, format!("ip {family}route add {address} via GATEWAY")));
    }
    let failed =
        neighbours.as_array().into_iter().flatten().find(|entry| {
            entry["state"].as_array().is_some_and(|states| states.iter().any(|state| *state == *"FAILED"))
        })?;
    let device = failed["dev"].as_str().unwrap_or_default();
    let what = if next == address {
        format!("{name} at {address} is on the link of {device}, and does not answer there")
    } else {
        format!("{next}, the gateway to {name} at {address}, does not answer on the link of {device}")
    };
    Some(finding(Severity::Broken, what, format!("ping -c 1 -I {device} {next}   # is it up, and on this link?")))
}

/// Addresses of this machine's own interfaces that are in a virtual subnet: they are answered here, and nowhere else.
pub fn overlap(addresses: &Value, is_virtual: impl Fn(IpAddr) -> bool, own: &[String]) -> Vec<Finding> {
    let mut found = Vec::new();
    for link in addresses.as_array().into_iter().flatten() {
        let name = link["ifname"].as_str().unwrap_or_default();
        if own.iter().any(|own| own == name) {
            continue;
        }
        for address in link["addr_info"].as_array().into_iter().flatten() {
            let Some(ip) = address["local"].as_str().and_then(|text| text.parse::<IpAddr>().ok()) else { continue };
            if is_virtual(ip) {
                let len = address["prefixlen"].as_u64().unwrap_or_default();
                let what =
                    format!("{ip}, an address of {name}, is in a virtual subnet: this machine is not its only holder");
                found.push(finding(Severity::Broken, what, format!("ip address delete {ip}/{len} dev {name}")));
            }
        }
    }
    found
}

/// A service that this host says it serves and nobody listens for. `at`: an address of its virtual subnet.
pub fn unheard(
    service: &str,
    protocol: &str,
    port: u16,
    is_at: impl Fn(IpAddr) -> bool,
    listeners: &[(String, IpAddr, u16)],
    is_v4: bool,
) -> Option<Finding> {
    let is_heard = listeners.iter().any(|(of, address, at)| {
        let is_any = match address {
            IpAddr::V4(v4) => is_v4 && v4.is_unspecified(),
            IpAddr::V6(v6) => v6.is_unspecified(), // of both families, unless the program says otherwise
        };
        of == protocol && *at == port && (is_any || is_at(*address))
    });
    (!is_heard).then(|| {
        let what = format!("nobody listens for {service}: its connections are refused here");
        let fix =
            format!("start its server, on all addresses or a virtual one; then: ss -lnp --{protocol} sport = {port}");
        finding(Severity::Broken, what, fix)
    })
}

/// An interface among the links.
pub fn link<'a>(links: &'a Value, name: &str) -> Option<&'a Value> {
    links.as_array()?.iter().find(|link| link["ifname"] == *name)
}

fn has_flag(link: &Value, flag: &str) -> bool {
    link["flags"].as_array().is_some_and(|flags| flags.iter().any(|known| *known == *flag))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fixes(found: impl IntoIterator<Item = Finding>) -> Vec<String> {
        found.into_iter().map(|finding| finding.fix).collect()
    }

    #[test]
    fn kernels() {
        assert_eq!(kernel("6.1.0-18-amd64", true, Some("1")), []);
        assert_eq!(kernel("6.12-rc1", true, None), []);
        assert_eq!(kernel("5.15.0", false, Some("0")).len(), 3);
    }

    #[test]
    fn interfaces() {
        let links = json!([
            { "ifname": "a", "flags": ["UP"], "mtu": 1500, "xdp": { "mode": 1 } },
            { "ifname": "b", "flags": ["UP"], "mtu": 1300, "xdp": { "mode": 2 } },
            { "ifname": "c", "flags": [], "mtu": 500 },
        ]);
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        assert_eq!(xdp(&links, &names[..1], true), []);
        assert!(xdp(&links, &names[1..2], false)[0].fix.starts_with("set xdp"), "as configured");
        let severities: Vec<_> = xdp(&links, &names, true).into_iter().map(|finding| finding.severity).collect();
        assert_eq!(severities, [Severity::Slow, Severity::Broken, Severity::Broken, Severity::Broken]);
        assert_eq!(fixes(mtu(&links, &names, 40, true)), ["ip link set b mtu 1500", "ip link set c mtu 1500"]);
        assert_eq!(fixes(mtu(&links, &names, 20, false)), ["ip link set c mtu 1500"]);
    }

    #[test]
    fn a_filter_is_strict_by_the_larger_of_two_sysctls() {
        let table = [(0, 0, false), (1, 0, true), (0, 1, true), (2, 1, false), (1, 2, false)];
        for (all, own, is_strict) in table {
            assert_eq!(reverse_path("eth0", all, own).is_some(), is_strict, "{all} {own}");
        }
    }

    #[test]
    fn rules_that_drop_icmp() {
        let rule = |expressions: Value| {
            json!({ "nftables": [{ "metainfo": {} }, { "rule": { "family": "inet", "table": "t", "chain": "c", "handle": 4,
                     "expr": expressions } }] })
        };
        let of = |left: Value, right: Value, verdict: &str| {
            let verdict = json!({ verdict: null });
            rule(json!([{ "match": { "op": "==", "left": left, "right": right } }, verdict]))
        };
        let kind = json!({ "payload": { "protocol": "icmp", "field": "type" } });
        let protocol = json!({ "meta": { "key": "l4proto" } });
        let fix = ["nft delete rule inet t c handle 4"];
        assert_eq!(fixes(icmp_filter(&of(kind.clone(), json!("echo-reply"), "drop"))), fix);
        assert_eq!(fixes(icmp_filter(&of(protocol.clone(), json!("ipv6-icmp"), "reject"))), fix);
        assert_eq!(fixes(icmp_filter(&of(protocol.clone(), json!({ "set": ["icmp", "udp"] }), "drop"))), fix);
        assert_eq!(icmp_filter(&of(kind.clone(), json!("echo-request"), "drop")), [], "nobody here needs those");
        assert_eq!(icmp_filter(&of(kind, json!("echo-reply"), "accept")), []);
        assert_eq!(icmp_filter(&of(protocol, json!("tcp"), "drop")), []);
        assert_eq!(icmp_filter(&json!({ "nftables": [] })), []);
    }

    #[test]
    fn clocks() {
        assert_eq!(clock(250_000), None);
        assert_eq!(clock(16_000_000).unwrap().severity, Severity::Slow);
    }

    #[test]
    fn ways() {
        let address: IpAddr = "10.1.1.2".parse().unwrap();
        let none = json!([]);
        assert_eq!(way("slr1", address, address, Ok(()), &none, &none), None);
        assert_eq!(
            way("slr1", address, address, Ok(()), &none, &json!([{ "dev": "eth0", "state": ["REACHABLE"] }])),
            None
        );
        let failed = json!([{ "dev": "eth0", "state": ["FAILED"] }]);
        assert!(
            way("slr1", address, address, Ok(()), &none, &failed)
                .unwrap()
                .fix
                .starts_with("ping -c 1 -I eth0 10.1.1.2")
        );
        let route = json!([{ "dst": "10.1.1.2", "gateway": "10.1.11.1", "dev": "eth0" }]);
        let next = gateway(&route).unwrap();
        let silent = way("slr1", address, next, Ok(()), &none, &failed).unwrap();
        assert!(silent.what.starts_with("10.1.11.1, the gateway to slr1 at 10.1.1.2, does not answer"), "{silent:?}");
        assert_eq!(gateway(&json!([{ "via": { "family": "inet6", "host": "fd00::1" } }])), "fd00::1".parse().ok());
        assert_eq!(gateway(&json!([{ "dst": "10.1.1.2", "dev": "eth0" }])), None, "on the link");
        let routes = json!([{ "dst": "default", "gateway": "10.1.11.1" }, { "type": "blackhole", "dst": "10.1.1.2" }]);
        let refused = way("slr1", address, address, Err("Invalid argument"), &routes, &none).unwrap();
        assert_eq!(refused.fix, "ip route delete blackhole 10.1.1.2");
        let nowhere = way("slr1", address, address, Err("Network is unreachable"), &none, &none).unwrap();
        assert!(nowhere.what.ends_with("Network is unreachable"), "{nowhere:?}");
    }

    #[test]
    fn who_listens() {
        let listeners =
            [("tcp".to_owned(), "0.0.0.0".parse().unwrap(), 80), ("udp".to_owned(), "::".parse().unwrap(), 7)];
        let at = |ip: IpAddr| ip == "192.0.2.9".parse::<IpAddr>().unwrap();
        assert_eq!(unheard("tcp/80", "tcp", 80, at, &listeners, true), None);
        assert_eq!(unheard("udp/7", "udp", 7, at, &listeners, true), None, "one socket for both families");
        assert!(unheard("tcp/80", "tcp", 80, at, &listeners, false).is_some(), "of IPv6");
        assert!(unheard("udp/80", "udp", 80, at, &listeners, true).is_some());
        let one = [("tcp".to_owned(), "192.0.2.9".parse().unwrap(), 80)];
        assert_eq!(unheard("tcp/80", "tcp", 80, at, &one, true), None);
    }

    #[test]
    fn addresses_in_virtual_subnets() {
        let addresses = json!([
            { "ifname": "slr-0", "addr_info": [{ "local": "192.0.2.1", "prefixlen": 32 }] },
            { "ifname": "eth0", "addr_info": [{ "local": "10.0.0.1", "prefixlen": 24 }, { "local": "192.0.2.7", "prefixlen": 32 }] },
        ]);
        let is_virtual = |ip: IpAddr| ip.to_string().starts_with("192.0.2.");
        let found = overlap(&addresses, is_virtual, &["slr-0".to_owned()]);
        assert_eq!(fixes(found), ["ip address delete 192.0.2.7/32 dev eth0"]);
    }

    #[test]
    fn capabilities_that_are_lacking() {
        let needed = [(13, "CAP_NET_RAW", "echoes"), (39, "CAP_BPF", "programs")];
        assert_eq!(capabilities(1 << 13 | 1 << 39, &needed, "hostd"), []);
        assert_eq!(capabilities(1 << 39, &needed, "hostd").len(), 1);
        assert_eq!(capabilities(1 << 13 | 1 << 21, &needed, "hostd"), [], "CAP_SYS_ADMIN has it in it");
        assert!(bounds(1 << 39, &needed)[0].what.contains("can have CAP_NET_RAW"));
        assert!(pins("/var/x", false).is_some() && pins("/sys/fs/bpf/x", true).is_none());
    }
}
