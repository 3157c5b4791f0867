//! What the routers around are told, and what comes of it: two SLRs of a cluster, one preferred, behind a router that runs BIRD
//! with BGP and BFD. Real BIRD, real daemons, real traffic.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use slr_testkit::acceptance::allowed;
use slr_testkit::lab::Shaping;
use slr_testkit::{eventually, holds_within, require_root};
use xtask::pair::{Kind, Pair, PairOptions, SLRS, VIRTUAL};
use xtask::traffic::{self, Running};

const SOON: Duration = Duration::from_secs(20);
/// As short as a test can be about it: restarts take a second or two.
const ANNOUNCE: &str = "announce_after_ms = 1000\nwithdraw_after_ms = 500\nlowered_ms = 1500\naway_s = 6";

fn pair(kind: Kind) -> Pair {
    require_root();
    let options = PairOptions { announce: ANNOUNCE.to_owned(), ..PairOptions::new(kind) };
    Pair::up("announce", options).unwrap()
}

/// Requests to both families, until it is interrupted: connections of their own, and long ones.
fn requests(pair: &Pair) -> Running {
    let [v4, v6] = VIRTUAL;
    let words = format!(
        "--target {v4} --target {v6} --flow http=8 --flow keepalive=16 --think 5ms --path /who --duration 120s"
    );
    traffic::start(pair.lab(), "c1", &words).unwrap()
}

/// Ends them, and sees that none has failed.
fn assert_none_failed(running: Running, what: &str) {
    running.interrupt().unwrap();
    let report = running.finish().unwrap();
    report.assert_clean(what);
}

#[test]
fn the_preferred_router_gets_the_packets_and_a_drain_moves_them_without_a_failed_request() {
    let pair = pair(Kind::Spare);
    assert!(pair.is_announced("slr2", "normal"), "the spare one announces as well, only not as well");
    let running = requests(&pair);

    pair.tell("slr1", &["announce", "drain"]).unwrap();
    eventually(SOON, "slr1 is the worse choice", || pair.is_announced("slr1", "lowered"));
    pair.await_routed(&["slr2"], SOON).unwrap();
    eventually(SOON, "slr1 is withdrawn", || pair.is_announced("slr1", "withdrawn"));
    assert!(pair.announced("slr1").unwrap().iter().all(|(_, why)| why == "drained"), "{}", pair.describe());
    assert!(pair.is_routed(&["slr2"]));

    pair.tell("slr1", &["announce", "undrain"]).unwrap();
    pair.await_routed(&["slr1"], SOON).unwrap();
    assert_none_failed(running, "a drain and its end");
}

#[test]
fn a_daemon_that_comes_back_withdraws_nothing_and_one_that_stays_away_is_withdrawn() {
    let mut pair = pair(Kind::Spare);
    let watchdog = pair.start_watchdog("slr1").unwrap();
    let running = requests(&pair);
    let table = "ip -json route show table 6100 proto 61";
    let before = pair.lab().sh("slr1", table).unwrap();

    // Killed, and another one at once: the kernel's log of changes shows that nothing was withdrawn in between.
    let watch = "timeout 60 ip monitor route > /proc/self/cwd/monitor 2>&1";
    let mut monitor = pair.lab().command("slr1", "sh").unwrap();
    monitor.current_dir(pair.lab().dir()).args(["-c", watch]);
    let monitor = pair.lab().spawn("slr1", "monitor", monitor).unwrap();
    pair.daemon("slr1").unwrap().kill().unwrap();
    pair.start("slr1").unwrap();
    eventually(SOON, "the next daemon announces", || pair.is_announced("slr1", "normal"));
    assert!(holds_within(SOON, || pair.is_served("slr1")));
    assert_eq!(pair.lab().sh("slr1", table).unwrap(), before);
    let changes = || std::fs::read_to_string(pair.lab().dir().join("monitor")).unwrap();
    assert!(!changes().contains("table 6100"), "{}", changes());
    pair.await_routed(&["slr1"], SOON).unwrap();

    // The daemon stays away, and its data plane forwards on; after the watchdog's time the spare one has the packets.
    let since = Instant::now();
    pair.daemon("slr1").unwrap().kill().unwrap();
    let took = pair.await_routed(&["slr2"], SOON).unwrap();
    let (least, most) = (Duration::from_secs(6), allowed(Duration::from_secs(8)));
    assert!((least..most).contains(&since.elapsed()), "withdrawn after {took:?}: {}", watchdog.log_tail());
    assert!(changes().contains("table 6100"), "the same log shows the watchdog's work: {}", changes());
    println!("watchdog of 6 s: packets go to the spare one {took:?} after the daemon was killed");

    pair.start("slr1").unwrap();
    pair.await_routed(&["slr1"], SOON).unwrap();
    assert!(watchdog.is_alive());
    assert_none_failed(running, "a daemon killed, restarted, away and back");
    monitor.kill().unwrap();
}

#[test]
fn a_dead_way_is_noticed_by_bfd_and_a_live_one_is_preferred_again() {
    let pair = pair(Kind::Spare);
    let dead = |is: bool| pair.lab().shape("internet", "slr1", Shaping::default().blackhole(is)).unwrap();
    let mut times = Vec::new();
    for _ in 0..3 {
        // The carrier stays: nobody is told.
        dead(true);
        let took = pair.await_routed(&["slr2"], SOON).unwrap();
        assert!(took < allowed(Duration::from_secs(1)), "{took:?}");
        times.push(took.as_millis());
        let page = pair.lab().sh("c1", &format!("curl --silent --max-time 5 http://{}/who", VIRTUAL[0])).unwrap();
        assert!(page.starts_with('h'), "{page}");
        dead(false);
        pair.await_routed(&["slr1"], Duration::from_secs(30)).unwrap();
    }
    println!("a blackhole with carrier up: packets go to the spare one after {times:?} ms");
}

#[test]
fn a_router_that_cannot_serve_says_so_and_one_that_stops_for_good_withdraws_first() {
    require_root();
    let announce = format!("{ANNOUNCE}\non_stop = \"withdraw\"");
    let pair = Pair::up("announce", PairOptions { announce, ..PairOptions::new(Kind::Spare) }).unwrap();
    // The program is taken off behind the daemon's back.
    let pins = pair.lab().pin_dir("slr1");
    let detach = format!("bpftool link detach pinned $(find {} -name 'link-*')", pins.display());
    pair.lab().sh("slr1", &detach).unwrap();
    pair.await_routed(&["slr2"], SOON).unwrap();
    let said = pair.announced("slr1").unwrap();
    assert!(said.iter().all(|(is, why)| is == "withdrawn" && why.contains("on no interface")), "{said:?}");

    // Routes of others in the same table are nobody's business but theirs.
    pair.lab().sh("slr2", "ip route add blackhole 203.0.113.0/24 table 6100 proto static").unwrap();
    pair.daemon("slr2").unwrap().signal(Signal::SIGTERM).unwrap();
    let status = pair.daemon("slr2").unwrap().wait_exit(SOON).expect("it ends");
    assert!(status.success(), "{}", pair.daemon("slr2").unwrap().log_tail());
    let left = pair.lab().sh("slr2", "ip route show table 6100; ip -6 route show table 6100").unwrap();
    assert_eq!(left.trim(), "blackhole 203.0.113.0/24 proto static");
    pair.await_routed(&[], SOON).unwrap();
}

#[test]
fn equal_routers_share_the_flows_and_clusters_apart_do_not() {
    let ecmp = pair(Kind::Ecmp);
    let running = requests(&ecmp);
    let pinned = |slr: &str| {
        let flows = ecmp.show(slr, "flows").ok()?;
        flows["flows"].as_array().map(Vec::len)
    };
    eventually(SOON, "both have flows", || SLRS.iter().all(|slr| pinned(slr).is_some_and(|count| count > 0)));
    assert_none_failed(running, "two active SLRs");
    drop(ecmp);
    let apart = pair(Kind::TwoSlr);
    apart.await_routed(&["slr1"], SOON).unwrap();
    let sessions = apart.show("slr1", "sessions").unwrap();
    assert!(sessions.as_array().unwrap().iter().all(|session| session["name"] != "slr2"), "{sessions}");
}
