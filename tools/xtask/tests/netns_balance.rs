//! Three hosts of unequal capacity at 80 % of what they can do together: shares find their place by themselves, stay there,
//! and move nothing that is established.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use slr_testkit::acceptance::strict;
use slr_testkit::{eventually, holds_within, require_root};
use xtask::load::{Flows, live_flows};
use xtask::paced::{Clients, Request};
use xtask::quota::Quota;
use xtask::series::{self, Panel};
use xtask::site::{HOSTS, HostLines, Site, SiteOptions, VIRTUAL};
use xtask::traffic;

/// What nginx may use of a CPU: 4 : 2 : 1.
const CPUS: [f64; 3] = [0.32, 0.16, 0.08];
/// Part of the capacity that is asked for, then the half of that.
const OFFERED: f64 = 0.8;
const OFFERED_LESS: f64 = 0.4;
/// How long the one, and the other.
const FULL: Duration = Duration::from_secs(50);
const LESS: Duration = Duration::from_secs(20);
/// By when shares are fair, and how fair: on the average of all windows, and in an acceptance run in every single one. A
/// machine whose CPUs others take away at times gives its hosts less than their quotas, which are what is fair here.
const SETTLED_S: f64 = 10.0;
const FAIR: f64 = 1.25;
const FAIR_ON_ANY_MACHINE: f64 = 1.6;
/// Over so long: of fewer requests, chance makes unequal parts.
const WINDOW_S: f64 = 5.0;
/// The shipped damping: budget, and the interval it is for.
const BUDGET: f64 = 0.05;
const INTERVAL_S: f64 = 0.4;
/// Shares at the start may differ by this part from equal ones.
const START_TOLERANCE: f64 = 0.1;
/// Shares that swing have been above their mean by this part of it, and below by as much, again and again.
const SWING: f64 = 0.15;
const LOOK_EVERY: Duration = Duration::from_millis(400);
const CLIENTS: usize = 600;
const LASTING: usize = 40;
const SOON: Duration = Duration::from_secs(20);
/// A page that costs nginx a millisecond and the network nothing: a list of so many files, compressed.
const FILES: usize = 160;
const PAGE: &str = "/work/";

/// Static shares, equal ones, and loads that say nothing until there are quotas. A server that has a queue answers its health check late: that alone is
/// no reason to give it up.
fn options() -> SiteOptions {
    let lines = HostLines { host: "load = \"0.1\"".to_owned(), ..HostLines::default() };
    let host_lines = HOSTS.iter().map(|host| ((*host).to_owned(), lines.clone())).collect();
    let check_timeout_ms = Some(5_000);
    let mut options = SiteOptions { host_lines, check_timeout_ms, ..SiteOptions::default() };
    options.subnets.truncate(2);
    options
}

/// Gives nginx work to do, and so much CPU for it.
fn limit(site: &Site, host: &str, cpus: f64) -> Quota {
    let dir = site.lab().service_dir(host, "nginx");
    let pages = dir.join("www/work");
    std::fs::create_dir_all(&pages).unwrap();
    for number in 0..FILES {
        std::fs::write(pages.join(format!("a-file-in-a-list-{number}")), "").unwrap();
    }
    let path = dir.join("nginx.conf");
    let config = std::fs::read_to_string(&path).unwrap();
    let place = "location /upload/ {";
    assert!(config.contains(place));
    let config = config.replacen(
        place,
        &format!("location {PAGE} {{ autoindex on; gzip on; gzip_comp_level 9; gzip_http_version 1.1; }}\n{place}"),
        1,
    );
    std::fs::write(&path, config).unwrap();
    let pid = std::fs::read_to_string(dir.join("nginx.pid")).unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGHUP).unwrap();
    let has_page = || {
        let page = format!("curl --silent --fail http://127.0.0.1{PAGE} >/dev/null && echo yes || echo no");
        site.lab().sh(host, &page).unwrap().trim() == "yes"
    };
    eventually(SOON, "nginx with its page", has_page);
    Quota::on_service(site.lab(), host, "nginx", cpus).unwrap()
}

/// Requests a second that a host answers when it is asked for more.
fn capacities(site: &Site) -> [f64; 3] {
    let capacity = |number: usize| {
        let address = format!("10.1.1{}.2", number + 1);
        let clients = Clients::start(site.lab(), "c1", &[&address], PAGE, 8, 1e6).unwrap();
        let settle = Duration::from_secs(1);
        let until = Duration::from_secs(5);
        thread::sleep(until.saturating_sub(clients.began().elapsed()));
        let done = clients.stop().unwrap();
        let ends: Vec<Duration> = done.iter().map(|request| request.began + request.took).collect();
        let counted = ends.iter().filter(|end| **end >= settle && **end < until).count();
        counted as f64 / (until - settle).as_secs_f64()
    };
    thread::scope(|scope| [0, 1, 2].map(|number| scope.spawn(move || capacity(number))).map(|t| t.join().unwrap()))
}

/// Loads are what nginx uses of its quota, from now on.
fn tell_loads(site: &mut Site, quotas: &[Quota]) {
    for (host, quota) in HOSTS.iter().zip(quotas) {
        let tables = format!(
            "\n[[load]]\nname = \"cpu\"\nsource = \"cpu\"\ncgroup = {:?}\ncpus = {}\n",
            quota.cgroup(),
            quota.cpus()
        );
        site.options_mut().host_lines.insert((*host).to_owned(), HostLines { tables, ..HostLines::default() });
        site.write_config(host).unwrap();
        let (answer, accepted) = site.reload_host(host).unwrap();
        assert!(accepted, "{answer}");
    }
    let says = |host: &str| {
        let loads = site.show_host(host, "load").unwrap();
        loads.as_array().unwrap().iter().any(|load| load["name"] == "cpu" && load["value"].is_number())
    };
    eventually(SOON, "loads", || HOSTS.iter().all(|host| says(host)));
}

/// A ring at one moment.
#[derive(Clone, Debug)]
struct Ring {
    /// Of new flows, 0 to 1, by host.
    shares: [f64; 3],
    slots: f64,
    moved_by_cost: f64,
    moved_by_state: f64,
    clipped: f64,
}

/// The rings of nginx, as the router tells.
fn rings(site: &Site) -> BTreeMap<String, Ring> {
    let all = site.show("policy").unwrap();
    let ring = |ring: &Value| {
        let number = |field: &str| ring[field].as_f64().unwrap();
        let host = |name: &str| ring["hosts"].as_array().unwrap().iter().find(|host| host["host"] == name).cloned();
        let share = |name| host(name).map_or(0.0, |host| host["percent"].as_f64().unwrap() / 100.0);
        Ring {
            shares: HOSTS.map(share),
            slots: number("slots"),
            moved_by_cost: number("moved_by_cost"),
            moved_by_state: number("moved_by_state"),
            clipped: number("clipped"),
        }
    };
    let name = |ring: &Value| ring["service"].as_str().unwrap().to_owned();
    let of_nginx = all.as_array().unwrap().iter().filter(|ring| name(ring).starts_with("tcp/80@"));
    of_nginx.map(|found| (name(found), ring(found))).collect()
}

/// What was seen at moments since the clients began.
struct Look {
    at_s: f64,
    rings: BTreeMap<String, Ring>,
    used_s: [f64; 3],
}

fn look(site: &Site, quotas: &[Quota], began: Instant) -> Look {
    let used: Vec<f64> = quotas.iter().map(|quota| quota.used_s().unwrap()).collect();
    Look { at_s: began.elapsed().as_secs_f64(), rings: rings(site), used_s: used.try_into().unwrap() }
}

/// Requests that each host got within a window, as a multiple of its fair part of them.
fn ratios(requests: &[Request], fair: [f64; 3], begin_s: f64, end_s: f64) -> [f64; 3] {
    let within = |request: &&Request| (begin_s..end_s).contains(&request.began.as_secs_f64());
    let mut counts = [0.0; 3];
    for request in requests.iter().filter(within) {
        let host = HOSTS.iter().position(|host| request.answer.as_deref() == Ok(host));
        counts[host.expect("every request was answered by a host")] += 1.0;
    }
    let all: f64 = counts.iter().sum();
    [0, 1, 2].map(|host| counts[host] / all.max(1.0) / fair[host])
}

fn largest(ratios: [f64; 3]) -> f64 {
    ratios.into_iter().fold(0.0, f64::max)
}

/// How often a line goes from far above its mean to far below it, or back.
fn swings(line: &[f64]) -> usize {
    let mean = line.iter().sum::<f64>() / line.len() as f64;
    let sides = line.iter().filter(|value| (*value / mean - 1.0).abs() > SWING).map(|value| *value > mean);
    let mut sides: Vec<bool> = sides.collect();
    sides.dedup();
    sides.len().saturating_sub(1)
}

fn deviation(line: &[f64]) -> f64 {
    let mean = line.iter().sum::<f64>() / line.len() as f64;
    (line.iter().map(|value| (value / mean - 1.0).powi(2)).sum::<f64>() / line.len() as f64).sqrt()
}

/// Slots moved because of costs from one moment on until another, in parts of the ring, the worst of the rings.
fn moved(looks: &[Look], begin_s: f64, end_s: f64) -> f64 {
    let within: Vec<&Look> = looks.iter().filter(|look| (begin_s..=end_s).contains(&look.at_s)).collect();
    let (first, last) = (within.first().unwrap(), within.last().unwrap());
    let of =
        |name: &String| (last.rings[name].moved_by_cost - first.rings[name].moved_by_cost) / last.rings[name].slots;
    first.rings.keys().map(of).fold(0.0, f64::max)
}

/// Between two looks no more was moved than the budget of the intervals between them.
fn assert_budget(looks: &[Look]) {
    for pair in looks.windows(2) {
        let intervals = ((pair[1].at_s - pair[0].at_s) / INTERVAL_S).ceil() + 1.0;
        for (name, ring) in &pair[1].rings {
            let part = (ring.moved_by_cost - pair[0].rings[name].moved_by_cost) / ring.slots;
            assert!(part <= BUDGET * intervals + 1e-9, "{name}: {part} of the slots moved in {intervals} intervals");
        }
    }
}

fn panels(looks: &[Look], requests: &[Request], fair: [f64; 3], end_s: f64) -> Vec<Panel> {
    let per_host = |value: &dyn Fn(usize) -> Vec<(f64, f64)>| -> Vec<(String, Vec<(f64, f64)>)> {
        HOSTS.iter().enumerate().map(|(host, name)| ((*name).to_owned(), value(host))).collect()
    };
    let ring = |look: &Look| look.rings.values().next().unwrap().clone();
    let windows: Vec<f64> = (0..).map(|n| f64::from(n) * 0.5).take_while(|at| at + WINDOW_S <= end_s).collect();
    let arrived = |host: usize| -> Vec<(f64, f64)> {
        windows.iter().map(|&at| (at + WINDOW_S, ratios(requests, fair, at, at + WINDOW_S)[host])).collect()
    };
    let used = |host: usize| -> Vec<(f64, f64)> {
        let part = |pair: &[Look]| {
            let used = pair[1].used_s[host] - pair[0].used_s[host];
            (pair[1].at_s, used / (pair[1].at_s - pair[0].at_s) / CPUS[host])
        };
        looks.windows(2).map(part).collect()
    };
    let moved = |name: &String| -> (String, Vec<(f64, f64)>) {
        let part = |pair: &[Look]| {
            let ring = &pair[1].rings[name];
            (pair[1].at_s, (ring.moved_by_cost - pair[0].rings[name].moved_by_cost) * 100.0 / ring.slots)
        };
        (name.clone(), looks.windows(2).map(part).collect())
    };
    vec![
        Panel {
            title: "share of new flows, IPv4",
            unit: "share",
            lines: per_host(&|host| looks.iter().map(|look| (look.at_s, ring(look).shares[host])).collect()),
        },
        Panel { title: "requests in 5 s, times the fair part", unit: "ratio", lines: per_host(&arrived) },
        Panel { title: "CPU of the quota", unit: "part", lines: per_host(&used) },
        Panel { title: "slots moved between looks, %", unit: "%", lines: looks[0].rings.keys().map(moved).collect() },
    ]
}

#[test]
fn unequal_hosts_get_their_fair_share_and_it_stays() {
    require_root();
    let mut site = Site::up("balance", options()).unwrap();
    let quotas: Vec<Quota> = HOSTS.iter().zip(CPUS).map(|(host, cpus)| limit(&site, host, cpus)).collect();
    let capacity = capacities(&site);
    let total: f64 = capacity.iter().sum();
    let fair = capacity.map(|own| own / total);
    println!("capacities {capacity:.0?} requests a second, fair shares {fair:.3?}");
    tell_loads(&mut site, &quotas);
    let lasting = lasting_flows(&site);
    let before = established(&site);
    // From static shares to the shipped policy: idle hosts keep what they have.
    site.options_mut().cost = None;
    site.write_config("slr1").unwrap();
    let (answer, accepted) = site.reload().unwrap();
    assert!(accepted, "{answer}");
    let is_near = |ring: &Ring| ring.shares.iter().all(|share| (share * 3.0 - 1.0).abs() < START_TOLERANCE);
    let ramped = holds_within(SOON, || rings(&site).values().all(is_near));
    assert!(ramped, "shares at the start are not about equal: {:?}", rings(&site));
    let targets: Vec<&str> = VIRTUAL.to_vec();
    let clients = Clients::start(site.lab(), "c1", &targets, PAGE, CLIENTS, OFFERED * total).unwrap();
    let looks = Mutex::new(Vec::new());
    let look_until = |end: Duration| {
        while clients.began().elapsed() < end {
            looks.lock().unwrap().push(look(&site, &quotas, clients.began()));
            thread::sleep(LOOK_EVERY);
        }
    };
    look_until(FULL);
    clients.set_rate(OFFERED_LESS * total);
    look_until(FULL + LESS);
    let after = established(&site);
    let requests = clients.stop().unwrap();
    let looks = looks.into_inner().unwrap();
    lasting.interrupt().unwrap();
    lasting.finish().unwrap().assert_clean("flows that last while shares move");
    assert_eq!(before, after, "established flows moved");

    judge(&looks, &requests, capacity, fair);
}

fn judge(looks: &[Look], requests: &[Request], capacity: [f64; 3], fair: [f64; 3]) {
    let (full_s, end_s) = (FULL.as_secs_f64(), (FULL + LESS).as_secs_f64());
    let failed: Vec<&Request> = requests.iter().filter(|request| request.answer.is_err()).collect();
    assert!(failed.is_empty(), "{} of {} requests failed, {:?}", failed.len(), requests.len(), failed[0]);
    let windows: Vec<f64> =
        (0..).map(|n| SETTLED_S + f64::from(n) * 0.5).take_while(|at| at + WINDOW_S <= full_s).collect();
    let worst: Vec<f64> = windows.iter().map(|&at| largest(ratios(requests, fair, at, at + WINDOW_S))).collect();
    let (mean, max) = (worst.iter().sum::<f64>() / worst.len() as f64, worst.iter().copied().fold(0.0, f64::max));
    let mut swung = 0;
    let mut deviates = 0.0_f64;
    let settled: Vec<&Look> = looks.iter().filter(|look| (SETTLED_S..full_s).contains(&look.at_s)).collect();
    for name in looks[0].rings.keys() {
        for host in 0..HOSTS.len() {
            let line: Vec<f64> = settled.iter().map(|look| look.rings[name].shares[host]).collect();
            swung = swung.max(swings(&line));
            deviates = deviates.max(deviation(&line));
        }
    }
    let offered = requests.iter().filter(|r| r.began.as_secs_f64() < full_s).count() as f64 / full_s;
    let about = json!({
        "capacity_requests_per_s": capacity, "fair_shares": fair, "offered_requests_per_s": offered,
        "busiest_host_times_fair": {"windows_of_s": WINDOW_S, "from_s": SETTLED_S, "mean": mean, "max": max},
        "shares": {"swings": swung, "largest_relative_deviation": deviates},
        "slots_moved_part_of_ring": {
            "until_10_s": moved(looks, 0.0, SETTLED_S),
            "10_s_to_50_s": moved(looks, SETTLED_S, full_s),
            "load_halved": moved(looks, full_s, end_s),
        },
        "evaluations_clipped_by_the_budget":
            looks.last().unwrap().rings.values().map(|ring| ring.clipped).fold(0.0, f64::max)
            - looks[0].rings.values().map(|ring| ring.clipped).fold(0.0, f64::max),
    });
    println!("{about:#}");
    let directory = std::env::var("SLR_KEEP_PLOTS").unwrap_or_else(|_| env!("CARGO_TARGET_TMPDIR").to_owned());
    let title = "three hosts of capacity 4 : 2 : 1, 80 % of it asked for, 40 % from 50 s on";
    series::keep(Path::new(&directory), "balance-measured", title, &about, &panels(looks, requests, fair, end_s))
        .unwrap();

    assert_budget(looks);
    let states = |look: &Look| look.rings.values().map(|ring| ring.moved_by_state).sum::<f64>();
    assert_eq!(states(&looks[0]), states(looks.last().unwrap()), "hosts came or went");
    assert!(mean <= FAIR, "the busiest host had {mean:.2} of its fair share on average");
    let fair = if strict() { FAIR } else { FAIR_ON_ANY_MACHINE };
    assert!(max <= fair, "the busiest host had {max:.2} of its fair share in a window of {WINDOW_S} s");
    assert!(swung <= 1, "shares swing: {swung} times between 15 % above and below their mean");
}

/// Connections that say something now and then.
fn lasting_flows(site: &Site) -> traffic::Running {
    let words = format!(
        "--target {} --target {} --flow keepalive={LASTING} --think 1s --path /who --ramp 1s --timeout 20s \
         --stall-timeout 20s --duration 600s",
        VIRTUAL[0], VIRTUAL[1]
    );
    let running = traffic::start(site.lab(), "c2", &words).unwrap();
    eventually(SOON, "flows that last", || live_flows(site).is_ok_and(|flows| flows.len() >= LASTING));
    running
}

fn established(site: &Site) -> Flows {
    let flows = live_flows(site).unwrap();
    assert!(flows.len() >= LASTING);
    flows
}
