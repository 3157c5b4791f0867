//! The router's web page in a real browser: what it shows of a site with traffic, how soon a host's failure and return are seen, by
//! keyboard too, and that it stays usable with a thousand hosts and subnets. Screenshots go to `target/screenshots`.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use slr_testkit::acceptance::allowed;
use slr_testkit::lab::Lab;
use slr_testkit::topology::Topology;
use slr_testkit::{holds_within, require_root};
use xtask::browser::Browser;
use xtask::load::start_servers;
use xtask::pair::{Kind, Pair, PairOptions, VIRTUAL};
use xtask::site::program;
use xtask::traffic;

const PAGE: &str = "http://127.0.0.1:9480/";
const API: &str = "\n[api]\npage = \"127.0.0.1:9480\"\n";
/// From the router's change of state to the page.
const SEEN_WITHIN: Duration = Duration::from_secs(1);
/// Drawing a thousand hosts and subnets; it happens twice a second.
const DRAWN_WITHIN_MS: u64 = 250;
const MANY: usize = 1_000;

fn chromium(lab: &Lab, node: &str) -> Command {
    lab.command(node, "chromium").unwrap()
}

fn screenshot(browser: &mut Browser, name: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/screenshots");
    std::fs::create_dir_all(&folder).unwrap();
    browser.screenshot(&folder.join(format!("{name}.png"))).unwrap();
}

/// The text of a host's cell in the table.
fn cell(host: &str, place: usize) -> String {
    format!("document.querySelector('#hosts-table tr[data-key={host}] td:nth-child({place})')?.textContent ?? ''")
}

/// Records each text of the host's state with its time, from now on.
fn record(browser: &mut Browser, host: &str) {
    let script = format!(
        "window.seen = []; window.begun = Date.now(); new MutationObserver(() => window.seen.push([Date.now(), {}])).observe(\
         document.getElementById('hosts-table'), {{ subtree: true, childList: true, characterData: true }}); true",
        cell(host, 2)
    );
    browser.evaluate(&script).unwrap();
}

/// When the page first said that the host is so, and when the router had come to it, in Unix milliseconds.
fn moments(browser: &mut Browser, host: &str, word: &str) -> (u64, u64) {
    browser.until(&format!("window.seen.some(([, text]) => text.includes('{word}'))"), word).unwrap();
    let seen = browser.evaluate(&format!("window.seen.find(([, text]) => text.includes('{word}'))[0]")).unwrap();
    let script = format!(
        "fetch('/api/v1/overview').then((answer) => answer.json()).then((overview) => overview.happenings.filter((one) => \
         one.whom === '{host}' && one.what.includes('→ {word}') && one.at_ms >= window.begun).map((one) => one.at_ms))"
    );
    let changes = browser.evaluate(&script).unwrap();
    // The first service that came to it: the newest stand first.
    let first = changes.as_array().unwrap().iter().filter_map(Value::as_u64).min();
    (seen.as_u64().unwrap(), first.unwrap_or_else(|| panic!("the router tells of no change to {word}")))
}

#[test]
fn a_host_that_fails_and_comes_back_is_seen_within_a_second() {
    require_root();
    let options = PairOptions { tables: [("slr1".to_owned(), API.to_owned())].into(), ..PairOptions::new(Kind::Spare) };
    let pair = Pair::up("page", options).unwrap();
    start_servers(pair.lab()).unwrap();
    let words = format!("--target {} --flow keepalive=30 --flow udp=30 --duration 120s --interval 50ms", VIRTUAL[0]);
    let running = traffic::start(pair.lab(), "c1", &words).unwrap();
    let mut browser = Browser::open(chromium(pair.lab(), "slr1"), PAGE, (1400, 1000)).unwrap();
    browser.until("document.getElementById('live').textContent === 'live'", "the page is live").unwrap();
    for host in ["h1", "h2", "h3"] {
        let is_active = browser.until(&format!("({}).startsWith('● active')", cell(host, 2)), "a host is active");
        screenshot(&mut browser, "page-begin");
        is_active.unwrap();
        browser.until(&format!("parseFloat({}) > 0", cell(host, 6)), "packets to a host").unwrap();
    }
    screenshot(&mut browser, "page");
    let elsewhere =
        "performance.getEntriesByType('resource').filter((one) => !one.name.startsWith(location.origin)).length";
    assert_eq!(browser.evaluate(elsewhere).unwrap(), json!(0), "nothing is fetched from elsewhere");

    record(&mut browser, "h1");
    pair.lab().sh("h1", "ip link set to-site down").unwrap();
    let (seen, changed) = moments(&mut browser, "h1", "down");
    println!("down at the router, {} ms later on the page", seen.saturating_sub(changed));
    assert!(Duration::from_millis(seen.saturating_sub(changed)) <= allowed(SEEN_WITHIN), "{seen} after {changed}");
    let why = browser.evaluate(&cell("h1", 3)).unwrap();
    assert!(why.as_str().is_some_and(|why| !why.is_empty()), "and why: {why}");
    screenshot(&mut browser, "page-host-down");

    record(&mut browser, "h1");
    let back = "ip link set to-site up && ip route replace default via 10.1.11.1 && ip -6 address replace fd00:1:11::2/64 dev to-site nodad && \
                ip -6 route replace default via fd00:1:11::1";
    pair.lab().sh("h1", back).unwrap();
    let (seen, changed) = moments(&mut browser, "h1", "active");
    println!("active at the router, {} ms later on the page", seen.saturating_sub(changed));
    assert!(Duration::from_millis(seen.saturating_sub(changed)) <= allowed(SEEN_WITHIN), "{seen} after {changed}");

    // By keyboard alone: to the hosts, to the first host's button, and its details are open.
    browser.evaluate("document.activeElement.blur(); window.scrollTo(0, 0); true").unwrap();
    browser.press("Tab").unwrap();
    assert_eq!(browser.evaluate("document.activeElement.className").unwrap(), json!("skip"), "the first stop skips on");
    let is_host = "document.activeElement.closest('td.name') !== null";
    let reached = (0..40).any(|_| {
        browser.press("Tab").unwrap();
        browser.evaluate(is_host).unwrap() == json!(true)
    });
    assert!(reached, "a host's button is reached by Tab");
    browser.press("Enter").unwrap();
    browser
        .until("document.querySelector('#host:not([hidden]) polyline')?.getAttribute('points') > ''", "graphs")
        .unwrap();
    screenshot(&mut browser, "page-details");
    drop(running);
}

#[test]
fn a_thousand_hosts_and_subnets_stay_usable() {
    require_root();
    let lab = Lab::scoped(&Topology::one_site(), "page-many").unwrap();
    let mut text = format!(
        "hosts = \"hosts.toml\"\n[node]\nname = \"slr\"\n\n[tunnel]\nsources = [\"10.1.255.0/24\"]\n\n[dataplane]\n\
         interfaces = [{:?}]\npin_path = {:?}\nflows_per_family = 1024\n\n[admin]\nsocket = {:?}\n{API}",
        "to-site",
        lab.pin_dir("slr1"),
        lab.dir().join("slr.sock"),
    );
    let mut hosts = String::new();
    for n in 0..MANY {
        let _ = write!(text, "\n[[subnet]]\nname = \"s{n:03}\"\nprefix = \"198.18.{}.{}/30\"\n", n / 64, n % 64 * 4);
        let (a, b) = (n, (n + 1) % MANY);
        let _ = write!(
            hosts,
            "[[host]]\nname = \"h{n:03}\"\naddress = \"10.9.{}.{}\"\nsubnets = [\"s{a:03}\", \"s{b:03}\"]\n",
            n / 250,
            n % 250 + 1
        );
    }
    std::fs::write(lab.dir().join("slr.toml"), text).unwrap();
    std::fs::write(lab.dir().join("hosts.toml"), hosts).unwrap();
    let mut command = Command::new(program("slr-router").unwrap());
    command.args(["run", "--config"]).arg(lab.dir().join("slr.toml"));
    let router = lab.spawn("slr1", "slr-router", command).unwrap();
    let answers = holds_within(Duration::from_secs(60), || {
        assert!(router.is_alive(), "{}", router.log_tail());
        lab.sh("slr1", &format!("curl --silent --fail --max-time 2 {PAGE}api/v1/overview")).is_ok()
    });
    assert!(answers, "the router is asked for its overview in vain");
    let mut browser = Browser::open(chromium(&lab, "slr1"), PAGE, (1400, 1000)).unwrap();
    browser.until("document.getElementById('live').textContent === 'live'", "the page is live").unwrap();
    for list in ["hosts", "subnets"] {
        let words = format!("document.getElementById('{list}-count').textContent.startsWith('{MANY}')");
        browser.until(&words, "all of them are there").unwrap();
    }
    // From an answer to the next one: what the browser is busy with in between, at its longest.
    let busy = "new Promise((done) => { let most = 0; new PerformanceObserver((list) => { for (const one of list.getEntries()) \
                most = Math.max(most, one.duration); }).observe({ type: 'longtask' }); setTimeout(() => done(Math.round(most)), 4000); })";
    let busy = browser.evaluate(busy).unwrap().as_u64().unwrap();
    println!("{MANY} hosts and {MANY} subnets: the browser is busy for {busy} ms at most");
    assert!(busy <= DRAWN_WITHIN_MS || !slr_testkit::acceptance::strict(), "{busy} ms");
    let find = "(() => { const filter = document.getElementById('hosts-filter'); filter.value = 'h777'; \
                filter.dispatchEvent(new Event('input')); return document.querySelectorAll('#hosts-table tbody tr').length; })()";
    assert_eq!(browser.evaluate(find).unwrap(), json!(1), "one host is found");
    screenshot(&mut browser, "page-thousand");
}
