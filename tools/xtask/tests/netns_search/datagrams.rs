//! UDP flows that no host of their slot has, where `orphan = "search-udp"`: the neighbour is asked before they are placed. One that it
//! knows goes on with its server; a new one is served at once when all deny it, and soon when somebody does not answer.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use slr_testkit::acceptance::allowed;

use slr_testkit::{eventually, require_root};
use xtask::pair::{Pair, VIRTUAL};
use xtask::traffic;

use crate::scene::{SOON, move_to_slr2, neighbours, pinned_to, recovery};

/// A seventh of them is on the host that the first router sees the most load on.
const FLOWS: usize = 90;
/// New flows that are timed.
const NEW: usize = 20;
/// How long a UDP flow is looked for at most: `HOLD_UDP_FOR`, and `HOLD_UDP_FOR_SILENT` once a router has let a question pass.
const HELD_FIRST: Duration = Duration::from_millis(250);
const HELD: Duration = Duration::from_millis(50);
/// The topology's echo.
const ECHO: u16 = 7;
/// A client's patience with one flow.
const LOST: Duration = Duration::from_secs(2);

#[test]
fn a_udp_flow_that_only_the_neighbour_knows_goes_on_with_its_server() {
    require_root();
    let pair = neighbours("ask-udp");
    let words = format!(
        "--target {} --flow udp={FLOWS} --interval 100ms --ramp 1s --timeout 5s --stall-timeout 10s --duration 120s",
        VIRTUAL[1]
    );
    let running = traffic::start(pair.lab(), "c1", &words).unwrap();
    let all = |slr: &str| ["h1", "h2", "h3"].map(|host| pinned_to(&pair, slr, host)).iter().sum::<u64>();
    eventually(SOON, "flows at the first router", || all("slr1") >= FLOWS as u64);
    let on_h1 = pinned_to(&pair, "slr1", "h1");
    assert!(on_h1 > 2, "{on_h1} of {FLOWS} flows are on h1");
    move_to_slr2(&pair);
    eventually(SOON, "flows at the second router", || all("slr2") >= FLOWS as u64);
    let asked = recovery(&pair, "slr2");
    println!("asked: {asked}");
    assert_eq!(pinned_to(&pair, "slr2", "h1"), on_h1, "its rings for IPv6 have never had h1");
    assert!(asked["rungs"]["whohas"].as_u64().unwrap() >= on_h1, "{asked}");
    // One that was on its way while its host's claim was may be asked about; it is placed by nobody.
    assert_eq!((&asked["search"]["placed"], &asked["search"]["lost"]), (&0.into(), &0.into()), "{asked}");
    running.interrupt().unwrap();
    let report = running.finish().unwrap();
    report.assert_clean("UDP flows that moved to the other router");
    assert_eq!(report.total("changed_server"), 0);
}

/// Begins a flow with three datagrams: when the first answer was there, and which answers came.
fn begin(pair: &Pair) -> Option<(Duration, Vec<u8>)> {
    pair.lab()
        .with_netns("c1", || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect((VIRTUAL[0], ECHO)).unwrap();
            socket.set_read_timeout(Some(LOST)).unwrap();
            let begun = Instant::now();
            (1..=3).for_each(|n| assert_eq!(socket.send(&[n]).unwrap(), 1));
            let mut byte = [0];
            socket.recv(&mut byte).ok()?;
            let (took, mut answers) = (begun.elapsed(), byte.to_vec());
            for _ in 2..=3 {
                socket.recv(&mut byte).ok()?;
                answers.extend(byte);
            }
            Some((took, answers))
        })
        .unwrap()
}

/// New flows, one after the other: when each was answered, in order, the soonest first.
fn begin_many(pair: &Pair, what: &str) -> Vec<Duration> {
    let one = |_| {
        let (took, answers) = begin(pair).unwrap_or_else(|| panic!("{what}: no answer; {}", pair.describe()));
        assert_eq!(answers, [1, 2, 3], "{what}: the first flight in its order");
        took
    };
    let mut all: Vec<_> = (0..NEW).map(one).collect();
    all.sort();
    println!("{what}: {all:?}");
    all
}

fn placed(pair: &Pair, slr: &str) -> u64 {
    recovery(pair, slr)["search"]["placed"].as_u64().unwrap()
}

/// Stops a daemon, and waits until none of its threads runs any more.
fn stop(pair: &Pair, slr: &str) {
    let daemon = pair.daemon(slr).unwrap();
    daemon.signal(Signal::SIGSTOP).unwrap();
    let is_stopped = |stat: String| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'));
    eventually(SOON, "a daemon that is stopped", || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
        threads.flatten().all(|thread| std::fs::read_to_string(thread.path().join("stat")).is_ok_and(is_stopped))
    });
}

#[test]
fn a_new_udp_flow_is_served_when_all_deny_it_and_when_somebody_is_silent() {
    require_root();
    let pair = neighbours("new-udp");
    let all = begin_many(&pair, "the neighbour denies");
    assert!(all[NEW - 1] < allowed(Duration::from_millis(100)), "{all:?}");
    assert_eq!(placed(&pair, "slr1"), NEW as u64, "{}", recovery(&pair, "slr1"));
    assert_eq!(recovery(&pair, "slr2")["search"]["denied"].as_u64(), Some(NEW as u64), "each is asked about once");

    move_to_slr2(&pair);
    stop(&pair, "slr1");
    let all = begin_many(&pair, "the neighbour is silent");
    pair.daemon("slr1").unwrap().signal(Signal::SIGCONT).unwrap();
    assert!(all[0] >= HELD && all[NEW / 2] < HELD + allowed(Duration::from_millis(100)), "{all:?}");
    assert!(all[NEW - 1] >= HELD_FIRST && all[NEW - 1] < HELD_FIRST + allowed(Duration::from_millis(100)), "{all:?}");
    assert_eq!(placed(&pair, "slr2"), NEW as u64, "{}", recovery(&pair, "slr2"));

    // The daemon that should ask is away: after a moment its program places flows as if there were nobody to ask.
    stop(&pair, "slr2");
    let _ = begin(&pair);
    let all = begin_many(&pair, "the daemon is away");
    pair.daemon("slr2").unwrap().signal(Signal::SIGCONT).unwrap();
    // Half of them surely, whatever else this machine has to do.
    assert!(all[NEW / 2] < HELD && all[NEW - 1] < allowed(HELD * 2), "{all:?}");
    eventually(SOON, "the daemon is back", || begin(&pair).is_some_and(|(took, _)| took < HELD));
}
