//! A host is drained under load, again and again: new flows stop at once, those it has go on until they end by themselves,
//! "safe to stop" is said when the last has ended and not before, and nobody's request fails.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use slr_testkit::acceptance::allowed;
use slr_testkit::{eventually, require_root};
use xtask::site::{CLIENT_RANGES, HOSTS, HostLines, Site, SiteOptions, VIRTUAL};
use xtask::traffic::{self, Running};
use xtask::watch::{VIRTUAL_V4, VIRTUAL_V6, Watch};

const DRAINS: usize = 10;
/// The shipped interval of adverts and rings.
const INTERVAL: Duration = Duration::from_millis(400);
/// What the command needs to start, and the counters to be read, on a shared machine.
const STARTING: Duration = Duration::from_millis(300);
/// "Safe to stop" may come so much later than the last flow's end: the settle time of a host without flows, a count every
/// 200 ms, an advert's interval if a router says it, and looking.
const SAFE_WITHIN: Duration = Duration::from_millis(3_000);
/// How long a returning host's share grows.
const SLOW_START_S: u32 = 4;
const SOON: Duration = Duration::from_secs(20);

/// Static shares, so that what a drain moves is all that moves, but the ramp of a host that returns.
fn options() -> SiteOptions {
    let policy = format!("[policy]\ncost = \"1.0 / weight\"\nbudget = 1.0\nslow_start_s = {SLOW_START_S}\n");
    let mut options = SiteOptions { cost: None, control: format!("\n{policy}"), ..SiteOptions::default() };
    options.subnets.truncate(2);
    options
}

/// A site whose hosts have come to their shares: they ramp from when each was first seen.
fn site(prefix: &str, options: SiteOptions) -> Site {
    let site = Site::up(prefix, options).unwrap();
    eventually(SOON, "equal shares", || HOSTS.iter().all(|host| percent(&site, host) > 30.0));
    site
}

/// New connections that reach a host from outside: its own health checks come from itself.
fn watch_arrivals<'a>(site: &'a Site, host: &'a str) -> Watch<'a> {
    let first = "iifname != \"lo\" tcp flags & (syn | ack) == syn";
    let rules = [("new", format!("ip daddr {VIRTUAL_V4} {first}")), ("new", format!("ip6 daddr {VIRTUAL_V6} {first}"))];
    Watch::start(site.lab(), host, &rules).unwrap()
}

/// Connections of clients at a host, as the kernel lists them there; not those that merely wait for time to pass.
fn flows(site: &Site, host: &str) -> usize {
    let wanted = "ss --tcp --numeric --no-header state connected exclude time-wait exclude fin-wait-2 \
                  '( dst 10.0.0.0/16 or dst fd00::/32 )' | wc -l";
    site.lab().sh(host, wanted).unwrap().trim().parse().unwrap()
}

/// One request after another, each on a connection of its own, from many addresses.
fn requests(site: &Site) -> Running {
    let (client, ranges) = CLIENT_RANGES[0];
    let words = format!(
        "--target {} --target {} --source-range {} --source-range {} --source-freebind --flow http=4 --path /who \
         --timeout 20s --duration 600s",
        VIRTUAL[0], VIRTUAL[1], ranges[0], ranges[1]
    );
    traffic::start(site.lab(), client, &words).unwrap()
}

/// Connections that end by themselves after some seconds of requests.
fn lasting(site: &Site, requests: u32) -> Running {
    let flows = 24;
    let words = format!(
        "--target {} --target {} --flow keepalive={flows} --think 100ms --path /who --requests {} --timeout 20s",
        VIRTUAL[0],
        VIRTUAL[1],
        flows * requests
    );
    traffic::start(site.lab(), "c2", &words).unwrap()
}

/// A command that waits until a host may be stopped, from wherever the operator sits.
fn drain(site: &Site, host: &str, by_router: bool, words: &[&str]) -> Child {
    let mut command = if by_router {
        site.command("slr1", "slr-router", &[&["drain", host, "--wait"], words].concat()).unwrap()
    } else {
        site.command(host, "hostd", &[&["drain", "--wait"], words].concat()).unwrap()
    };
    spawn(&mut command)
}

fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn undrain(site: &Site, host: &str, by_router: bool) {
    let (node, name, words) =
        if by_router { ("slr1", "slr-router", vec!["undrain", host]) } else { (host, "hostd", vec!["undrain"]) };
    let (answer, accepted) = site.tell(node, name, &words).unwrap();
    assert!(accepted, "undrain {host}: {answer}");
}

fn end(mut command: Child) -> (ExitStatus, String) {
    let status = command.wait().unwrap();
    let mut text = String::new();
    command.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    command.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (status, text)
}

/// A host's part of the new flows, in per cent of the ring that has the least for it.
fn percent(site: &Site, host: &str) -> f64 {
    let rings = site.show("policy").unwrap();
    let hosts = rings.as_array().unwrap().iter().flat_map(|ring| ring["hosts"].as_array().unwrap());
    let own = hosts.filter(|found| found["host"] == host).filter_map(|found| found["percent"].as_f64());
    own.fold(100.0, f64::min)
}

/// What was seen of a drain, in time since the command was started.
#[derive(Debug)]
struct Seen {
    flows_before: usize,
    /// New connections were last seen to have come, and last seen not to have come yet.
    last_arrival: Duration,
    /// Flows were last seen.
    last_flow: Duration,
    safe: Duration,
}

/// Looks at the host until the command ends.
fn look_on(site: &Site, host: &str, arrivals: &Watch<'_>, by_router: bool) -> Seen {
    let flows_before = flows(site, host);
    let start = Instant::now();
    let mut command = drain(site, host, by_router, &["--timeout", "60"]);
    let mut count = arrivals.packets("new").unwrap();
    let mut seen = Seen { flows_before, last_arrival: Duration::ZERO, last_flow: Duration::ZERO, safe: Duration::ZERO };
    while command.try_wait().unwrap().is_none() {
        // The moment before looking: what is seen then had come by now, or comes while we look.
        let at = start.elapsed();
        let now = arrivals.packets("new").unwrap();
        if now != count {
            (count, seen.last_arrival) = (now, at);
        }
        if flows(site, host) > 0 {
            seen.last_flow = at;
        }
    }
    seen.safe = start.elapsed();
    let (left, late) = (flows(site, host), arrivals.packets("new").unwrap() - count);
    let (status, text) = end(command);
    assert_eq!(status.code(), Some(0), "{text}");
    assert!(text.contains("safe to stop"), "{text}");
    assert_eq!((left, late), (0, 0), "flows of {host} and new ones when it was said to be safe: {seen:?}");
    seen
}

fn drain_and_return(site: &Site, host: &str, arrivals: &Watch<'_>, by_router: bool) -> Seen {
    let batch = lasting(site, 25);
    eventually(SOON, "flows that last", || flows(site, host) >= 4);
    let seen = look_on(site, host, arrivals, by_router);
    assert!(seen.last_arrival <= allowed(INTERVAL + STARTING), "new flows came to {host} for too long: {seen:?}");
    assert!(seen.last_flow > seen.last_arrival + INTERVAL, "{host} kept its flows until they ended: {seen:?}");
    assert!(seen.safe <= seen.last_flow + allowed(SAFE_WITHIN), "{host} was free long before it was said: {seen:?}");
    batch.finish().unwrap().assert_clean(&format!("flows that last while {host} drains"));
    assert_eq!(percent(site, host), 0.0);

    let before = arrivals.packets("new").unwrap();
    undrain(site, host, !by_router);
    eventually(SOON, "new flows", || arrivals.packets("new").unwrap() > before);
    eventually(SOON, "its whole share", || percent(site, host) > 30.0);
    seen
}

#[test]
fn ten_drains_under_load_fail_no_request() {
    require_root();
    let site = site("drains", options());
    let arrivals = HOSTS.map(|host| watch_arrivals(&site, host));
    let requests = requests(&site);
    for number in 0..DRAINS {
        let (host, by_router) = (number % HOSTS.len(), number % 2 == 1);
        let seen = drain_and_return(&site, HOSTS[host], &arrivals[host], by_router);
        let by = if by_router { "slr-router" } else { "hostd" };
        println!(
            "drain {number} of {} by {by}: {} flows; last new one at {:?}, last flow at {:?}, safe at {:?}",
            HOSTS[host], seen.flows_before, seen.last_arrival, seen.last_flow, seen.safe
        );
    }
    requests.interrupt().unwrap();
    let report = requests.finish().unwrap();
    report.assert_clean("ten drains");
    assert_eq!(report.total("reset"), 0);
    println!("{} requests in ten drains, none failed", report.total("completed"));
    for node in ["slr1"].into_iter().chain(HOSTS) {
        assert_eq!(site.drops(node).unwrap(), [], "{node} dropped packets");
    }
}

#[test]
fn the_exit_code_says_how_a_wait_ended() {
    require_root();
    let site = site("drain-exit", options());
    let batch = lasting(&site, 100);
    eventually(SOON, "flows that last", || HOSTS.iter().all(|host| flows(&site, host) >= 2));

    let (status, text) = end(drain(&site, "h1", false, &["--timeout", "2"]));
    assert_eq!(status.code(), Some(3), "hostd, flows are left: {text}");
    let (status, text) = end(drain(&site, "h2", true, &["--timeout", "2"]));
    assert_eq!(status.code(), Some(3), "slr-router, flows are left: {text}");
    undrain(&site, "h2", true);

    // Somebody else ends the drain that this one waits for.
    let mut waiting = drain(&site, "h1", false, &[]);
    waiting.stderr.as_mut().unwrap().read_exact(&mut [0]).expect("it says that it waits");
    undrain(&site, "h1", false);
    let (status, text) = end(waiting);
    assert_eq!(status.code(), Some(1), "the drain was ended: {text}");
    let (text, accepted) = site.tell("slr1", "slr-router", &["drain", "h9"]).unwrap();
    assert!(!accepted && text.contains("h9"), "{text}");
    batch.finish().unwrap().assert_clean("drains that were given up");
}

#[test]
fn a_hostd_that_is_told_to_end_drains_first() {
    require_root();
    let mut options = options();
    let lines = HostLines { on_stop_s: 60, ..HostLines::default() };
    options.host_lines.insert("h2".to_owned(), lines);
    let mut site = site("drain-stop", options);
    let requests = requests(&site);
    let batch = lasting(&site, 25);
    eventually(SOON, "flows that last", || flows(&site, "h2") >= 4);

    let hostd = site.hostd("h2").unwrap();
    let start = Instant::now();
    hostd.signal(Signal::SIGTERM).unwrap();
    let (mut last_flow, mut left) = (Duration::ZERO, 0);
    while hostd.is_alive() {
        let at = start.elapsed();
        left = flows(&site, "h2");
        if left > 0 {
            last_flow = at;
        }
        assert!(at < SOON, "hostd ends: {}", hostd.log_tail());
    }
    let ended = start.elapsed();
    assert!(hostd.exit_status().unwrap().success(), "{}", hostd.log_tail());
    println!("hostd was told to end with flows until {last_flow:?}; it ended after {ended:?}");
    assert!(last_flow > INTERVAL * 2, "there were flows to wait for");
    assert!(ended >= last_flow && left == 0 && flows(&site, "h2") == 0, "hostd ended before its flows");
    batch.finish().unwrap().assert_clean("flows that last while hostd ends");

    site.start_hostd("h2").unwrap();
    eventually(SOON, "the host to be served again", || percent(&site, "h2") > 30.0);
    requests.interrupt().unwrap();
    requests.finish().unwrap().assert_clean("hostd ended and came back");
}
