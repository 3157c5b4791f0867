//! From packages to served requests: a fresh Debian gets the .deb files, and both daemons run there.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use slr_testkit::lab::Process;
use slr_testkit::{holds_within, require_root};
use xtask::pair::{HOSTS, Kind, Pair, PairOptions, SLRS, VIRTUAL};
use xtask::site::program;
use xtask::traffic;

const SOON: Duration = Duration::from_secs(30);
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Runs a script; it has to succeed.
fn sh(script: &str) -> String {
    let output = Command::new("bash").args(["-e", "-u", "-o", "pipefail", "-c", script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A Debian of the same release as this machine's, with nothing but what packages of Debian's own need, and then ours.
fn install(folder: &Path) -> String {
    let root = folder.join("root").display().to_string();
    let packages = folder.join("packages").display().to_string();
    let build = program("hostd").unwrap().parent().unwrap().parent().unwrap().display().to_string();
    sh(&format!("CARGO_TARGET_DIR={build} {REPOSITORY}/tools/package --no-build {packages}"));
    sh(&format!(
        ". /etc/os-release; mmdebstrap --quiet --variant=essential --include=libelf1,zlib1g,iproute2 $VERSION_CODENAME {root}
         cp {packages}/*.deb {root}/tmp; chroot {root} sh -c 'dpkg --install /tmp/*.deb'"
    ));
    root
}

/// A node's daemon, out of the fresh Debian; it sees the lab's folder, and the kernel.
fn start(pair: &Pair, node: &str, root: &str) -> Process {
    let name = if SLRS.contains(&node) { "slr-router" } else { "hostd" };
    let (lab, config) = (pair.lab().dir().display(), pair.config_path(node));
    let script = format!(
        "mount --rbind /sys {root}/sys; mount --rbind /proc {root}/proc; mkdir -p {root}{lab}; mount --bind {lab} {root}{lab}
         exec chroot {root} /usr/sbin/{name} run --config {}",
        config.display()
    );
    let mut command = pair.lab().command(node, "unshare").unwrap();
    command.args(["--mount", "sh", "-e", "-c", &script]);
    pair.lab().spawn(node, "packaged", command).unwrap()
}

#[test]
fn a_fresh_debian_with_the_packages_serves_requests() {
    require_root();
    let folder = tempfile::tempdir().unwrap();
    let root = install(folder.path());
    for name in ["slr-router", "hostd", "slr-ca", "probe"] {
        let version = sh(&format!("chroot {root} {name} --version"));
        assert_eq!(version.trim(), format!("{name} {}", env!("CARGO_PKG_VERSION")));
        assert!(Path::new(&format!("{root}/usr/share/man/man8/{name}.8.gz")).exists(), "a page of {name}");
        assert!(Path::new(&format!("{root}/usr/share/bash-completion/completions/{name}")).exists(), "{name}");
    }
    // What an operator has changed stays when a package comes again.
    sh(&format!("echo '# ours' >> {root}/etc/hostd/hostd.toml; chroot {root} sh -c 'dpkg --install /tmp/hostd_*.deb'"));
    assert!(sh(&format!("tail --lines=1 {root}/etc/hostd/hostd.toml")).contains("# ours"));
    let units =
        sh(&format!("grep --no-filename ExecStart= {root}/usr/lib/systemd/system/{{hostd,slr-router*}}.service"));
    assert_eq!(units.lines().count(), 3, "{units}");
    assert!(units.lines().all(|line| line.starts_with("ExecStart=/usr/sbin/")), "{units}");

    let pair = Pair::up("packages", PairOptions::new(Kind::Spare)).unwrap();
    let nodes = || ["slr1"].into_iter().chain(HOSTS);
    for node in nodes() {
        pair.daemon(node).unwrap().kill().unwrap();
        let unload = program(if node == "slr1" { "slr-router" } else { "hostd" }).unwrap();
        pair.lab()
            .sh(node, &format!("{} unload --config {}", unload.display(), pair.config_path(node).display()))
            .unwrap();
    }
    let packaged: Vec<Process> = nodes().map(|node| start(&pair, node, &root)).collect();
    let serves = || pair.is_served("slr1") && pair.is_routed(&["slr1"]);
    assert!(holds_within(SOON, serves), "{} {}", packaged[0].log_tail(), pair.describe());
    for target in VIRTUAL {
        let report =
            traffic::run(pair.lab(), "c1", &format!("--target {target} --flow http=10 --requests 300")).unwrap();
        report.assert_clean(target);
        assert_eq!(report.total("completed"), 300);
    }
    assert!(packaged.iter().all(Process::is_alive));
    packaged.iter().for_each(|process| process.kill().unwrap());
}
