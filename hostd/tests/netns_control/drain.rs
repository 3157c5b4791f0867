//! Draining with real connections: who is told, what is counted, when it is safe, and how commands and the daemon end.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use slr_model::HostState::{Active, Draining};
use slr_testkit::{eventually, holds_within};
use slr_wire::Action;

use crate::scene::*;

const ALL4: &str = "any@192.0.2.0/24";
const ALL6: &str = "any@2001:db8:100::/48";
const PORT: u16 = 8080;

fn serving(more: &str) -> Scene {
    let mut scene = Scene::new();
    scene.write_config(more);
    scene.start();
    scene.await_state(&[ALL4, ALL6], Active);
    scene
}

/// Connections of both families, each with its two ends.
fn connections(scene: &Scene, listener: &TcpListener, each: usize) -> Vec<(TcpStream, TcpStream)> {
    let pairs = PAIRS.iter().cycle().take(2 * each);
    pairs.map(|(client, to)| (scene.connect(client, to, PORT), listener.accept().unwrap().0)).collect()
}

/// The client closes first, the server after it has seen that: as most requests end.
fn close((client, mut server): (TcpStream, TcpStream)) {
    drop(client);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
}

fn waiting(scene: &Scene, more: &[&str]) -> Child {
    let words: Vec<&str> = ["drain", "--wait"].into_iter().chain(more.iter().copied()).collect();
    scene.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Exit code and what was printed.
fn outcome(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    let words = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code(), words)
}

fn drained(scene: &Scene) -> serde_json::Value {
    let output = scene.ask(&["show", "drain", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn it_is_safe_to_stop_when_the_last_flow_ends_and_not_before() {
    let scene = serving("");
    let listener = scene.listener(PORT);
    let mut open = connections(&scene, &listener, 3);
    let mut command = waiting(&scene, &[]);
    scene.await_state(&[ALL4, ALL6], Draining);
    let count = |scene: &Scene| drained(scene)["flows"].as_u64().unwrap();
    eventually(PATIENCE, "the settle time to be over", || drained(&scene)["phase"] == "waiting");
    while let Some(connection) = open.pop() {
        let left = open.len() as u64;
        eventually(PATIENCE, "the count", || count(&scene) == left + 1);
        assert_eq!(command.try_wait().unwrap(), None, "{} flows are left", left + 1);
        close(connection);
    }
    let (code, words) = outcome(command);
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("no new flows: 1 flow left") && words.contains("safe to stop"), "{words}");
    assert!(words.contains("6 flows left"), "{words}");

    assert!(scene.ask(&["undrain"]).status.success());
    scene.await_state(&[ALL4, ALL6], Active);
    // A SYN that comes late, or a router that does not obey, is seen.
    let (code, words) = outcome(waiting(&scene, &[]));
    assert_eq!(code, Some(0), "{words}");
    let late = connections(&scene, &listener, 1);
    eventually(PATIENCE, "the late flows", || drained(&scene)["phase"] == "waiting");
    late.into_iter().for_each(close);
    eventually(PATIENCE, "safe again", || drained(&scene)["phase"] == "safe");
}

#[test]
fn states_of_a_connection_count_as_long_as_the_client_needs_the_host() {
    let scene = serving("");
    let listener = scene.listener(PORT);
    let mut open = connections(&scene, &listener, 1);
    assert!(scene.ask(&["drain"]).status.success());
    let is = |flows: u64| eventually(PATIENCE, "the count", || drained(&scene)["flows"] == flows);
    is(2);
    // Half closed by the server, which still reads: FIN_WAIT2 with an owner.
    let (client, server) = open.pop().unwrap();
    server.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(scene.lab.sh("h", "ss -Htn state fin-wait-2").unwrap().contains("2001:db8:100::10"));
    is(2);
    // Closed by the server, all acknowledged, the client takes its time: the kernel waits, nobody is served.
    drop(server);
    is(1);
    drop(client);
    // The server closes first, then the client: the host keeps TIME_WAIT for a minute.
    let (mut client, server) = open.pop().unwrap();
    drop(server);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    drop(client);
    is(0);
    assert!(!scene.lab.sh("h", "ss -Htan state time-wait").unwrap().is_empty());
    eventually(PATIENCE, "safe", || drained(&scene)["phase"] == "safe");
}

#[test]
fn the_exit_code_tells_flows_that_are_left_from_nobody_who_heard() {
    let mut scene = serving("");
    let listener = scene.listener(PORT);
    let open = connections(&scene, &listener, 1);
    let (code, words) = outcome(waiting(&scene, &["--timeout", "3"]));
    assert_eq!(code, Some(3), "{words}");
    // Ended by somebody else meanwhile.
    let command = waiting(&scene, &[]);
    eventually(PATIENCE, "the drain", || drained(&scene)["phase"] == "waiting");
    assert!(scene.ask(&["undrain"]).status.success());
    let (code, words) = outcome(command);
    assert_eq!(code, Some(1), "{words}");
    open.into_iter().for_each(close);

    scene.parent = None;
    eventually(PATIENCE, "the loss", || scene.show("sessions")[0]["state"] == "connecting");
    let (code, words) = outcome(waiting(&scene, &["--timeout", "2"]));
    assert_eq!(code, Some(4), "no flow is left, but new ones may come: {words}");
    scene.start_parent(Default::default());
    scene.await_state(&[ALL4, ALL6], Draining);
    let (code, words) = outcome(waiting(&scene, &[]));
    assert_eq!(code, Some(0), "told as soon as it is back: {words}");
    scene.kill();
    assert_eq!(scene.ask(&["drain"]).status.code(), Some(2), "no daemon");
}

#[test]
fn a_router_can_drain_a_host_and_a_drain_outlives_a_restart() {
    let mut scene = serving("");
    scene.parent().order(Action::Drain).unwrap();
    scene.await_state(&[ALL4, ALL6], Draining);
    assert_eq!(drained_cause(&scene), "drained at slr1 by ann");
    scene.kill();
    scene.start();
    let since = Instant::now();
    scene.await_state(&[ALL4, ALL6], Draining);
    assert!(scene.parent().change_since(since, ALL4, Active).is_none(), "never active in between");
    assert_eq!(drained_cause(&scene), "drained at slr1 by ann");
    eventually(PATIENCE, "the session", || scene.parent().heard().hellos == 2);
    assert!(holds_within(PATIENCE, || scene.parent().order(Action::Undrain).is_ok()));
    scene.await_state(&[ALL4, ALL6], Active);
    let incarnations = scene.parent().heard().incarnations;
    assert!(incarnations[0] < incarnations[1], "{incarnations:?}");
}

fn drained_cause(scene: &Scene) -> String {
    scene.show("services")[0]["reason"].as_str().unwrap().to_owned()
}

#[test]
fn told_to_end_it_drains_first_and_takes_its_services_back() {
    let mut scene = serving("");
    let listener = scene.listener(PORT);
    let open = connections(&scene, &listener, 1);
    scene.hostd().signal(Signal::SIGTERM).unwrap();
    scene.await_state(&[ALL4, ALL6], Draining);
    let refused = scene.ask(&["undrain"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("hostd ends"));
    assert!(scene.hostd().is_alive() && scene.parent().heard().withdrawn.is_none());
    open.into_iter().for_each(close);
    scene.ended();
    eventually(PATIENCE, "the withdrawal", || scene.parent().heard().withdrawn.is_some());
    // Its successor serves: the end was no operator's wish.
    scene.start();
    scene.await_state(&[ALL4, ALL6], Active);
}

#[test]
fn flows_that_do_not_end_outlive_the_daemon() {
    let mut scene = serving("[drain]\non_stop_s = 2\n");
    let listener = scene.listener(PORT);
    let open = connections(&scene, &listener, 1);
    let start = Instant::now();
    scene.hostd().signal(Signal::SIGTERM).unwrap();
    scene.ended();
    assert!(start.elapsed() >= Duration::from_secs(2));
    eventually(PATIENCE, "the end of the session", || scene.parent().heard().ended == 1);
    assert_eq!(scene.parent().heard().withdrawn, None, "routers keep its flows");
    open.into_iter().for_each(close);

    scene.start();
    scene.await_state(&[ALL4, ALL6], Active);
    let open = connections(&scene, &listener, 1);
    let start = Instant::now();
    scene.hostd().signal(Signal::SIGTERM).unwrap();
    scene.await_state(&[ALL4], Draining);
    scene.hostd().signal(Signal::SIGTERM).unwrap();
    scene.ended();
    assert!(start.elapsed() < Duration::from_secs(2), "the second one ends at once");
    drop(open);
}
