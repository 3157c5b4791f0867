//! From packages to served requests: a fresh Debian gets the .deb files, and both daemons run there; and the operator's guide, command by
//! command, in two of them.

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

/// The packages, in a folder of their own.
fn packages(folder: &Path) -> String {
    let packages = folder.join("packages").display().to_string();
    let build = program("hostd").unwrap().parent().unwrap().parent().unwrap().display().to_string();
    sh(&format!("CARGO_TARGET_DIR={build} {REPOSITORY}/tools/package --no-build {packages}"));
    packages
}

/// A Debian of the same release as this machine's, with nothing but what packages of Debian's own need.
fn debian(root: &str) {
    sh(&format!(
        ". /etc/os-release
         mmdebstrap --quiet --variant=essential --include=libelf1,zlib1g,iproute2 $VERSION_CODENAME {root}"
    ));
}

/// Another one, from the first.
fn copy(debian: &str, name: &str) -> String {
    let root = Path::new(debian).with_file_name(name).display().to_string();
    sh(&format!("cp -a {debian} {root}"));
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

/// What is made once serves both.
#[test]
fn fresh_debians_serve_requests_from_the_packages_and_as_the_guide_has_it() {
    require_root();
    let folder = tempfile::tempdir().unwrap();
    let packages = packages(folder.path());
    let debian = folder.path().join("debian").display().to_string();
    self::debian(&debian);
    the_packages_serve(&debian, &packages);
    the_guides_commands_lead_from_dpkg_to_a_served_request(&debian, &packages);
}

fn the_packages_serve(debian: &str, packages: &str) {
    let root = copy(debian, "packaged");
    sh(&format!("cp {packages}/*.deb {root}/tmp; chroot {root} sh -c 'dpkg --install /tmp/*.deb'"));
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

/// A block of the guide: where it belongs, and its lines.
#[derive(Debug)]
enum Block {
    /// Commands on a machine.
    Commands(String, Vec<String>),
    /// A file on a machine: its path and what it holds.
    File(String, String, String),
}

/// The blocks of docs/operating.md that a comment before them gives to a machine.
fn guide() -> Vec<Block> {
    let text = std::fs::read_to_string(format!("{REPOSITORY}/docs/operating.md")).unwrap();
    let mut blocks = Vec::new();
    for part in text.split("<!-- ").skip(1) {
        let (comment, rest) = part.split_once(" -->\n```").unwrap_or_else(|| panic!("a block follows: {part}"));
        let (_, rest) = rest.split_once('\n').unwrap();
        let (body, _) = rest.split_once("```").unwrap();
        if let Some(place) = comment.strip_prefix("on the ") {
            blocks.push(Block::Commands(place.to_owned(), body.lines().map(str::to_owned).collect()));
        } else {
            let (place, path) = comment.strip_prefix("file on the ").unwrap().split_once(": ").unwrap();
            blocks.push(Block::File(place.to_owned(), path.to_owned(), body.to_owned()));
        }
    }
    blocks
}

fn the_guides_commands_lead_from_dpkg_to_a_served_request(debian: &str, packages: &str) {
    let roots = ["gateway", "server"].map(|name| copy(debian, name));
    sh(&format!("cp {packages}/*.deb {}/root", roots[0]));
    let lab = slr_testkit::lab::Lab::scoped(&slr_testkit::topology::Topology::one_site(), "guide").unwrap();
    // As the guide has it: the machine's interface is eth0.
    lab.sh("slr1", "ip link set to-site down; ip link set to-site name eth0; ip link set eth0 up; ip route replace default via 10.1.1.1").unwrap();
    lab.sh("h1", "ip link set to-site down; ip link set to-site name eth0; ip link set eth0 up; ip route replace default via 10.1.11.1").unwrap();
    let node = |place: &str| match place {
        "gateway" => ("slr1", Some(&roots[0])),
        "server" => ("h1", Some(&roots[1])),
        _ => ("c1", None),
    };
    let (mut commands, mut daemons, mut answer) = (0, Vec::new(), String::new());
    for block in guide() {
        match block {
            Block::File(place, path, body) => {
                std::fs::write(format!("{}{path}", node(&place).1.unwrap()), body).unwrap();
            }
            Block::Commands(place, lines) => {
                let (name, root) = node(&place);
                for line in lines {
                    commands += 1;
                    println!("{place}: {line}");
                    let words: Vec<&str> = line.split_whitespace().collect();
                    match (&words[..], root) {
                        // No systemd runs here: what the unit starts is started.
                        (["systemctl", "enable", "--now", unit], Some(root)) => {
                            let unit = format!("{root}/usr/lib/systemd/system/{unit}.service");
                            let text = std::fs::read_to_string(&unit).unwrap();
                            let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
                            let script = format!(
                                "mount --rbind /sys {root}/sys; mount --rbind /proc {root}/proc; exec chroot {root} {start}"
                            );
                            let mut command = lab.command(name, "unshare").unwrap();
                            command.args(["--mount", "sh", "-e", "-c", &script]);
                            daemons.push((name, root, lab.spawn(name, "guided", command).unwrap()));
                        }
                        // No ssh either.
                        (["scp", "-r", files @ .., to], Some(root)) => {
                            assert_eq!(*to, "10.1.11.2:");
                            files
                                .iter()
                                .for_each(|file| drop(sh(&format!("cp -r {root}/root/{file} {}/root", roots[1]))));
                        }
                        (_, Some(root)) => drop(sh(&format!("chroot {root} sh -c 'cd /root && {line}'"))),
                        (_, None) => {
                            let served = holds_within(SOON, || {
                                answer = lab.sh(name, &format!("{line} || true")).unwrap_or_default();
                                !answer.trim().is_empty()
                            });
                            let logs: Vec<String> = daemons
                                .iter()
                                .map(|(name, _, process)| format!("{name}: {}", process.log_tail()))
                                .collect();
                            assert!(served, "{line}: {}", logs.join("\n"));
                        }
                    }
                }
            }
        }
    }
    assert!(commands < 10, "{commands} commands");
    assert!(answer.contains("h1"), "the server's own page: {answer}");
    for (name, root, process) in daemons {
        process.kill().unwrap();
        let (program, file) = if name == "h1" { ("hostd", "hostd") } else { ("slr-router", "slr-router") };
        let script = format!(
            "mount --rbind /sys {root}/sys; mount --rbind /proc {root}/proc; chroot {root} {program} unload --config /etc/{file}/{file}.toml"
        );
        let output = lab.exec(name, &["unshare", "--mount", "sh", "-e", "-c", &script]).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
