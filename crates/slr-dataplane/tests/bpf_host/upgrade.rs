//! Pins: what a restart takes over, and what another ABI version does, there and back. Slow the first time: it builds the
//! crate once more, with another layout of its tables.

use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use slr_dataplane::abi;
use slr_dataplane::host::{Host, HostAdoption, HostOptions, XdpMode};
use slr_testkit::netns::NetNs;

use crate::bed::desired;

const INTERFACE: &str = "va";
const BPFFS: &str = "/sys/fs/bpf";
/// A client in `udp_peers`: owner 7, 203.0.113.7:1234, and its virtual address.
const CLIENT: &str = "07 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 ff ff cb 00 71 07 04 d2 00 00 00 00 00 00";
const VIRTUAL: &str = "00 00 00 00 00 00 00 00 00 00 ff ff c0 00 02 0a";

/// A cgroup that goes with the value.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let root = mounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            (fields[2] == "cgroup2").then(|| fields[1].to_owned())
        });
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("slr-bpf-host-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(&root.expect("cgroup v2 is mounted")).join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Runs a test in a network namespace with one interface, with a BPF file system that only it sees.
fn with_pins(test: impl FnOnce(&NetNs, &Path, &Path) + Send) {
    slr_testkit::require_root();
    let ended = thread::scope(|scope| {
        let run = || {
            unshare(CloneFlags::CLONE_NEWNS).expect("root can make a mount namespace");
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("mounts can be made private");
            mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), none).expect("a BPF file system can be mounted");
            let cgroup = Cgroup::new();
            let ns = NetNs::new().unwrap();
            ns.ip_batch(&format!(
                "link add {INTERFACE} type veth peer name vb\nlink set {INTERFACE} up\nlink set vb up"
            ))
            .unwrap();
            ns.with(|| test(&ns, &Path::new(BPFFS).join("hostd"), &cgroup.0));
        };
        scope.spawn(run).join()
    });
    if let Err(panic) = ended {
        resume_unwind(panic);
    }
}

/// A daemon's start and end.
fn start(pin_dir: &Path, cgroup: &Path) -> HostAdoption {
    let (mut host, adoption) = Host::load(&HostOptions { pin_dir: Some(pin_dir.to_owned()) }).unwrap();
    host.apply(&desired()).unwrap();
    host.attach_cgroup(cgroup).unwrap();
    host.attach(INTERFACE, XdpMode::Auto).unwrap();
    host.settle().unwrap();
    adoption
}

fn output(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn words(program: &str, words: &str) -> String {
    let mut command = Command::new(program);
    command.args(words.split_whitespace());
    output(command)
}

/// Ids of the XDP program, the egress program and those on the cgroup.
fn programs(cgroup: &Path) -> Vec<String> {
    let link = words("ip", &format!("-details link show {INTERFACE}"));
    let filter = words("tc", &format!("filter show dev {INTERFACE} egress"));
    let after = |text: &str, word: &str| text.split(word).nth(1)?.split_whitespace().next().map(str::to_owned);
    let mut ids = vec![after(&link, "prog/xdp id ").expect("XDP"), after(&filter, " id ").expect("egress")];
    let listed = words("bpftool", &format!("cgroup show {}", cgroup.display()));
    ids.extend(listed.lines().skip(1).filter_map(|line| line.split_whitespace().next().map(str::to_owned)));
    ids
}

fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn build_next_version(copy_to: &Path) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let target = this.ancestors().nth(3).expect("TARGET/PROFILE/deps/NAME");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--quiet", "--package", "slr-dataplane", "--example", "next_host"]);
    command.args(["--features", "abi-next", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    command.arg("--target-dir").arg(target);
    output(command);
    let copy = copy_to.join("next_host");
    fs::copy(target.join("release/examples/next_host"), &copy).unwrap();
    copy
}

#[test]
fn a_restart_swaps_every_program_in_place() {
    with_pins(|_, pin_dir, cgroup| {
        assert_eq!(start(pin_dir, cgroup), HostAdoption::Fresh);
        let (first, pins) = (programs(cgroup), entries(&pin_dir.join(format!("v{}", abi::VERSION))));
        assert_eq!(start(pin_dir, cgroup), HostAdoption::SameVersion);
        let second = programs(cgroup);
        assert_eq!((first.len(), second.len()), (7, 7), "one of each, not two");
        assert!(first.iter().all(|id| !second.contains(id)), "{first:?} {second:?}");
        assert_eq!(entries(&pin_dir.join(format!("v{}", abi::VERSION))), pins);

        Host::unload(pin_dir).unwrap();
        assert!(!pin_dir.exists());
        assert!(!words("ip", &format!("-details link show {INTERFACE}")).contains("prog/xdp"));
        assert!(!words("tc", &format!("qdisc show dev {INTERFACE}")).contains("clsact"));
        assert_eq!(words("bpftool", &format!("cgroup show {}", cgroup.display())).lines().count(), 0);
    });
}

#[test]
fn a_clsact_of_somebody_else_stays_when_we_go() {
    with_pins(|_, pin_dir, cgroup| {
        words("tc", &format!("qdisc add dev {INTERFACE} clsact"));
        start(pin_dir, cgroup);
        Host::unload(pin_dir).unwrap();
        assert!(words("tc", &format!("qdisc show dev {INTERFACE}")).contains("clsact"));
        assert_eq!(words("tc", &format!("filter show dev {INTERFACE} egress")).trim(), "");
    });
}

#[test]
fn the_links_move_when_the_configuration_names_another_cgroup() {
    with_pins(|_, pin_dir, cgroup| {
        start(pin_dir, cgroup);
        let inner = cgroup.join("inner");
        fs::create_dir(&inner).unwrap();
        start(pin_dir, &inner);
        let (outer, inside) = (words("bpftool", &format!("cgroup show {}", cgroup.display())), programs(&inner));
        fs::remove_dir(&inner).unwrap();
        assert_eq!((outer.lines().count(), inside.len()), (0, 7));
    });
}

#[test]
fn another_version_takes_over_and_gives_back() {
    let folder = tempfile::tempdir().unwrap();
    let next = build_next_version(folder.path());
    with_pins(|ns, pin_dir, cgroup| {
        assert_eq!(start(pin_dir, cgroup), HostAdoption::Fresh);
        let (this, other) = (abi::VERSION, 2);
        let table = |version: u32| pin_dir.join(format!("v{version}/udp_peers"));
        let path = table(this);
        words("bpftool", &format!("map update pinned {} key hex {CLIENT} value hex {VIRTUAL}", path.display()));
        let first = programs(cgroup);

        let mut command = ns.command(&next);
        command.arg(pin_dir).arg(INTERFACE).arg(cgroup);
        assert_eq!(output(command).trim(), format!("version {other} Upgraded {{ from: {this} }}"));
        assert_eq!(entries(pin_dir), [format!("v{other}")]);
        let second = programs(cgroup);
        assert_eq!(second.len(), 7);
        assert!(first.iter().all(|id| !second.contains(id)), "{first:?} {second:?}");
        let copied = words("bpftool", &format!("map lookup pinned {} key hex {CLIENT}", table(other).display()));
        assert!(copied.contains("value"), "the UDP client is known to the new version: {copied}");

        assert_eq!(start(pin_dir, cgroup), HostAdoption::Upgraded { from: other });
        assert_eq!(entries(pin_dir), [format!("v{this}")]);
        Host::unload(pin_dir).unwrap();
        assert!(!words("tc", &format!("qdisc show dev {INTERFACE}")).contains("clsact"), "whose it was is still known");
    });
}
