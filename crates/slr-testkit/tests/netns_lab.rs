//! A lab's life: processes in their places, and no residue however it ends.

mod common;

use common::{residue, two_nodes};
use nix::sys::signal::Signal;
use slr_testkit::lab::{Lab, UpOptions, down, list_runs};
use slr_testkit::topology::Topology;
use slr_testkit::{eventually, require_root};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_process_runs_in_its_nodes_namespace_and_cgroup_and_keeps_the_mounts() {
    require_root();
    let lab = Lab::scoped(&two_nodes(""), "t-place").unwrap();
    let text = lab.sh("a", "cat /proc/self/cgroup; readlink /proc/self/ns/mnt; ip -brief link; env").unwrap();
    let cgroup = lab.cgroup_dir("a").unwrap();
    let relative = format!("/slr-lab/{}/a", lab.run());
    assert!(cgroup.ends_with(&relative[1..]));
    assert!(text.contains(&format!("0::{relative}\n")), "{text}");
    assert!(text.contains(std::fs::read_link("/proc/self/ns/mnt").unwrap().to_str().unwrap()), "{text}");
    assert!(text.contains("to-b@") && !text.contains("to-a@"), "{text}");
    assert!(text.contains(&format!("SLR_LAB_RUN={}\n", lab.run())) && text.contains("SLR_LAB_NODE=a\n"), "{text}");
    let inside = lab.sh("a", &format!("test -d {}", lab.pin_dir("a").display()));
    inside.expect("the place for pins is visible on the node");
}

#[test]
fn a_spawned_process_is_logged_signalled_found_again_and_replaced() {
    require_root();
    let lab = Lab::scoped(&two_nodes(""), "t-spawn").unwrap();
    let script = |text: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        command
    };
    let process = lab.spawn("a", "talker", script("echo first; echo oops >&2; exec sleep 1000")).unwrap();
    eventually(SOON, "both lines in the log", || process.log().contains("first") && process.log().contains("oops"));
    let second = lab.spawn("a", "talker", script("true")).unwrap_err().to_string();
    assert!(second.contains("talker runs on a already"), "{second}");
    lab.spawn("b", "talker", script("sleep 1000")).expect("the same name on another node");

    let again = Lab::open(lab.run()).unwrap();
    let record = again.processes().unwrap().into_iter().find(|r| r.name == "talker" && r.node == "a").unwrap();
    assert!(record.pid == process.pid() && record.is_alive());
    process.signal(Signal::SIGTERM).unwrap();
    let status = process.wait_exit(SOON).expect("sleep ends at SIGTERM");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::SIGTERM as i32));
    assert!(!record.is_alive() && !process.is_alive());

    let next = lab.spawn("a", "talker", script("echo second; exec sleep 1000")).unwrap();
    eventually(SOON, "the log to go on", || next.log().contains("second") && next.log().contains("first"));
    next.kill().unwrap();
    let missing = lab.spawn("a", "nobody", Command::new("/no/such/program")).unwrap_err();
    assert!(format!("{missing:#}").contains("/no/such/program"), "{missing:#}");
}

#[test]
fn down_ends_what_ignores_sigterm_and_what_daemonised_and_removes_nested_cgroups_and_pins() {
    require_root();
    let lab = Lab::scoped(&two_nodes(""), "t-stubborn").unwrap();
    let run = lab.run().to_owned();
    lab.sh("a", "trap '' TERM; setsid sleep 1000 >/dev/null 2>&1 & true").unwrap();
    std::fs::create_dir_all(lab.cgroup_dir("a").unwrap().join("nested/deeper")).unwrap();
    std::fs::create_dir(lab.pin_dir("a").join("maps")).unwrap();
    let processes = || residue(&run).iter().filter(|what| what.starts_with("process")).count();
    eventually(SOON, "the daemon to run beside the emulator", || processes() == 2);
    drop(lab);
    assert_eq!(residue(&run), [""; 0]);
    down(&run).expect("once more changes nothing");
}

#[test]
fn a_failing_step_is_named_and_what_was_made_before_is_removed() {
    require_root();
    for (key, value, expected) in [
        ("commands", "[\"echo why >&2; exit 3\"]", "a command of node b"),
        ("routes", "[\"10.77.0.0/16 via 192.0.2.1\"]", "route add 10.77.0.0/16 via 192.0.2.1"),
        ("sysctl", "{ \"net.ipv4.no_such\" = 1 }", "sysctl net.ipv4.no_such=1 on node b"),
        (
            "service",
            "[{ name = \"s\", command = [\"false\"], listens = [\"tcp4:80\"] }]",
            "service s on b does not listen",
        ),
        ("service", "[{ name = \"s\", command = [\"/no/such\"] }]", "/no/such"),
    ] {
        let text = format!(
            "name = \"x\"\n[[node]]\nname = \"a\"\n[[node]]\nname = \"b\"\n{key} = {value}\n\
             [[link]]\na = {{ node = \"a\" }}\nb = {{ node = \"b\" }}"
        );
        let topology = Topology::parse("x.toml", &text).unwrap();
        let run = format!("t-fail-{}", std::process::id());
        let error = format!("{:#}", Lab::up(&topology, &UpOptions::new(&run)).unwrap_err());
        assert!(error.contains(expected), "{expected:?} expected: {error}");
        assert_eq!(residue(&run), [""; 0], "after {key}");
    }
}

#[test]
fn an_interrupted_start_is_undone() {
    require_root();
    let run = format!("t-stop-{}", std::process::id());
    let options = UpOptions::new(&run).cancelled_by(Arc::new(AtomicBool::new(true)));
    let error = Lab::up(&two_nodes(""), &options).unwrap_err().to_string();
    assert!(error.contains("interrupted"), "{error}");
    assert_eq!(residue(&run), [""; 0]);
}

#[test]
fn a_lab_goes_down_when_its_owner_is_killed() {
    require_root();
    let run = format!("t-owner-{}", std::process::id());
    let mut owner = Command::new("sleep").arg("1000").spawn().unwrap();
    let options = UpOptions::new(&run).owned_by(owner.id()).unwrap();
    let lab = Lab::up(&two_nodes("direct = true"), &options).unwrap();
    lab.sh("a", "setsid sleep 1000 >/dev/null 2>&1 & true").unwrap();
    assert!(list_runs().unwrap().contains(&run));
    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually(SOON, "the lab to go down", || residue(&run).is_empty());
}

#[test]
fn a_run_name_is_taken_once_and_names_are_checked() {
    require_root();
    let lab = Lab::scoped(&two_nodes(""), "t-once").unwrap();
    let error = Lab::up(&two_nodes(""), &UpOptions::new(lab.run())).unwrap_err().to_string();
    assert!(error.contains("is up already"), "{error}");
    lab.sh("a", "ping -c 1 -W 5 10.9.0.2").expect("the refused start did not harm the lab");
    for name in ["", "-a", "A", "a/b", "..", &"x".repeat(41)] {
        assert!(Lab::up(&two_nodes(""), &UpOptions::new(name)).is_err(), "{name:?}");
        assert!(down(name).is_err(), "{name:?}");
    }
    let missing = Lab::open("no-such-lab").unwrap_err().to_string();
    assert!(missing.contains(lab.run()), "the labs that are up are named: {missing}");
    let unknown = lab.sh("z", "true").unwrap_err();
    assert!(format!("{unknown:#}").contains("no node \"z\"; its nodes are a, b"), "{unknown:#}");
}
