//! What is read: the kernel's files, and what `ip`, `tc`, `ethtool`, `nft` and `ss` know. In the network namespace of the caller.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// RFC 863.
const DISCARD: u16 = 9;
/// The kernel asks three times, a second apart.
const RESOLVED_WITHIN: Duration = Duration::from_secs(5);

/// A sysctl by its path below `/proc/sys`; `None`: this kernel does not have it.
pub fn sysctl(path: &str) -> Result<Option<String>> {
    match fs::read_to_string(Path::new("/proc/sys").join(path)) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read the sysctl {path}")),
    }
}

/// What a program prints; it has to succeed.
fn output(program: &str, words: &[&str]) -> Result<String> {
    let done = Command::new(program).args(words).output().with_context(|| format!("{program} cannot be run"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{program} {}: {}", words.join(" "), said.trim());
    String::from_utf8(done.stdout).with_context(|| format!("what {program} prints"))
}

fn json(program: &str, words: &[&str]) -> Result<Value> {
    let text = output(program, words)?;
    if text.trim().is_empty() {
        return Ok(Value::Array(Vec::new()));
    }
    serde_json::from_str(&text).with_context(|| format!("what {program} {} prints", words.join(" ")))
}

/// Interfaces, as `ip -json -details link` has them.
pub fn links() -> Result<Value> {
    json("ip", &["-json", "-details", "link", "show"])
}

/// Addresses, as `ip -json address` has them.
pub fn addresses() -> Result<Value> {
    json("ip", &["-json", "address", "show"])
}

/// The route to an address; an error says that there is none, in the kernel's words.
pub fn route_to(address: IpAddr) -> Result<Value> {
    json("ip", &["-json", "route", "get", &address.to_string()])
}

/// Routes that an address is in, whatever they do with it.
pub fn routes_of(address: IpAddr) -> Result<Value> {
    let family = if address.is_ipv4() { "-4" } else { "-6" };
    json("ip", &["-json", family, "route", "show", "match", &address.to_string()])
}

/// The rules of policy routing, of an address's family.
pub fn routing_rules(address: IpAddr) -> Result<Value> {
    let family = if address.is_ipv4() { "-4" } else { "-6" };
    json("ip", &["-json", family, "rule", "show"])
}

/// The default routes of both families.
pub fn default_routes() -> Result<[Value; 2]> {
    Ok([
        json("ip", &["-json", "-4", "route", "show", "default"])?,
        json("ip", &["-json", "-6", "route", "show", "default"])?,
    ])
}

/// The tc filters that what leaves by an interface passes.
pub fn egress_filters(interface: &str) -> Result<Value> {
    json("tc", &["-json", "filter", "show", "dev", interface, "egress"])
}

/// The offloads of an interface, as `ethtool --json -k` has them. An error where there is no such program.
pub fn features(interface: &str) -> Result<Value> {
    json("ethtool", &["--json", "-k", interface])
}

/// The neighbour entries of `next`, whom datagrams to `address` are handed to first. Where the kernel has not asked for it lately, it is made
/// to, by an empty datagram to the discard port, and the outcome waited for.
pub fn neighbours(next: IpAddr, address: IpAddr) -> Result<Value> {
    let look = || json("ip", &["-json", "neigh", "show", &next.to_string()]);
    let has = |entries: &Value, state: &str| {
        let mut states =
            entries.as_array().into_iter().flatten().filter_map(|entry| entry["state"].as_array()).flatten();
        states.any(|known| *known == *state)
    };
    let mut entries = look()?;
    if entries.as_array().is_none_or(Vec::is_empty) || has(&entries, "FAILED") {
        let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        // Refused at once, if at all, where there is no way: then the route says so.
        let _ = UdpSocket::bind((any, 0)).and_then(|socket| socket.send_to(&[], (address, DISCARD)));
        let begun = Instant::now();
        entries = look()?;
        while has(&entries, "INCOMPLETE") && begun.elapsed() < RESOLVED_WITHIN {
            std::thread::sleep(Duration::from_millis(50));
            entries = look()?;
        }
    }
    Ok(entries)
}

/// The rules of nftables. An error where there is no such program.
pub fn firewall() -> Result<Value> {
    json("nft", &["--json", "list", "ruleset"])
}

/// Listening sockets of TCP and unconnected ones of UDP: protocol, address, port.
pub fn listeners() -> Result<Vec<(String, IpAddr, u16)>> {
    Ok(output("ss", &["-H", "-n", "-l", "-t", "-u"])?.lines().filter_map(listener).collect())
}

/// A line such as `tcp LISTEN 0 511 0.0.0.0:80 0.0.0.0:*`.
fn listener(line: &str) -> Option<(String, IpAddr, u16)> {
    let mut words = line.split_whitespace();
    let (protocol, local) = (words.next()?, words.nth(3)?);
    let (address, port) = local.rsplit_once(':')?;
    let address = address.split_once('%').map_or(address, |(address, _)| address);
    let address = match address.trim_matches(['[', ']']) {
        "*" => "::",
        address => address,
    };
    Some((protocol.to_owned(), address.parse().ok()?, port.parse().ok()?))
}

/// The effective capabilities of a process, a bit each (linux/capability.h).
pub fn capabilities(pid: u32) -> Result<u64> {
    capability_set(&pid.to_string(), "CapEff:")
}

fn capability_set(process: &str, set: &str) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(set)).context("it has no capabilities")?;
    u64::from_str_radix(line.trim(), 16).context("its capabilities")
}

/// The capabilities that this process and whatever it starts can have at most.
pub fn bounding_capabilities() -> Result<u64> {
    capability_set("self", "CapBnd:")
}

/// The process that answers at an admin socket.
pub fn process_at(socket: &Path) -> Result<u32> {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    let stream = std::os::unix::net::UnixStream::connect(socket)
        .with_context(|| format!("nobody answers at {}", socket.display()))?;
    let peer = getsockopt(&stream, PeerCredentials).context("who answers there")?;
    u32::try_from(peer.pid()).context("who answers there")
}

/// How far the clock may be off, in microseconds, by what last set it (adjtimex(2)): grows by 500 a second while nothing does, up to 16 seconds.
pub fn clock_error_us() -> Result<i64> {
    // SAFETY: all bytes zero are a `timex`: integers, and no question to change anything.
    #[expect(unsafe_code, reason = "no wrapper has it")]
    let (state, time) = unsafe {
        let mut time: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut time), time)
    };
    ensure!(state >= 0, "adjtimex: {}", std::io::Error::last_os_error());
    Ok(time.maxerror)
}

/// Whether a folder, or the nearest one above that exists, is on a bpf file system.
pub fn is_bpf_file_system(path: &Path) -> Result<bool> {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let found = nix::sys::statfs::statfs(there).with_context(|| format!("look at {}", there.display()))?;
    Ok(found.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC)
}

/// The release of the kernel, such as 6.1.0-18-amd64.
pub fn kernel_release() -> Result<String> {
    Ok(sysctl("kernel/osrelease")?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_of_both_families() {
        let table = [
            ("tcp   LISTEN 0      511          0.0.0.0:80        0.0.0.0:*", Some(("tcp", "0.0.0.0", 80))),
            ("tcp   LISTEN 0      511             [::]:8080          [::]:*", Some(("tcp", "::", 8080))),
            ("udp   UNCONN 0      0                  *:7                *:*", Some(("udp", "::", 7))),
            ("udp   UNCONN 0      0      127.0.0.53%lo:53        0.0.0.0:*", Some(("udp", "127.0.0.53", 53))),
            ("", None),
        ];
        for (line, expected) in table {
            let expected = expected.map(|(protocol, ip, port)| (protocol.to_owned(), ip.parse().unwrap(), port));
            assert_eq!(listener(line), expected, "{line}");
        }
    }
}
