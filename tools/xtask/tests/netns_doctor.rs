//! `hostd doctor` and `slr-router doctor` on a site that is well, and with one thing wrong at a time: each is named, and the command that
//! is told mends it.

use std::time::Duration;

use serde_json::Value;
use slr_testkit::clock::ClockError;
use slr_testkit::{holds_within, require_root};
use xtask::pair::{Kind, Pair, PairOptions, SLRS};
use xtask::site::program;

const SOON: Duration = Duration::from_secs(10);
/// What is wrong, where, and the check that has to find it.
const FAULTS: [(&str, &str, &str); 13] = [
    ("h1", "reverse path", "sysctl -q -w net.ipv4.conf.to-site.rp_filter=1"),
    ("h1", "mss", "tc qdisc delete dev to-site clsact"),
    ("h1", "firewall", FIREWALL),
    ("h1", "firewall", REVERSE_PATH),
    ("h1", "ways", "ip route add blackhole 10.1.1.2/32"),
    ("h1", "ways", "ip -6 route add unreachable fd00:1:2::2/128"),
    ("h1", "addresses", "ip address add 192.0.2.77/32 dev to-site"),
    ("h1", "mtu", "ip link set to-site mtu 1300"),
    ("slr1", "firewall", FIREWALL),
    ("slr1", "ways", "ip rule add to 10.1.2.2 prohibit"),
    ("slr1", "ways", "ip route add prohibit 10.1.2.2/32"),
    ("slr1", "addresses", "ip address add 2001:db8:100::77/128 dev to-internet"),
    ("slr1", "mtu", "ip link set to-internet mtu 1290"),
];
/// As the time daemons of a site have it.
const WELL_SET_US: i64 = 20_000;
const UNSET_US: i64 = 16_000_000;
const FIREWALL: &str = "nft add table inet f && nft add chain inet f in '{ type filter hook input priority 0; }' && \
                        nft add rule inet f in meta l4proto '{ icmp, ipv6-icmp }' drop";
const REVERSE_PATH: &str = "nft add table inet g && nft add chain inet g p '{ type filter hook prerouting priority 0; }' && \
                            nft add rule inet g p fib saddr . iif oif missing drop";

/// A script on a node, with the programs under test on the path.
fn sh(pair: &Pair, node: &str, script: &str) {
    let folder = program("hostd").unwrap().parent().unwrap().display().to_string();
    pair.lab().sh(node, &format!("PATH={folder}:$PATH; {script}")).unwrap();
}

/// What a node's doctor says: exit code and answer.
fn examine(pair: &Pair, node: &str) -> (i32, Value) {
    let program = program(if SLRS.contains(&node) { "slr-router" } else { "hostd" }).unwrap();
    let config = pair.config_path(node);
    let words = [program.to_str().unwrap(), "doctor", config.to_str().unwrap(), "--json"];
    let output = pair.lab().exec(node, &words).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{node}: {error}: {said}"));
    (output.status.code().unwrap(), answer)
}

fn is_well(pair: &Pair, node: &str) -> bool {
    examine(pair, node).0 == 0
}

#[test]
fn what_is_wrong_is_named_and_its_fix_mends_it() {
    require_root();
    let clock = ClockError::set(WELL_SET_US).unwrap();
    let mut pair = Pair::up("doctor", PairOptions::new(Kind::Spare)).unwrap();
    for node in SLRS.into_iter().chain(["h1"]) {
        let (code, answer) = examine(&pair, node);
        assert_eq!(code, 0, "{node} is well: {answer:#}");
        assert!(answer["well"].as_array().unwrap().len() >= 8, "{answer:#}");
    }
    for (node, check, fault) in FAULTS {
        pair.lab().sh(node, fault).unwrap();
        let (code, answer) = examine(&pair, node);
        let findings = answer["findings"].as_array().unwrap();
        assert_eq!((code, findings.len()), (1, 1), "{fault}: {answer:#}");
        assert_eq!(findings[0]["check"], check, "{fault}: {answer:#}");
        println!("{node}: {}\n    {}", findings[0]["what"].as_str().unwrap(), findings[0]["fix"].as_str().unwrap());
        sh(&pair, node, findings[0]["fix"].as_str().unwrap());
        assert!(holds_within(SOON, || is_well(&pair, node)), "{fault}: its fix mends it: {:#}", examine(&pair, node).1);
    }

    // For people.
    pair.lab().sh("h1", FAULTS[0].2).unwrap();
    let words = [program("hostd").unwrap(), "doctor".into(), pair.config_path("h1")];
    let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
    let text = String::from_utf8(pair.lab().exec("h1", &words).unwrap().stdout).unwrap();
    println!("{text}");
    let fix = "sysctl -w net.ipv4.conf.to-site.rp_filter=2";
    assert!(text.starts_with("broken: reverse path: ") && text.contains(&format!("\n    {fix}\n")), "{text}");
    pair.lab().sh("h1", fix).unwrap();

    // A time daemon is what is started by the fix: here the kernel is told that one has set the clock.
    clock.change(UNSET_US).unwrap();
    let (code, answer) = examine(&pair, "slr1");
    assert_eq!((code, &answer["findings"][0]["check"]), (1, &Value::from("clock")), "{answer:#}");
    assert!(answer["findings"][0]["fix"].as_str().unwrap().starts_with("timedatectl set-ntp true"), "{answer:#}");
    clock.change(WELL_SET_US).unwrap();
    assert!(is_well(&pair, "slr1"));

    // What only its operator can start again.
    let checks = |pair: &Pair, node: &str| -> Vec<String> {
        let (_, answer) = examine(pair, node);
        let findings = answer["findings"].as_array().unwrap().clone();
        findings.iter().map(|finding| finding["check"].as_str().unwrap().to_owned()).collect()
    };
    let processes = pair.lab().processes().unwrap();
    // The one of IPv6 would hear for both.
    for echo in processes.iter().filter(|process| process.node == "h1" && process.name.starts_with("echo")) {
        pair.lab().sh("h1", &format!("kill -9 {}", echo.pid)).unwrap();
    }
    assert!(
        holds_within(SOON, || checks(&pair, "h1").contains(&"services".to_owned())),
        "{:#}",
        examine(&pair, "h1").1
    );
    for node in ["h2", "slr2"] {
        pair.daemon(node).unwrap().kill().unwrap();
        assert!(holds_within(SOON, || checks(&pair, node) == ["daemon"]), "{:#}", examine(&pair, node).1);
        pair.start(node).unwrap();
        assert!(holds_within(SOON, || is_well(&pair, node)), "{:#}", examine(&pair, node).1);
    }
}

/// A node's daemon, started by another command than usual.
fn start_by(pair: &Pair, node: &str, wrapper: &[&str]) -> slr_testkit::lab::Process {
    let mut command = pair.lab().command(node, wrapper[0]).unwrap();
    let daemon = program(if SLRS.contains(&node) { "slr-router" } else { "hostd" }).unwrap();
    command.args(&wrapper[1..]).arg(daemon).args(["run", "--config"]).arg(pair.config_path(node));
    pair.lab().spawn(node, "again", command).unwrap()
}

#[test]
fn a_daemon_that_may_too_little_or_runs_slowly_or_not_for_long_is_named() {
    require_root();
    let _clock = ClockError::set(WELL_SET_US).unwrap();
    let mut pair = Pair::up("doctor-daemon", PairOptions::new(Kind::Spare)).unwrap();
    let said = |pair: &Pair, node: &str| examine(pair, node).1["findings"].to_string();
    let says = |pair: &Pair, node: &str, words: &[&str]| {
        let is_said = || words.iter().all(|word| said(pair, node).contains(word));
        assert!(holds_within(SOON, is_said), "{words:?}: {:#}", examine(pair, node).1);
    };

    pair.daemon("h1").unwrap().kill().unwrap();
    let poor = start_by(&pair, "h1", &["setpriv", "--bounding-set", "-net_raw"]);
    // It says so itself, and ends: the data plane loads so fast that no doctor finds it running.
    assert!(holds_within(SOON, || !poor.is_alive() && poor.log_tail().contains("CAP_NET_RAW")), "{}", poor.log_tail());
    says(&pair, "h1", &["\"daemon\"", "does not run", "systemctl start hostd"]);
    pair.start("h1").unwrap();
    assert!(holds_within(SOON, || is_well(&pair, "h1")), "{}", said(&pair, "h1"));

    // In a container without it the doctor says why.
    pair.daemon("slr2").unwrap().kill().unwrap();
    let (doctor, config) = (program("slr-router").unwrap(), pair.config_path("slr2"));
    let words = ["setpriv", "--bounding-set", "-net_raw", doctor.to_str().unwrap(), "doctor", config.to_str().unwrap()];
    let output = pair.lab().exec("slr2", &words).unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("nothing that is started here can have CAP_NET_RAW") && told.contains("--cap-add"), "{told}");
    pair.start("slr2").unwrap();
    assert!(holds_within(SOON, || is_well(&pair, "slr2")), "{}", said(&pair, "slr2"));

    // Another configuration, and nothing left of the program that runs natively.
    pair.daemon("h2").unwrap().kill().unwrap();
    let (config, native) = (pair.config_path("h2"), "xdp = \"native\"");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(native, "xdp = \"generic\"")).unwrap();
    let unload = format!("{} unload --config {}", program("hostd").unwrap().display(), config.display());
    pair.lab().sh("h2", &unload).unwrap();
    let slow = start_by(&pair, "h2", &["env"]);
    says(&pair, "h2", &["\"xdp\"", "\"slow\"", "generic mode on to-site", "xdp = \\\"native\\\""]);
    slow.kill().unwrap();
    pair.lab().sh("h2", &unload).unwrap();
    pair.start("h2").unwrap();
    assert!(holds_within(SOON, || is_well(&pair, "h2")), "{}", said(&pair, "h2"));

    // What only the configuration can mend.
    let config = pair.config_path("h3");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replacen("[tunnel]\n", "[tunnel]\npath_mtu = 9000\n", 1)).unwrap();
    says(&pair, "h3", &["\"mss\"", "path_mtu is 9000 and to-site takes 1500 bytes", "set path_mtu = 1500 or less"]);
    std::fs::write(&config, format!("{text}\n[[router]]\nname = \"stray\"\nprefixes = [\"192.0.2.128/25\"]\n"))
        .unwrap();
    says(&pair, "h3", &["\"other nodes\"", "stray is at 192.0.2.128/25, in the virtual subnet 192.0.2.0/24"]);
    std::fs::write(&config, text).unwrap();
    assert!(is_well(&pair, "h3"), "{}", said(&pair, "h3"));

    // A certificate is due when a third of its life is left.
    pair.authority().renew("h3", &["--valid-for", "9s"]).unwrap();
    says(&pair, "h3", &["\"certificate\"", "ends soon", "slr-ca renew h3"]);
    pair.authority().renew("h3", &[]).unwrap();
    assert!(is_well(&pair, "h3"), "{}", said(&pair, "h3"));
}

/// Where the doctor finds files, others are mounted for it alone. The script has `doctor`, which writes its answer to `answer`.
fn examine_with(pair: &Pair, node: &str, mounts: &str, fix: &str) -> [Value; 2] {
    let dir = tempfile::tempdir().unwrap();
    let program = program("hostd").unwrap().display().to_string();
    let doctor = |name: &str| {
        let answer = dir.path().join(name);
        format!("{program} doctor {} --json > {} || true", pair.config_path(node).display(), answer.display())
    };
    let script = format!("set -e; {mounts}; {}; {fix}; {}", doctor("before"), doctor("after"));
    pair.lab().exec(node, &["unshare", "--mount", "sh", "-c", &script]).unwrap();
    ["before", "after"].map(|name| serde_json::from_slice(&std::fs::read(dir.path().join(name)).unwrap()).unwrap())
}

#[test]
fn a_kernel_without_what_is_needed_a_gateway_that_is_silent_and_a_filter_on_the_way_are_named() {
    require_root();
    let _clock = ClockError::set(WELL_SET_US).unwrap();
    let pair = Pair::up("doctor-way", PairOptions::new(Kind::Spare)).unwrap();
    let found = |answer: &Value| -> Vec<(String, String)> {
        let of = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
        let findings = answer["findings"].as_array().unwrap().iter();
        findings.map(|finding| (of(finding, "check"), of(finding, "fix"))).collect()
    };

    // Another file system where the pins are. The fix is run in the same mount namespace.
    let [before, after] = examine_with(&pair, "h1", "mount -t tmpfs none /sys/fs/bpf", "mount -t bpf bpf /sys/fs/bpf");
    assert_eq!(found(&before), [("pins".to_owned(), "mount -t bpf bpf /sys/fs/bpf".to_owned())]);
    assert_eq!(found(&after), []);
    // A kernel without types of its own. What mends it is another kernel, whose stand-in is the one that there is.
    let [before, after] = examine_with(&pair, "h1", "mount -t tmpfs none /sys/kernel/btf", "umount /sys/kernel/btf");
    assert_eq!(found(&before), [("kernel".to_owned(), "install a kernel with CONFIG_DEBUG_INFO_BTF=y".to_owned())]);
    assert_eq!(found(&after), []);

    // No card here merges segments, so a card is stood in for: what ethtool shows and sets is a file's.
    let card = "mkdir $BIN && cat > $BIN/ethtool <<'E'\n#!/bin/sh\ncase \"$*\" in\n'--json -k to-site') cat $BIN/lro;;\n\
                '-K to-site lro off') sed -i s/true/false/ $BIN/lro;;\n*) exit 1;;\nesac\nE\n\
                chmod +x $BIN/ethtool; echo '[{\"large-receive-offload\":{\"active\":true}}]' > $BIN/lro";
    let dir = tempfile::tempdir().unwrap();
    let card = format!("BIN={}; export BIN; PATH=$BIN:$PATH; {card}", dir.path().join("bin").display());
    let [before, after] = examine_with(&pair, "h1", &card, "ethtool -K to-site lro off");
    assert_eq!(found(&before), [("offloads".to_owned(), "ethtool -K to-site lro off".to_owned())]);
    assert_eq!(found(&after), []);

    // A router between two links, which the lab's is not.
    let config = pair.config_path("slr2");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("[\"to-internet\"]", "[\"to-internet\", \"to-lan\"]")).unwrap();
    let lan = "ip link add to-lan type veth peer name lan && ip link set to-lan up && ip link set lan up && \
               sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1";
    pair.lab().sh("slr2", lan).unwrap();
    pair.tell("slr2", &["reload"]).unwrap();
    assert!(holds_within(SOON, || is_well(&pair, "slr2")), "{:#}", examine(&pair, "slr2").1);
    for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        pair.lab().sh("slr2", &format!("sysctl -q -w {name}=0")).unwrap();
        let answer = examine(&pair, "slr2").1;
        assert_eq!(found(&answer), [("forwarding".to_owned(), format!("sysctl -w {name}=1"))], "{answer:#}");
        sh(&pair, "slr2", &found(&answer)[0].1);
        assert!(is_well(&pair, "slr2"), "{:#}", examine(&pair, "slr2").1);
    }

    // The gateway hears nobody.
    let deaf = "nft add table arp f && nft add chain arp f in '{ type filter hook input priority 0; }' && \
                nft add rule arp f in iifname to-h1 drop && nft add chain arp f out '{ type filter hook output priority 0; }' && \
                nft add rule arp f out oifname to-h1 drop";
    pair.lab().sh("site", deaf).unwrap();
    pair.lab().sh("h1", "ip neigh flush dev to-site").unwrap();
    let is_named = || {
        let findings = found(&examine(&pair, "h1").1);
        findings.iter().any(|(check, fix)| check == "ways" && fix.starts_with("ping -c 1 -I to-site 10.1.11.1"))
    };
    assert!(holds_within(SOON, is_named), "{:#}", examine(&pair, "h1").1);
    pair.lab().sh("site", "nft delete table arp f").unwrap();
    assert!(holds_within(SOON, || is_well(&pair, "h1")), "{:#}", examine(&pair, "h1").1);

    // A router on the way filters by reverse path, as many providers do: echoes of the virtual address are lost, those of the host's own are not.
    let toward = ["10.0.1.2", "fd00:0:1::2"];
    let examine_way = |toward: &str| {
        let (program, config) = (program("hostd").unwrap(), pair.config_path("h1"));
        let words = [program.to_str().unwrap(), "doctor", config.to_str().unwrap(), "--json", "--toward", toward];
        let output = pair.lab().exec("h1", &words).unwrap();
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap())
    };
    for address in toward {
        let (code, answer) = examine_way(address);
        assert_eq!(code, Some(0), "{address}: {answer:#}");
    }
    pair.lab().sh("site", "sysctl -q -w net.ipv4.conf.to-h1.rp_filter=1").unwrap();
    let (code, answer) = examine_way(toward[0]);
    println!("{answer:#}");
    assert_eq!((code, found(&answer).len()), (Some(1), 1), "{answer:#}");
    let fix = &found(&answer)[0].1;
    assert!(answer["findings"][0]["check"] == "way out" && fix.contains("rp_filter=2"), "{answer:#}");
    pair.lab().sh("site", "sysctl -q -w net.ipv4.conf.to-h1.rp_filter=2").unwrap();
    assert_eq!(examine_way(toward[0]).0, Some(0));
    // Nobody is there: nothing is known.
    let (code, answer) = examine_way("10.0.1.99");
    assert!(code == Some(2) && answer["unknown"][0]["check"] == "way out", "{answer:#}");
}
