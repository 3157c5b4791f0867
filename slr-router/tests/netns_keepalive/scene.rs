//! A router's node and a host's, hostd on that, and an emulated link between them. All goes with the scene.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use slr_testkit::eventually;
use slr_testkit::lab::{Lab, Process, ScopedLab, Shaping};
use slr_testkit::topology::Topology;
use tokio::runtime::Runtime;

use crate::keepalive::{Addresses, Change, Keepalives, Path, Report, Settings, Target};

const TOPOLOGY: &str = r#"
name = "keepalive"
[[node]]
name = "r"
[[node]]
name = "h"
routes = ["default via 10.1.11.1", "default via fd00:1:11::1"]
[[link]]
a = { node = "r", addresses = ["10.1.11.1/24", "fd00:1:11::1/64"] }
b = { node = "h", addresses = ["10.1.11.2/24", "fd00:1:11::2/64"] }
"#;

pub const HOST4: &str = "10.1.11.2";
pub const HOST6: &str = "fd00:1:11::2";
pub const ROUTER4: &str = "10.1.11.1";
pub const ROUTER6: &str = "fd00:1:11::1";
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Scene {
    lab: ScopedLab,
    hostd: Process,
    folder: tempfile::TempDir,
    runtime: Runtime,
}

impl Scene {
    /// The lab, and hostd answering.
    pub fn new() -> Self {
        slr_testkit::require_root();
        let lab = Lab::scoped(&Topology::parse("keepalive", TOPOLOGY).unwrap(), "keepalive").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let config = folder.path().join("hostd.toml");
        let socket = folder.path().join("admin.sock");
        let text = format!(
            "[host]\nname = \"h\"\n[tunnel]\naddresses = [\"{HOST4}\", \"{HOST6}\"]\n\
             [dataplane]\ninterfaces = [\"to-r\"]\npin_path = {:?}\ncgroup = {:?}\n[admin]\nsocket = {socket:?}\n\
             [[router]]\nname = \"r\"\nprefixes = [\"10.1.255.0/24\", \"fd00:1:ff::/64\"]\n\
             [[subnet]]\nname = \"web\"\nprefix = \"192.0.2.0/24\"\n",
            lab.pin_dir("h").join("hostd"),
            lab.cgroup_dir("h").unwrap(),
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(hostd_program());
        command.arg("run").arg("--config").arg(&config);
        let hostd = lab.spawn("h", "hostd", command).unwrap();
        eventually(PATIENCE, "hostd to answer", || {
            assert!(hostd.is_alive(), "hostd ended:\n{}", hostd.log_tail());
            let mut ask = lab.command("h", hostd_program()).unwrap();
            ask.args(["show", "subnets", "--socket"]).arg(&socket);
            ask.output().unwrap().status.success()
        });
        Self { lab, hostd, folder, runtime }
    }

    pub fn hostd(&self) -> &Process {
        &self.hostd
    }

    pub fn shape(&self, shaping: Shaping) {
        self.lab.shape("r", "h", shaping).unwrap();
    }

    /// Keepalives at the router's node, answered at these addresses.
    pub fn keepalives(&self, settings: Settings, tunnel_addresses: &[&str]) -> Keepalives {
        let addresses = Addresses {
            sources: ["10.1.255.0/24", "fd00:1:ff::/64"].map(|net| net.parse().unwrap()).to_vec(),
            tunnel_addresses: tunnel_addresses.iter().map(|address| address.parse().unwrap()).collect(),
        };
        self.lab.with_netns("r", || Keepalives::start(settings, addresses)).unwrap().unwrap()
    }

    /// The next change; fails if none comes.
    pub fn change(&self, keepalives: &mut Keepalives) -> Change {
        let next = async { tokio::time::timeout(PATIENCE, keepalives.next()).await };
        self.runtime.block_on(next).expect("a change in time").unwrap()
    }

    /// No change by now?
    pub fn is_quiet(&self, keepalives: &mut Keepalives) -> bool {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = keepalives.next() => false,
                () = std::future::ready(()) => true,
            }
        })
    }

    /// Changes until this many targets are in this state, doubts apart; how long that took.
    pub fn until_all(&self, keepalives: &mut Keepalives, path: Path, targets: usize) -> Duration {
        let start = Instant::now();
        let mut so = BTreeSet::new();
        while so.len() < targets {
            let change = self.change(keepalives);
            if !change.is_doubted {
                assert_eq!(change.path, path, "{change:?}");
                so.insert((change.name, change.address));
            }
        }
        start.elapsed()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("hostd, configured in {}:\n{}", self.folder.path().display(), self.hostd.log_tail());
        }
    }
}

/// The host at its address, or under another name.
pub fn target(name: &str, address: &str) -> Target {
    let other = if address == HOST4 { HOST6 } else { HOST4 };
    let parse = |address: &str| address.parse().unwrap();
    Target { name: name.parse().unwrap(), address: parse(address), other: Some(parse(other)) }
}

/// Waits until `count` more probes have met their fate; returns the reports from before and after.
pub fn after_probes(keepalives: &Keepalives, count: u64) -> [Report; 2] {
    let judged = |report: &Report| report.counts.answered + report.counts.unanswered;
    let before = keepalives.report();
    eventually(PATIENCE * 3, "probes to be judged", || judged(&keepalives.report()) >= judged(&before) + count);
    [(*before).clone(), (*keepalives.report()).clone()]
}

/// Time that the keepalive thread of this process has had on a core. The kernel's figure in nanoseconds, which counts
/// what the network stack does in the thread's name.
pub fn thread_cpu() -> Duration {
    let mut total = Duration::ZERO;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let read = |file: &str| std::fs::read_to_string(task.as_ref().unwrap().path().join(file)).unwrap_or_default();
        if read("comm").trim() == "keepalives" {
            let nanoseconds = read("schedstat").split(' ').next().unwrap().parse().unwrap();
            total += Duration::from_nanos(nanoseconds);
        }
    }
    total
}

/// `hostd`, built beside this test.
fn hostd_program() -> PathBuf {
    let me = std::env::current_exe().unwrap();
    let beside = me.ancestors().skip(1).take(2).map(|folder| folder.join("hostd")).find(|path| path.is_file());
    beside.expect("hostd beside this test: `cargo build --release --workspace` builds it")
}
