//! What the lab's own tests share.

#![allow(dead_code, reason = "each test program uses a part of it")]

use slr_testkit::lab::{BPFFS, Lab};
use slr_testkit::topology::Topology;
use std::path::Path;

/// Two nodes and one link with the given extra keys.
pub fn two_nodes(link_keys: &str) -> Topology {
    let text = format!(
        r#"
        name = "two"
        [[node]]
        name = "a"
        [[node]]
        name = "b"
        [[link]]
        a = {{ node = "a", addresses = ["10.9.0.1/24", "fd09::1/64"] }}
        b = {{ node = "b", addresses = ["10.9.0.2/24", "fd09::2/64"] }}
        {link_keys}
        "#
    );
    Topology::parse("two.toml", &text).unwrap()
}

/// What `ping` says.
#[derive(Debug)]
pub struct Pings {
    pub sent: u32,
    pub received: u32,
    pub rtt_ms_min: f64,
    pub text: String,
}

/// Pings from a node, with further options for `ping`.
pub fn ping(lab: &Lab, node: &str, options: &str) -> Pings {
    let words: Vec<&str> = ["ping", "-q"].into_iter().chain(options.split(' ')).collect();
    let output = lab.exec(node, &words).unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let number_before = |what: &str| {
        let before = text.split(what).next().filter(|before| before.len() < text.len())?;
        before.rsplit([' ', ',', '\n']).find(|word| !word.is_empty())?.parse().ok()
    };
    Pings {
        sent: number_before(" packets transmitted").unwrap_or(0),
        received: number_before(" received").unwrap_or(0),
        rtt_ms_min: text
            .split("mdev = ")
            .nth(1)
            .and_then(|rest| rest.split('/').next()?.parse().ok())
            .unwrap_or(f64::NAN),
        text,
    }
}

/// Everything of a run that can be found on the machine: names, directories, processes.
pub fn residue(run: &str) -> Vec<String> {
    let mut found = Vec::new();
    let names = |dir: &str| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.file_name());
    let ours = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(&format!("{run}-"));
    found.extend(names("/run/netns").filter(|name| ours(name)).map(|name| format!("netns {}", name.to_string_lossy())));
    for dir in [format!("/run/slr-lab/{run}"), format!("{BPFFS}/slr-lab/{run}")] {
        found.extend(Path::new(&dir).exists().then_some(dir));
    }
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let cgroups = mounts.lines().filter(|line| line.contains(" cgroup2 ")).filter_map(|line| line.split(' ').nth(1));
    let cgroups = cgroups.map(|mount| format!("{mount}/slr-lab/{run}"));
    found.extend(cgroups.filter(|dir| Path::new(dir).exists()));
    let marker = format!("SLR_LAB_RUN={run}\0");
    for pid in names("/proc").filter(|name| name.to_string_lossy().parse::<u32>().is_ok()) {
        let pid = pid.to_string_lossy().into_owned();
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        // nginx writes its title over its environment; what leaves its cgroup keeps the environment.
        let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with('Z')) {
            continue; // ended; only its parent has not asked yet
        }
        let in_cgroup = cgroup.contains(&format!("/slr-lab/{run}/"));
        if in_cgroup || String::from_utf8_lossy(&environment).contains(&marker) {
            found.push(format!("process {pid}"));
        }
    }
    found
}
