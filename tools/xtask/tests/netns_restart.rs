//! A daemon is killed, is away for a while and comes back, under 500 live flows and request after request: no flow notices.
//! What it leaves in the kernel goes on; `unload` takes that away, and leaves nothing.

use std::fs;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::TcpMaxSeg};
use slr_testkit::lab::Lab;
use slr_testkit::topology::Topology;
use slr_testkit::{eventually, holds_within, require_root};
use xtask::load::{LIVE, Load, live_flows};
use xtask::site::{HOSTS, Site, SiteOptions, VIRTUAL, footprint};
use xtask::traffic;

/// How long a daemon stays away.
const AWAY: Duration = Duration::from_secs(5);
/// How long the load goes on after the daemon is back: long enough for a late retransmission to show.
const AFTER: Duration = Duration::from_secs(2);
/// What the kernel does in the background once the last reference is gone.
const SOON: Duration = Duration::from_secs(5);

fn assert_no_drops(site: &Site, when: &str) {
    for node in ["slr1"].into_iter().chain(HOSTS) {
        assert_eq!(site.drops(node).unwrap(), [], "{node} dropped packets, {when}");
    }
}

fn count(text: &str, word: &str) -> usize {
    text.matches(word).count()
}

/// The MSS of a new connection to each virtual address, as the client has it.
fn mss(site: &Site) -> [u32; 2] {
    VIRTUAL.map(|address| {
        let connect = || TcpStream::connect((address, 80)).expect("a connection");
        let stream = site.lab().with_netns("c1", connect).unwrap();
        getsockopt(&stream, TcpMaxSeg).unwrap()
    })
}

/// What stays after `unload` is what a node has where no daemon ever ran.
fn assert_unloads(site: &Site, nodes: &[&str]) {
    for node in nodes {
        site.terminate(node).unwrap();
        println!("{node}: {}", site.unload(node).unwrap().trim_end());
        assert!(!site.lab().pin_dir(node).exists(), "{node}: pins stay");
    }
    let fresh = Lab::scoped(&Topology::one_site(), "fresh").unwrap();
    for node in nodes {
        let expected = footprint(&fresh, node).unwrap();
        assert!(expected.contains("to-site"), "the footprint shows links: {expected}");
        let mut found = String::new();
        let mut is_same = || {
            found = footprint(site.lab(), node).unwrap();
            found == expected
        };
        if !holds_within(SOON, &mut is_same) {
            let extra: Vec<_> = found.lines().filter(|line| !expected.lines().any(|other| other == *line)).collect();
            let lost: Vec<_> = expected.lines().filter(|line| !found.lines().any(|other| other == *line)).collect();
            panic!("{node} is not as before: has {extra:#?}, has not {lost:#?}");
        }
    }
}

#[test]
fn a_router_that_is_killed_and_comes_back_loses_nothing() {
    require_root();
    let mut site = Site::up("restart", SiteOptions::default()).unwrap();
    let load = Load::start(&site).unwrap();
    let before = live_flows(&site).unwrap();
    assert!(before.len() >= LIVE, "{} flows are pinned", before.len());
    assert_no_drops(&site, "before");

    site.router().unwrap().kill().unwrap();
    thread::sleep(AWAY); // to be away is the case under test
    site.start_router().unwrap();
    let log = site.router().unwrap().log();
    assert_eq!(count(&log, "data plane is loaded afresh"), 1, "{log}");
    assert_eq!(count(&log, "data plane is taken over"), 1, "{log}");
    assert_eq!(live_flows(&site).unwrap(), before, "pinned flows moved or went, killed");

    site.terminate("slr1").unwrap();
    site.start_router().unwrap();
    assert_eq!(count(&site.router().unwrap().log(), "data plane is taken over"), 2);
    assert_eq!(live_flows(&site).unwrap(), before, "pinned flows moved or went, terminated");

    thread::sleep(AFTER);
    assert_eq!(live_flows(&site).unwrap(), before, "pinned flows moved or went, at last");
    let outcome = load.stop().unwrap();
    assert_no_drops(&site, "after");
    outcome.assert_clean("slr-router killed");
    assert!(outcome.longest_gap() < AWAY, "a flow stood still for {:?}", outcome.longest_gap());
    assert_unloads(&site, &["slr1"]);
}

#[test]
fn hosts_whose_daemon_is_killed_and_comes_back_lose_nothing() {
    require_root();
    let mut site = Site::up("restart", SiteOptions::default()).unwrap();
    let load = Load::start(&site).unwrap();
    let before = live_flows(&site).unwrap();
    let clamped = mss(&site);
    // Outer IPv4 headers of a chain of three; and timestamps. Without the clamp it would be 1,448 and 1,428.
    assert!(clamped[0] <= 1400 && clamped[1] <= 1380, "the MSS is clamped: {clamped:?}");
    assert_no_drops(&site, "before");

    for host in HOSTS {
        site.hostd(host).unwrap().kill().unwrap();
    }
    assert_eq!(mss(&site), clamped, "the MSS while hostd is away");
    let targets = VIRTUAL.map(|address| format!("--target {address}")).join(" ");
    let words = format!("{targets} --flow udp=40 --messages 5 --timeout 20s");
    traffic::run(site.lab(), "c1", &words).unwrap().assert_clean("UDP clients that are new while hostd is away");
    thread::sleep(AWAY); // to be away is the case under test
    for host in HOSTS {
        site.start_hostd(host).unwrap();
        let log = site.hostd(host).unwrap().log();
        assert_eq!((count(&log, "starts anew"), count(&log, "takes over what is pinned")), (1, 1), "{log}");
    }
    assert_eq!(mss(&site), clamped, "the MSS when hostd is back");

    for host in HOSTS {
        site.terminate(host).unwrap();
        site.start_hostd(host).unwrap();
    }
    thread::sleep(AFTER);
    assert_eq!(live_flows(&site).unwrap(), before, "pinned flows moved or went");
    let outcome = load.stop().unwrap();
    assert_no_drops(&site, "after");
    outcome.assert_clean("hostd killed on every host");
    assert!(outcome.longest_gap() < AWAY, "a flow stood still for {:?}", outcome.longest_gap());
    eventually(SOON, "replies to be clamped and counted", || {
        HOSTS.iter().all(|host| site.reason(host, "pass_mss_clamped").is_ok_and(|packets| packets > 0))
    });
    assert_unloads(&site, &HOSTS);
    assert_sockets_gone(&site);
}

/// Unloading removes the admin sockets as well.
fn assert_sockets_gone(site: &Site) {
    let names = fs::read_dir(site.lab().dir()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| HOSTS.iter().any(|host| *name == *format!("{host}.sock"))).collect();
    assert!(left.is_empty(), "{left:?}");
}
