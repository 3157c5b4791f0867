//! Load values of every source, as the parent hears them.

use std::io::{Read, Write};
use std::net::TcpListener;

use slr_model::HostState::Active;
use slr_testkit::eventually;

use crate::scene::*;

const LOADS: &str = r#"
[host]
name = "h"
load = "max(cpu, jobs / 10, 0.5 * queue)"
[[service]]
subnet = "web4"
service = "tcp/8080"
load = "flows / 4"
[[load]]
name = "cpu"
source = "cpu"
[[load]]
name = "own"
source = "cpu"
cgroup = "CGROUP"
cpus = 0.5
[[load]]
name = "queue"
source = "http"
url = "http://127.0.0.1:9999/status"
pointer = "/queue/length"
interval_ms = 100
stale_after_ms = 1000
[[load]]
name = "jobs"
source = "command"
command = ["/bin/cat", "JOBS"]
interval_ms = 100
stale_after_ms = 1000
[[load]]
name = "waiting"
source = "pressure"
resource = "cpu"
[[load]]
name = "connections"
source = "connections"
"#;

/// Answers every connection with this document, until the process ends.
fn application(scene: &Scene, document: &'static str) {
    let listener = scene.lab.with_netns("h", || TcpListener::bind("127.0.0.1:9999").unwrap()).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{document}", document.len());
        }
    });
}

#[test]
fn every_source_is_advertised_combined_and_named_when_it_fails() {
    let mut scene = Scene::new();
    let jobs = scene.folder().join("jobs");
    std::fs::write(&jobs, "7\n").unwrap();
    application(&scene, r#"{"queue": {"length": 6.0}}"#);
    let cgroup = scene.lab.cgroup_dir("h").unwrap();
    let config = LOADS.replace("CGROUP", cgroup.to_str().unwrap()).replace("JOBS", jobs.to_str().unwrap());
    scene.write_config(&config);
    scene.start();
    scene.await_state(&["tcp/8080@192.0.2.0/24", "any@2001:db8:100::/48"], Active);

    let load = |name: &str| scene.parent().heard().loads.get(name);
    eventually(PATIENCE, "the load that the queue makes", || load("load") == Some(3.0));
    assert_eq!((load("queue"), load("jobs")), (Some(6.0), Some(7.0)));
    assert!(load("cpu").is_some_and(|cpu| (0.0..=1.0).contains(&cpu)));
    eventually(PATIENCE, "the cgroup's CPU", || load("own").is_some_and(|own| own > 0.0));
    let pressure = std::path::Path::new("/proc/pressure/cpu").exists();
    assert_eq!(load("waiting").is_some(), pressure);
    assert_eq!(load("connections"), Some(0.0));

    let listener = scene.listener(8080);
    let _clients: Vec<_> = (0..3)
        .map(|_| {
            let (client, to) = PAIRS[0];
            (scene.connect(client, to, 8080), listener.accept().unwrap())
        })
        .collect();
    let key = "tcp/8080@192.0.2.0/24".parse().unwrap();
    let of_service = || scene.parent().heard().services[&key].clone();
    eventually(PATIENCE, "the connections", || of_service().flows == 3);
    eventually(PATIENCE, "the service's load", || of_service().loads.get("load") == Some(0.75));
    assert_eq!(of_service().loads.get("connections"), Some(3.0));

    std::fs::write(&jobs, "many\n").unwrap();
    eventually(PATIENCE, "no load without jobs", || load("jobs").is_none() && load("load").is_none());
    let rows = scene.show("load");
    let problem =
        |name: &str| rows.iter().find(|row| row["name"] == name).unwrap()["problem"].as_str().unwrap().to_owned();
    assert!(problem("jobs").contains("\"many\" is no number"), "{}", problem("jobs"));
    assert!(problem("load").contains("no value of jobs"), "{}", problem("load"));
    assert_eq!(load("queue"), Some(6.0), "the others stay");
}
