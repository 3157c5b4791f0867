//! What needs a network of its own: limits of the client's host, and what the client puts on the wire. As root.
//!
//! Each test moves its thread into a new network namespace; the processes it starts inherit it, and it is gone with
//! the last of them.

mod support;

use std::{fs, process::Command};

use nix::sched::{CloneFlags, unshare};
use support::{Run, Server, run};

/// A namespace with its loopback up, and what else `commands` (one `ip` command each) set up.
fn enter_namespace(commands: &[&str]) {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs root: run this test as root");
    for command in ["link set lo up"].iter().chain(commands) {
        let status = Command::new("ip").args(command.split(' ')).status().expect("iproute2 is installed");
        assert!(status.success(), "ip {command}");
    }
}

/// A counter of this thread's namespace, for instance `("Tcp:", "OutRsts")`.
fn counter(group: &str, name: &str) -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/snmp").expect("proc is mounted");
    let mut lines = text.lines().filter(|line| line.starts_with(group)).map(str::split_ascii_whitespace);
    let (names, values) = (lines.next().expect("a line of names"), lines.next().expect("a line of values"));
    let found = names.zip(values).find(|(candidate, _)| *candidate == name);
    found.and_then(|(_, value)| value.parse().ok()).unwrap_or_else(|| panic!("no {group} {name}"))
}

#[test]
fn neither_the_end_of_a_run_nor_a_cut_transfer_resets_anything() {
    enter_namespace(&[]);
    let server = Server::start("web1", &[]);
    for v6 in [false, true] {
        let options = "--flow http=20 --flow keepalive=10 --flow download=4 --flow upload=4 --flow interactive=10 \
                       --flow udp=10 --interval 5ms --duration 500ms --download-bytes 1G --upload-bytes 1000G \
                       --download-path /bytes/{bytes}?rate=10000000";
        let run = run(&server.options(v6), options);
        assert_eq!(run.status, 0, "{}", run.report);
        assert_eq!((run.number("download", "/cut"), run.number("upload", "/cut")), (4, 4));
    }
    assert!(counter("Tcp:", "ActiveOpens") > 100, "the counters are those of this namespace");
    assert_eq!(counter("Tcp:", "OutRsts"), 0);
}

#[test]
fn ports_run_out_and_more_sources_are_the_remedy() {
    enter_namespace(&[]);
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40009").expect("the namespace's own setting");
    // On one port for the server, so that it does not take one of the ten.
    let server = Server::start("web1", &["--listen", "127.0.0.1", "--listen", "::1"]);
    let options = "--flow interactive=25 --messages 3 --interval 5ms --stall-timeout 2s";
    let starved = run(&server.options(false), options);
    let failed = starved.number("interactive", "/failed");
    assert_eq!(starved.kind("interactive")["failures"]["no-local-port"], failed, "{}", starved.report);
    assert!(failed >= 15, "ten ports do not hold 25 connections: {}", starved.report);

    let spread = run(&server.options(false), &format!("{options} --source-range 127.0.1.0/28"));
    assert_eq!(spread.status, 0, "{}", spread.report);
}

#[test]
fn there_is_no_way_to_the_target() {
    enter_namespace(&["route add unreachable 198.51.100.1", "-6 route add unreachable 2001:db8::1"]);
    // The first of each family has no route at all, the second an explicit refusal.
    for target in ["192.0.2.1", "198.51.100.1", "2001:db8:ffff::1", "2001:db8::1"] {
        let pointed =
            |more: &str| -> Run { run(&["--target", target], &format!("{more} --timeout 300ms --interval 5ms")) };
        pointed("--flow http=1 --requests 3").assert_all_failed("http", "unreachable", 3);
        pointed("--flow udp=1 --messages 3").assert_all_failed("udp", "unreachable", 1);
    }
}

#[test]
fn a_datagram_does_not_fit_the_path() {
    enter_namespace(&["link set lo mtu 1400"]);
    let server = Server::start("web1", &[]);
    for (v6, fits, too_big) in [(false, 1372, 1373), (true, 1352, 1353)] {
        let sized = |bytes: u32, more: &str| {
            let options = format!("--flow udp=1 --messages 3 --interval 5ms --message-bytes {bytes} {more}");
            run(&server.options(v6), &options)
        };
        assert_eq!(sized(fits, "--udp-df").status, 0);
        sized(too_big, "--udp-df").assert_all_failed("udp", "too-big", 1);
        assert_eq!(sized(too_big, "").status, 0, "without DF it goes in fragments");
    }
}

#[test]
fn clients_take_addresses_that_are_local_by_a_route_only() {
    enter_namespace(&["route add local 198.51.100.0/24 dev lo", "-6 route add local 2001:db8:c::/120 dev lo"]);
    let server = Server::start("web1", &[]);
    let ranges = "--source-range 198.51.100.0/24 --source-range 2001:db8:c::/120";
    let refused = run(&server.options(true), &format!("--flow http=1 {ranges}"));
    assert_eq!(refused.status, 2);
    assert!(refused.stderr.contains("--source-freebind"), "{}", refused.stderr);
    for (v6, addresses) in [(false, 254), (true, 255)] {
        let options = format!("--flow http=20 --requests 600 --flow udp=2 --interval 5ms {ranges} --source-freebind");
        let run = run(&server.options(v6), &options);
        assert_eq!(run.status, 0, "{}", run.report);
        let seen = run.number("http", "/client_addresses");
        // The two UDP flows take a turn each.
        assert!((addresses - 2..=addresses).contains(&seen), "{seen} of {addresses}");
    }
}
