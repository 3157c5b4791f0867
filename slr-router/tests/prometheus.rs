//! Debian's real Prometheus against the real endpoints: it takes the shipped configuration and rules, scrapes, and alerts.

// The modules as the daemons have them; a binary has no library to link.
#[allow(dead_code, unused_imports, reason = "the test uses a part of it")]
#[path = "../../hostd/src/metrics/mod.rs"]
mod host_metrics;
#[allow(dead_code, unused_imports, reason = "the test uses a part of it")]
#[path = "../src/metrics/mod.rs"]
mod router_metrics;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use slr_daemon::metrics::{COMMON, Exporter, Family};
use slr_testkit::{eventually, holds_within};

const ETC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/prometheus");
const PATIENCE: Duration = Duration::from_secs(60);

fn promtool(words: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(words).current_dir(ETC).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool, of Debian's package prometheus (tools/prepare.sh installs it)");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("FAILED"), "promtool {words:?}: {said}");
}

fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

fn exporter() -> Exporter {
    let exporter = Exporter::start(Some("127.0.0.1:0".parse().unwrap())).unwrap();
    exporter.ready(Ok(()));
    exporter
}

#[test]
fn promtool_takes_the_shipped_files_and_the_tests_of_the_rules_pass() {
    promtool(&["check", "config", "scrape.yml"], "");
    promtool(&["check", "rules", "alerts.yml"], "");
    promtool(&["test", "rules", "alerts_test.yml"], "");
}

#[test]
fn promtool_takes_both_daemons_pages() {
    let (router, host) = (exporter(), exporter());
    router.publish(router_metrics::sample::sample());
    host.publish(host_metrics::sample::sample());
    for exporter in [&router, &host] {
        let page = get(exporter.address().unwrap(), "/metrics").unwrap();
        assert!(page.lines().count() > 60, "{page}");
        promtool(&["check", "metrics"], &page);
    }
}

#[test]
fn every_name_in_the_rules_is_one_that_a_daemon_has_and_every_alert_says_what_to_do() {
    let all: [&[Family]; 3] = [COMMON, router_metrics::FAMILIES, host_metrics::FAMILIES];
    let known: BTreeSet<&str> = all.into_iter().flatten().map(|family| family.name).collect();
    let rules = fs::read_to_string(Path::new(ETC).join("alerts.yml")).unwrap();
    let words = rules.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let names: BTreeSet<&str> = words.filter(|word| word.starts_with("slr_") && !word.ends_with('_')).collect();
    assert!(names.len() > 15 && names.is_subset(&known), "unknown: {:?}", names.difference(&known));
    let count = |what: &str| rules.lines().filter(|line| line.trim_start().starts_with(what)).count();
    assert!(count("- alert:") >= 20);
    assert_eq!((count("summary:"), count("action:")), (count("- alert:"), count("- alert:")));
}

/// A Prometheus of the test's own, with its data in a folder that goes with it.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Prometheus {
    /// With the shipped files, but our targets, and ten times as fast.
    fn start(router: SocketAddr, host: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shipped = fs::read_to_string(Path::new(ETC).join("scrape.yml")).unwrap();
        let ours = shipped
            .replace("127.0.0.1:9401\"]", &format!("{router}\"]"))
            .replace("127.0.0.1:9402\"]", &format!("{host}\"]"))
            .replace("_interval: 5s", "_interval: 500ms");
        assert!(ours.contains(&router.to_string()) && ours.contains(&host.to_string()) && ours.contains("500ms"));
        fs::write(folder.path().join("scrape.yml"), ours).unwrap();
        fs::copy(Path::new(ETC).join("alerts.yml"), folder.path().join("alerts.yml")).unwrap();
        // A port that is free now; should somebody take it meanwhile, another.
        for _ in 0..5 {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let mut child = Self::spawn(folder.path(), address);
            let is_up = || get(address, "/-/ready").is_some_and(|answer| answer.contains("Ready"));
            let is_decided = holds_within(PATIENCE, || is_up() || child.try_wait().unwrap().is_some());
            assert!(is_decided, "Prometheus is neither ready nor ended");
            if child.try_wait().unwrap().is_none() {
                return Self { child, address, folder };
            }
        }
        panic!("Prometheus does not stay:\n{}", fs::read_to_string(folder.path().join("log")).unwrap_or_default());
    }

    fn spawn(folder: &Path, address: SocketAddr) -> Child {
        let log = fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", folder.join("scrape.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        command.stdout(Stdio::null()).stderr(log);
        command.spawn().expect("prometheus, Debian's package (tools/prepare.sh installs it)")
    }

    fn api(&self, path: &str) -> Value {
        let answer = get(self.address, path).unwrap_or_default();
        let value: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{path}: {answer}"));
        assert_eq!(value["status"], "success", "{path}: {value}");
        value["data"].clone()
    }

    /// The value of a query that has one.
    fn value(&self, query: &str) -> Option<String> {
        let data = self.api(&format!("/api/v1/query?query={query}"));
        Some(data["result"].get(0)?["value"][1].as_str()?.to_owned())
    }

    /// Alerts that fire, by name.
    fn firing(&self) -> BTreeSet<String> {
        let data = self.api("/api/v1/alerts");
        let alerts = data["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
        }
    }
}

#[test]
fn a_real_prometheus_scrapes_both_daemons_and_fires_on_a_mass_vanish() {
    let (router, host) = (exporter(), exporter());
    let calm = router_metrics::sample::sample;
    router.publish(calm());
    host.publish(host_metrics::sample::sample());
    let prometheus = Prometheus::start(router.address().unwrap(), host.address().unwrap());

    let rules = prometheus.api("/api/v1/rules");
    let groups = rules["groups"].as_array().unwrap();
    let names: Vec<&str> = groups.iter().map(|group| group["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["slr-daemons", "slr-hosts", "slr-traffic"]);
    let loaded: usize = groups.iter().map(|group| group["rules"].as_array().unwrap().len()).sum();
    let shipped = fs::read_to_string(Path::new(ETC).join("alerts.yml")).unwrap();
    assert_eq!(loaded, shipped.matches("- alert:").count());

    eventually(PATIENCE, "both targets to be up", || {
        let targets = prometheus.api("/api/v1/targets");
        let active = targets["activeTargets"].as_array().unwrap();
        active.len() == 2 && active.iter().all(|target| target["health"] == "up")
    });
    let flows = "slr_router_flows_pinned%7Bfamily=%22ipv4%22%7D";
    eventually(PATIENCE, "the router's figures", || prometheus.value(flows).as_deref() == Some("1200"));
    eventually(PATIENCE, "the host's figures", || prometheus.value("slr_hostd_flows").as_deref() == Some("640"));
    let quiet = prometheus.firing();
    assert!(!quiet.contains("SlrMassVanish") && !quiet.contains("SlrConfigRefused"), "{quiet:?}");

    let mut trouble = calm();
    trouble.alarms = vec![("vanish", 1), ("name", 0), ("tunnel", 0)];
    trouble.config.is_last_good = false;
    router.publish(trouble);
    eventually(PATIENCE, "the alerts", || {
        let firing = prometheus.firing();
        firing.contains("SlrMassVanish") && firing.contains("SlrConfigRefused")
    });
    let alerts = prometheus.api("/api/v1/alerts");
    let alert =
        alerts["alerts"].as_array().unwrap().iter().find(|alert| alert["labels"]["alertname"] == "SlrMassVanish");
    let action = alert.unwrap()["annotations"]["action"].as_str().unwrap();
    assert!(action.contains("slr-router show services"), "{action}");

    router.publish(calm());
    eventually(PATIENCE, "the end of the alert", || !prometheus.firing().contains("SlrMassVanish"));
    drop(router);
    eventually(PATIENCE, "a target that is down", || {
        let targets = prometheus.api("/api/v1/targets");
        targets["activeTargets"].as_array().unwrap().iter().any(|target| target["health"] == "down")
    });
}
