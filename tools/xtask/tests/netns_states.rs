//! What each failure of a host or of one of its services comes to, under load: who gets no new flows and how soon, who loses
//! pins and who keeps them. The table of docs/failure-model.md, with real daemons.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use slr_testkit::acceptance::allowed;
use slr_testkit::lab::Shaping;
use slr_testkit::{eventually, holds_within, require_root};
use xtask::arrivals::Arrivals;
use xtask::faults::{NginxFault, Starved};
use xtask::knocks::Knocks;
use xtask::load::start_servers;
use xtask::site::{HOSTS, HostLines, Site, SiteOptions, VIRTUAL};
use xtask::states::{Mark, become_within, of};
use xtask::traffic::{self, Running};

/// Every fault so often, each time at another host; `SLR_ROUNDS` asks for more.
static ROUNDS: LazyLock<usize> =
    LazyLock::new(|| std::env::var("SLR_ROUNDS").map_or(2, |rounds| rounds.parse().expect("SLR_ROUNDS is a number")));
/// New flows avoid a fault after this at the latest, and flows are un-pinned.
const AVOIDED: Duration = Duration::from_millis(1_500);
/// How long a fault is looked at: longer than it may take, so that a flow that comes late would be seen.
const WATCHED: Duration = Duration::from_millis(4_000);
const SOON: Duration = Duration::from_secs(15);
const SLOW_START: Duration = Duration::from_secs(2);
/// How long hostd is away.
const AWAY: Duration = Duration::from_secs(5);
/// The shipped interval of adverts.
const INTERVAL: Duration = Duration::from_millis(400);
/// A bad link: this part of its packets, each way, for so long.
const LOSS: f64 = 0.2;
const LOSSY: Duration = Duration::from_secs(10);
/// Long-lived flows, of each kind: to services that stand beside nginx on the same hosts.
const TCP: usize = 110;
const UDP: usize = 60;
/// Where they come from, as `show flows` writes it.
const LASTING_CLIENT: [&str; 2] = ["10.0.2.2:", "[fd00:0:2::2]:"];
/// What every host offers beside nginx, and nothing checks: state and pins follow the host alone.
const BESIDE: [&str; 2] = ["tcp/7007", "udp/7007"];

fn options() -> SiteOptions {
    let slow_start_s = SLOW_START.as_secs();
    let policy = format!("\n[policy]\ncost = \"1.0 / weight\"\nbudget = 1.0\nslow_start_s = {slow_start_s}\n");
    let mut options = SiteOptions { cost: None, control: policy, ..SiteOptions::default() };
    options.subnets.truncate(2);
    let mut tables = String::new();
    for (subnet, _) in &options.subnets {
        for service in BESIDE {
            tables.push_str(&format!("\n[[service]]\nsubnet = \"{subnet}\"\nservice = \"{service}\"\n"));
        }
    }
    let lines = HostLines { tables, ..HostLines::default() };
    options.host_lines = HOSTS.iter().map(|host| ((*host).to_owned(), lines.clone())).collect();
    options
}

/// A site with its load.
struct Scene {
    site: Site,
    lasting: Running,
    knocks: Knocks,
}

/// What one fault came to.
#[derive(Debug, Default)]
struct Times(BTreeMap<&'static str, Vec<Duration>>);

impl Times {
    fn note(&mut self, what: &'static str, time: Duration) {
        self.0.entry(what).or_default().push(time);
    }

    /// Prints all of them, with the load of the machine, which is shared.
    fn print(&self, title: &str) {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        println!("{title} (load average {})", load.split(' ').next().unwrap_or_default());
        for (what, times) in &self.0 {
            let mut ms: Vec<_> = times.iter().map(Duration::as_millis).collect();
            ms.sort_unstable();
            println!("  {what}: max {} ms of {ms:?}", ms.last().copied().unwrap_or_default());
        }
    }

    fn assert_avoided(&self, what: &str) {
        let max = self.0[what].iter().max().copied().unwrap();
        assert!(max <= allowed(AVOIDED), "{what}: {max:?}");
    }
}

/// A pinned flow: protocol, client, virtual host.
type Pinned = BTreeSet<(String, String, String)>;

impl Scene {
    fn new(name: &str) -> Self {
        let site = Site::up(name, options()).unwrap();
        Arrivals::start(site.lab()).unwrap();
        start_servers(site.lab()).unwrap();
        let targets = VIRTUAL.map(|address| format!("--target {address}")).join(" ");
        let words = format!(
            "{targets} --flow interactive={TCP} --flow udp={UDP} --interval 400ms --ramp 2s --timeout 20s \
             --stall-timeout 20s --duration 600s"
        );
        let lasting = traffic::start(site.lab(), "c2", &words).unwrap();
        let knocks = Knocks::start(&site).unwrap();
        let scene = Self { site, lasting, knocks };
        let count = || HOSTS.iter().map(|host| scene.beside(host).len()).sum::<usize>();
        eventually(SOON, "the lasting flows to be pinned", || count() == TCP + UDP);
        scene
    }

    /// The pinned flows of a host.
    fn pinned(&self, host: &str) -> Pinned {
        let words = ["show", "flows", "--json", "--limit", "100000", "--host", host];
        let (text, fine) = self.site.tell("slr1", "slr-router", &words).unwrap();
        assert!(fine, "show flows: {text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        let flows = answer["flows"].as_array().unwrap().iter().filter(|flow| flow["pinned"] == true);
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        flows.map(|flow| (text(&flow["protocol"]), text(&flow["client"]), text(&flow["virtual_host"]))).collect()
    }

    /// The lasting ones among them, which go to the services beside nginx.
    fn beside(&self, host: &str) -> Pinned {
        let lasts = |client: &str| LASTING_CLIENT.iter().any(|address| client.starts_with(address));
        self.pinned(host).into_iter().filter(|(_, client, _)| lasts(client)).collect()
    }

    /// Those to nginx.
    fn to_nginx(&self, host: &str) -> Pinned {
        self.pinned(host).into_iter().filter(|(_, _, service)| service.ends_with(":80")).collect()
    }

    fn beside_all(&self) -> BTreeMap<&'static str, Pinned> {
        HOSTS.iter().map(|host| (*host, self.beside(host))).collect()
    }

    /// When the last new flow was sent to nginx on a host, as of now.
    fn last(&self, host: &str) -> Instant {
        Arrivals::at(self.site.lab()).last(host).unwrap()
    }

    /// The same since a fault, seen once it cannot come late any more.
    fn last_arrival(&self, host: &str, since: Instant) -> Duration {
        thread::sleep((since + WATCHED).saturating_duration_since(Instant::now())); // whoever comes late is to be seen
        let last = self.last(host);
        assert!(Instant::now() - last > Duration::from_millis(500), "new flows still reach {host}");
        last.saturating_duration_since(since)
    }

    /// New UDP flows are answered, and by these hosts.
    fn assert_new_udp(&self, hosts: &[&str]) {
        let targets = VIRTUAL.map(|address| format!("--target {address}")).join(" ");
        let words = format!("{targets} --flow udp=40 --messages 2 --interval 100ms --timeout 5s");
        let report = traffic::run(self.site.lab(), "c1", &words).unwrap();
        report.assert_clean("new UDP flows");
        let shares = report.shares("udp");
        // Host, process, and its start.
        let servers: Vec<&str> = shares.keys().filter_map(|server| server.split('/').next()).collect();
        assert_eq!(servers, hosts, "who answers new UDP flows");
    }

    /// Slow start: the returned host's share of nginx's new flows, 1.0 being all of it.
    fn ramp(&self, host: &str) -> f64 {
        let policy = self.site.show("policy").unwrap();
        let rings = policy.as_array().unwrap().iter();
        let of_nginx = rings.filter(|ring| ring["service"].as_str().is_some_and(|key| key.starts_with("tcp/80@")));
        let hosts = of_nginx.flat_map(|ring| ring["hosts"].as_array().unwrap());
        let ramps = hosts.filter(|entry| entry["host"] == host).filter_map(|entry| entry["ramp"].as_f64());
        ramps.fold(1.0, f64::min)
    }

    /// A service is back, with a share that grows; new flows reach it.
    fn await_return(&self, host: &str, times: &mut Times) {
        let begin = Instant::now();
        assert!(become_within(&self.site, SOON, host, "", "active"), "{host} does not return: {:?}", self.states(host));
        times.note("until the state is active again", begin.elapsed());
        // Rings follow states at once or, when they have just been built, an instant later.
        self.await_that("the share to begin with a part", || self.ramp(host) < 1.0);
        eventually(SOON, "the share to be whole again", || self.ramp(host) >= 1.0);
        let whole = Instant::now();
        eventually(SOON, "a new flow at the returned host", || self.last(host) > whole);
    }

    /// Waits; or panics with what the router says.
    #[track_caller]
    fn await_that(&self, what: &str, condition: impl FnMut() -> bool) {
        if !holds_within(SOON, condition) {
            let [states, sessions, alarms] = ["states", "sessions", "alarms"]
                .map(|what| self.site.tell("slr1", "slr-router", &["show", what]).unwrap().0);
            let log = self.site.router().unwrap().log_tail();
            panic!("waited {SOON:?} in vain for {what}:\n{states}\n{sessions}\n{alarms}\n{log}");
        }
    }

    fn states(&self, host: &str) -> Vec<String> {
        of(&self.site, host, "").unwrap()
    }

    /// Ends the load. Every lasting flow has been answered all the time by one server, and nothing was lost.
    fn finish_whole(self, what: &str) {
        self.lasting.interrupt().unwrap();
        let report = self.lasting.finish().unwrap();
        report.assert_clean(what);
        assert_eq!(report.total("reset"), 0, "{what}: flows were reset");
        assert_eq!(report.total("started"), (TCP + UDP) as u64, "{what}: lasting flows had to start again");
        for kind in report.kinds() {
            let exchanges = &kind["exchanges"];
            assert_eq!(exchanges["lost"], 0, "{what}: messages were lost: {kind}");
            assert!(exchanges["answered"].as_u64() > Some(0), "{what}: {kind}");
        }
        let knocks = self.knocks.stop();
        let unserved = knocks.iter().filter(|knock| !knock.is_served()).count();
        println!("{what}: {} lasting flows whole; {} new flows, {unserved} unserved", TCP + UDP, knocks.len());
    }
}

/// Each of these services went exactly this way, and no other changed.
#[track_caller]
fn assert_ways(scene: &Scene, mark: Mark, host: &str, services: usize, wanted: &[&[&str]]) {
    let ways = mark.ways(&scene.site, host).unwrap();
    assert_eq!(ways.len(), services, "services that changed: {ways:?}");
    for (service, way) in ways {
        let way: Vec<&str> = way.iter().map(String::as_str).collect();
        assert!(wanted.contains(&way.as_slice()), "{host} {service} went {way:?}, not {wanted:?}");
    }
}

fn try_nginx(scene: &Scene, fault: NginxFault, host: &str, times: &mut Times) {
    let before = scene.beside_all();
    let mark = Mark::here(&scene.site).unwrap();
    let begin = Instant::now();
    fault.begin(&scene.site, host).unwrap();
    let down = become_within(&scene.site, SOON, host, "tcp/80@", "down");
    assert!(down, "{fault:?} on {host}: {:?}", scene.states(host));
    times.note("until both families are seen down", begin.elapsed());
    eventually(SOON, "nginx's flows to be un-pinned", || scene.to_nginx(host).is_empty());
    times.note("until no flow to nginx is pinned", begin.elapsed());
    scene.assert_new_udp(&HOSTS);
    times.note("the last new flow to nginx", scene.last_arrival(host, begin));
    assert_eq!(scene.to_nginx(host), Pinned::new(), "{fault:?}: flows to nginx");
    assert_eq!(scene.beside_all(), before, "{fault:?}: flows of the services beside nginx moved or went");
    fault.end(&scene.site, host).unwrap();
    scene.await_return(host, times);
    assert_ways(scene, mark, host, 2, &[&["active > down", "down > active"]]);
    assert_eq!(scene.beside_all(), before, "{fault:?}: flows of the services beside nginx moved or went");
}

#[test]
fn a_web_server_that_ends_freezes_or_fails_is_avoided_and_the_services_beside_it_are_not() {
    require_root();
    let scene = Scene::new("states");
    for fault in NginxFault::ALL {
        let mut times = Times::default();
        for round in 0..*ROUNDS {
            try_nginx(&scene, fault, HOSTS[round % HOSTS.len()], &mut times);
        }
        times.print(&format!("nginx {fault:?}"));
        times.assert_avoided("the last new flow to nginx");
        times.assert_avoided("until no flow to nginx is pinned");
    }
    scene.finish_whole("nginx at fault");
}

/// Connections to every host that are there now, whatever became of those before.
fn fresh_connections(scene: &Scene) -> Running {
    let targets = VIRTUAL.map(|address| format!("--target {address}")).join(" ");
    let words = format!("{targets} --flow interactive=40 --interval 400ms --duration 120s");
    let running = traffic::start(scene.site.lab(), "c2", &words).unwrap();
    let has_some = |host: &&str| scene.beside(host).iter().any(|(protocol, _, _)| protocol == "tcp");
    eventually(SOON, "connections to every host", || HOSTS.iter().all(&has_some));
    running
}

/// Cuts a host off, and waits until it is known.
fn cut_off(scene: &Scene, host: &str, times: &mut Times) {
    let begin = Instant::now();
    scene.site.lab().shape("site", host, Shaping::default().blackhole(true)).unwrap();
    scene.await_that("the host's flows to be un-pinned", || scene.pinned(host).is_empty());
    times.note("until no flow is pinned to the host", begin.elapsed());
    assert!(become_within(&scene.site, SOON, host, "", "down"), "{host}: {:?}", scene.states(host));
    times.note("the last new flow to the host", scene.last_arrival(host, begin));
}

fn try_blackhole(scene: &Scene, host: &str, times: &mut Times) {
    let fresh = fresh_connections(scene);
    let before = scene.beside_all();
    let orphans = scene.site.reason("slr1", "fwd_orphan_chain").unwrap();
    let mark = Mark::here(&scene.site).unwrap();
    cut_off(scene, host, times);
    assert_eq!(scene.pinned(host), Pinned::new(), "flows of a host that is down");
    for other in HOSTS.iter().filter(|other| **other != host) {
        let now = scene.beside(other);
        let gone: Vec<_> = before[other].difference(&now).collect();
        assert!(gone.is_empty(), "{host} was cut off, and {other} lost {gone:?}");
    }
    let placed = || scene.site.reason("slr1", "fwd_orphan_chain").unwrap() > orphans;
    scene.await_that("orphans to be placed elsewhere", placed);
    fresh.interrupt().unwrap();
    fresh.finish().unwrap();
    scene.assert_new_udp(&HOSTS.iter().filter(|other| **other != host).copied().collect::<Vec<_>>());

    scene.site.lab().shape("site", host, Shaping::clear()).unwrap();
    scene.await_return(host, times);
    let services = scene.states(host).len();
    // Whether silence is a state of its own for an instant depends on what is noticed first, there and back.
    let ways: [&[&str]; 4] = [
        &["active > silent", "silent > down", "down > active"],
        &["active > silent", "silent > down", "down > silent", "silent > active"],
        &["active > down", "down > active"],
        &["active > down", "down > silent", "silent > active"],
    ];
    assert_ways(scene, mark, host, services, &ways);
}

#[test]
fn a_host_that_is_cut_off_is_avoided_and_its_flows_are_placed_elsewhere() {
    require_root();
    let scene = Scene::new("states-cut");
    let mut times = Times::default();
    for round in 0..*ROUNDS {
        try_blackhole(&scene, HOSTS[round % HOSTS.len()], &mut times);
    }
    times.print("link swallows everything, carrier up");
    times.assert_avoided("the last new flow to the host");
    times.assert_avoided("until no flow is pinned to the host");
    scene.lasting.interrupt().unwrap();
    assert_eq!(
        scene.site.show("alarms").unwrap(),
        serde_json::json!([]),
        "one of three hosts is no reason for an alarm"
    );
}

/// Looks at a host all the time that its daemon cannot speak: its tunnel answers, nobody says *down*.
fn watch_absence(scene: &Scene, host: &str, until: Instant) {
    while Instant::now() < until {
        let sessions = scene.site.show("sessions").unwrap();
        let session = sessions.as_array().unwrap().iter().find(|session| session["name"] == host).unwrap();
        assert_eq!(session["path"], "alive", "keepalives are answered by the kernel: {session}");
        assert!(!scene.states(host).contains(&"down".to_owned()), "{host} is down");
        thread::sleep(Duration::from_millis(100)); // how often it is looked at
    }
}

/// What keeps hostd from working.
#[derive(Clone, Copy, Debug)]
enum Absence {
    Killed,
    Stopped,
    Starved,
}

fn try_hostd(scene: &mut Scene, absence: Absence, host: &str, times: &mut Times) {
    let before = scene.beside_all();
    let mark = Mark::here(&scene.site).unwrap();
    let hostd = scene.site.hostd(host).unwrap();
    let end = Instant::now() + AWAY;
    match absence {
        Absence::Killed => {
            hostd.kill().unwrap();
            watch_absence(scene, host, end);
            scene.site.start_hostd(host).unwrap();
        }
        Absence::Stopped => {
            hostd.signal(Signal::SIGSTOP).unwrap();
            watch_absence(scene, host, end);
            scene.site.hostd(host).unwrap().signal(Signal::SIGCONT).unwrap();
        }
        Absence::Starved => {
            let starved = Starved::begin(hostd.pid()).unwrap();
            watch_absence(scene, host, end);
            let throttled = starved.throttled().unwrap();
            assert!(throttled > Duration::ZERO, "hostd did not notice that it was starved");
            times.note("throttled", throttled);
        }
    }
    let back = Instant::now();
    assert!(become_within(&scene.site, SOON, host, "", "active"), "{host} does not return: {:?}", scene.states(host));
    times.note("until the state is active again", back.elapsed());
    eventually(SOON, "the share to be whole again", || scene.ramp(host) >= 1.0);
    let ways = mark.ways(&scene.site, host).unwrap();
    for (service, way) in &ways {
        assert_eq!(way, &["active > silent", "silent > active"], "{absence:?}: {host} {service}");
    }
    println!("hostd of {host} {absence:?}: {} services were silent for a while", ways.len());
    assert_eq!(scene.beside_all(), before, "hostd {absence:?}: flows moved or went");
}

#[test]
fn a_host_whose_daemon_is_killed_or_starved_loses_nothing() {
    require_root();
    let mut scene = Scene::new("states-hostd");
    for absence in [Absence::Killed, Absence::Stopped, Absence::Starved] {
        let mut times = Times::default();
        for round in 0..*ROUNDS {
            try_hostd(&mut scene, absence, HOSTS[round % HOSTS.len()], &mut times);
        }
        times.print(&format!("hostd {absence:?} for {AWAY:?}"));
    }
    assert_eq!(scene.site.reason("slr1", "fwd_orphan_chain").unwrap(), 0, "a pinned flow was forgotten");
    scene.finish_whole("hostd at fault");
}

#[test]
fn what_a_bad_link_loses_changes_no_state() {
    require_root();
    let scene = Scene::new("states-loss");
    let mark = Mark::here(&scene.site).unwrap();
    for round in 0..*ROUNDS {
        let host = HOSTS[round % HOSTS.len()];
        scene.site.lab().shape(host, "site", Shaping::default().blackhole(true).only_from(host)).unwrap();
        thread::sleep(INTERVAL); // what a host says in this time is one advert
        scene.site.lab().shape(host, "site", Shaping::clear()).unwrap();
        thread::sleep(WATCHED); // a state that was to change would have
        assert_eq!(mark.changes(&scene.site).unwrap(), [], "one advert of {host} was lost");
    }
    for round in 0..*ROUNDS {
        let host = HOSTS[round % HOSTS.len()];
        scene.site.lab().shape(host, "site", Shaping::default().loss(LOSS)).unwrap();
        thread::sleep(LOSSY); // to lose packets so long is the case under test
        scene.site.lab().shape(host, "site", Shaping::clear()).unwrap();
        thread::sleep(WATCHED); // a state that was to change would have
        assert_eq!(mark.changes(&scene.site).unwrap(), [], "{LOSS} of the packets of {host} were lost");
    }
    scene.lasting.interrupt().unwrap();
    let knocks = scene.knocks.stop();
    println!("loss: {} new flows, {} unserved", knocks.len(), knocks.iter().filter(|knock| !knock.is_served()).count());
}

#[test]
fn two_hosts_that_fail_one_after_the_other_are_both_avoided_and_the_third_serves() {
    require_root();
    let scene = Scene::new("states-two");
    let mut times = Times::default();
    for round in 0..*ROUNDS {
        let [first, second, third] = [0, 1, 2].map(|n| HOSTS[(round + n) % HOSTS.len()]);
        for host in [first, second] {
            cut_off(&scene, host, &mut times);
        }
        assert_eq!(
            scene.site.show("alarms").unwrap(),
            serde_json::json!([]),
            "one host at a time is no reason for an alarm"
        );
        scene.assert_new_udp(&[third]);
        for host in [second, first] {
            scene.site.lab().shape("site", host, Shaping::clear()).unwrap();
            scene.await_return(host, &mut times);
        }
    }
    times.print("two hosts one after the other");
    times.assert_avoided("the last new flow to the host");
    times.assert_avoided("until no flow is pinned to the host");
    scene.lasting.interrupt().unwrap();
}
