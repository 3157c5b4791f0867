//! Starting a topology's services: files, process, and the wait until its ports are open.

use super::{Lab, Process};
use crate::topology::{Node, Service, shipped_file};
use crate::wait::holds_within;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const READY_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts everything first and waits afterwards, so that services start side by side.
pub(super) fn start_all(lab: &Lab, check_cancelled: impl Fn() -> Result<()>) -> Result<()> {
    let mut started = Vec::new();
    for node in &lab.topology().nodes {
        for service in lab.topology().services_of(node) {
            check_cancelled()?;
            let process = start(lab, node, service)
                .with_context(|| format!("start service {} on {}", service.name, node.name))?;
            started.push((node, service, process));
        }
    }
    for (node, service, process) in &started {
        check_cancelled()?;
        wait_ready(node, service, process)?;
    }
    Ok(())
}

fn start(lab: &Lab, node: &Node, service: &Service) -> Result<Process> {
    let dir = lab.service_dir(&node.name, &service.name);
    let fill = |text: &str| {
        let text = text.replace("{dir}", &dir.display().to_string());
        text.replace("{node}", &node.name).replace("{run}", lab.run())
    };
    make_dir(&dir)?;
    for directory in &service.directories {
        make_dir(&dir.join(fill(directory)))?;
    }
    let filled = service.files.iter().map(|(path, content)| (path, fill(content)));
    let shipped = service.shipped.iter().filter_map(|(path, name)| Some((path, shipped_file(name)?.to_owned())));
    for (path, content) in filled.chain(shipped) {
        let path = dir.join(path);
        path.parent().map_or(Ok(()), make_dir)?;
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
    }
    for (path, size) in &service.sparse {
        let path = dir.join(path);
        let bytes = parse_size(size).with_context(|| format!("size {size:?}"))?;
        let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
        file.set_len(bytes).with_context(|| format!("make {} {bytes} bytes long", path.display()))?;
    }
    let words: Vec<String> = service.command.iter().map(|word| fill(word)).collect();
    let (program, arguments) = words.split_first().context("the command is empty")?;
    let mut command = Command::new(program);
    command.args(arguments);
    lab.spawn(&node.name, &service.name, command)
}

fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))
}

fn wait_ready(node: &Node, service: &Service, process: &Process) -> Result<()> {
    for listen in &service.listens {
        let (table, port) = parse_listen(listen).with_context(|| format!("listens {listen:?}"))?;
        let is_open = || port_is_open(process.pid(), table, port);
        let ready = holds_within(READY_TIMEOUT, || is_open() || !process.is_alive()) && is_open();
        if !ready {
            let (service, node) = (&service.name, &node.name);
            bail!("service {service} on {node} does not listen on {listen}; its log ends: {}", process.log_tail());
        }
    }
    Ok(())
}

/// Looks at the socket table of the process's network namespace: no connection is made that the service would log.
fn port_is_open(pid: u32, table: &str, port: u16) -> bool {
    const TCP_LISTEN: &str = "0A";
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/net/{table}")) else { return false };
    text.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = fields.get(1).and_then(|local| local.rsplit_once(':'));
        let same_port = local.is_some_and(|(_, hex)| u16::from_str_radix(hex, 16) == Ok(port));
        same_port && (table.starts_with("udp") || fields.get(3) == Some(&TCP_LISTEN))
    })
}

/// `"tcp4:80"` as the name of a table in `/proc/PID/net` and a port; tcp4, tcp6, udp4, udp6.
#[must_use]
pub fn parse_listen(text: &str) -> Option<(&'static str, u16)> {
    let (kind, port) = text.split_once(':')?;
    let table = match kind {
        "tcp4" => "tcp",
        "tcp6" => "tcp6",
        "udp4" => "udp",
        "udp6" => "udp6",
        _ => return None,
    };
    port.parse().ok().filter(|port| *port != 0).map(|port| (table, port))
}

/// `"100M"` in bytes; K, M and G are powers of 1000, as everywhere in networking.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(['K', 'M', 'G']);
    let factor = match &text[digits.len()..] {
        "" => 1,
        "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_listening_ports_are_read_or_refused() {
        assert_eq!(parse_size("100M"), Some(100_000_000));
        assert_eq!(parse_size("7"), Some(7));
        assert_eq!([parse_size("M"), parse_size("1MM"), parse_size("1 M"), parse_size("")], [None; 4]);
        assert_eq!(parse_listen("tcp4:80"), Some(("tcp", 80)));
        assert_eq!(parse_listen("udp6:7"), Some(("udp6", 7)));
        assert_eq!(["tcp:80", "tcp4", "tcp4:0", "udp4:x"].map(parse_listen), [None; 4]);
    }
}
