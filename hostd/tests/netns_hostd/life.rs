//! Killed, restarted, reloaded, tampered with, unloaded: what keeps flowing and what is left.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::sys::signal::Signal;
use slr_testkit::eventually;

use crate::scene::*;

/// A connection that exchanges a word again and again, until told to stop; any failure is the thread's.
struct Chatter {
    stop: Arc<AtomicBool>,
    words: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Chatter {
    fn new(mut up: TcpStream, mut down: TcpStream) -> Self {
        let (stop, words) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&words));
        let thread = std::thread::spawn(move || {
            let mut word = [0; 4];
            while !stopped.load(Ordering::Relaxed) {
                up.write_all(b"ping").unwrap();
                down.read_exact(&mut word).unwrap();
                down.write_all(b"pong").unwrap();
                up.read_exact(&mut word).unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, words, thread }
    }

    fn await_words(&self, more: u64) {
        let start = self.words.load(Ordering::Relaxed);
        eventually(PATIENCE, "words to be exchanged", || self.words.load(Ordering::Relaxed) >= start + more);
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the connection held");
    }
}

fn chat(scene: &Scene) -> Vec<Chatter> {
    let listener = scene.listener();
    let port = listener.local_addr().unwrap().port();
    let chat = |(client, to): (&str, &str)| {
        let up = scene.connect(client, to, port);
        Chatter::new(up, listener.accept().unwrap().0)
    };
    VIRTUAL.into_iter().map(chat).collect()
}

fn program(scene: &Scene) -> String {
    let text = scene.on_host("ip -details link show to-gw");
    let id = text.split("prog/xdp id ").nth(1).unwrap_or_else(|| panic!("no program in {text}"));
    id.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn a_killed_daemon_leaves_the_packets_flowing_and_its_successor_takes_over() {
    let mut scene = Scene::new();
    let chatters = chat(&scene);
    chatters.iter().for_each(|c| c.await_words(20));
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let before = (scene.count("deliver"), program(&scene));
        scene.end(signal);
        chatters.iter().for_each(|c| c.await_words(20));
        assert_eq!(program(&scene), before.1, "the program stays");
        let (answer, _) = scene.keepalive((ROUTER4, US4), PROBER4, US4).expect("answered without the daemon");
        assert_eq!(answer[5], 2);
        scene.start();
        assert_ne!(program(&scene), before.1, "swapped for the successor's");
        assert!(scene.count("deliver") >= before.0 + 80, "counters are taken over");
        chatters.iter().for_each(|c| c.await_words(20));
    }
    chatters.into_iter().for_each(Chatter::end);
    assert!(scene.drops().is_empty(), "{:?}", scene.drops());
    let filters = scene.on_host("tc filter show dev to-gw egress");
    assert_eq!(filters.matches("handle").count(), 1, "replaced, not added: {filters}");
}

#[test]
fn a_reload_is_all_or_nothing() {
    let mut scene = Scene::new();
    let chatters = chat(&scene);
    let good = std::fs::read_to_string(scene.config()).unwrap();

    std::fs::write(scene.config(), good.replace("198.51.100.0/24", "192.0.2.0/25")).unwrap();
    let refused = scene.ask(&["reload"]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("overlaps") && words.contains("hostd.toml:"), "{words}");
    scene.hostd().signal(Signal::SIGHUP).unwrap();
    eventually(PATIENCE, "the refusal in the log", || scene.hostd().log().contains("the old one stays in force"));
    assert_eq!(scene.show("subnets").len(), 4);

    // An interface that does not exist is found out half-way; the old state is made true again.
    std::fs::write(
        scene.config(),
        good.replace("[\"to-gw\"]", "[\"to-gw\", \"nowhere\"]").replace("192.0.2.0/24", "203.0.113.0/24"),
    )
    .unwrap();
    let refused = scene.ask(&["reload"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nowhere does not exist"));
    chatters.iter().for_each(|c| c.await_words(5));

    let mut subnets = SUBNETS.to_vec();
    subnets.push(("new4", "203.0.113.0/24", "slr-new"));
    scene.write_config(&subnets);
    scene.hostd().signal(Signal::SIGHUP).unwrap();
    eventually(PATIENCE, "the new subnet", || scene.show("subnets").len() == 5);
    let listener = scene.listener();
    drop(scene.connect(C4, "203.0.113.5", listener.local_addr().unwrap().port()));
    chatters.iter().for_each(|c| c.await_words(5));

    scene.write_config(&SUBNETS);
    assert!(scene.ask(&["reload"]).status.success());
    assert!(!scene.on_host("ip link show").contains("slr-new"), "an interface without subnets goes");
    chatters.iter().for_each(|c| c.await_words(5));
    chatters.into_iter().for_each(Chatter::end);
    scene.end(Signal::SIGTERM);
}

#[test]
fn what_somebody_else_removes_is_made_again() {
    let scene = Scene::new();
    scene.on_host("ip link delete slr-0; ip route delete local 198.51.100.0/24 dev slr-dns table local");
    let routes = || scene.on_host("ip route show table local; ip -6 route show table local");
    for (_, prefix, interface) in SUBNETS {
        let line = format!("local {prefix} dev {interface}");
        eventually(PATIENCE, &line, || routes().contains(&line));
    }
}

#[test]
fn unload_leaves_the_machine_as_it_was() {
    let mut scene = Scene::new();
    let state = "ip -brief link show; ip route show table all; ip -6 route show table all; tc qdisc show; tc filter show dev to-gw egress; \
                 cat /proc/sys/net/ipv4/conf/to-gw/arp_ignore /proc/sys/net/ipv4/conf/to-gw/arp_announce \
                 /proc/sys/net/ipv6/ip_nonlocal_bind; bpftool cgroup show \"$(sed -n 's/^0:://p' /proc/self/cgroup | sed \"s:^:$(awk '$3 == \"cgroup2\" {print $2; exit}' /proc/mounts):\")\"";
    let config = scene.config();
    let unload = ["unload", "--config", config.to_str().unwrap()];
    let running = scene.ask(&unload);
    assert!(!running.status.success() && String::from_utf8_lossy(&running.stderr).contains("stop it first"));
    let serving = scene.on_host(state);
    assert!(serving.contains("slr-0") && serving.contains("clsact") && serving.contains("slr_udp_seen"), "{serving}");

    scene.end(Signal::SIGKILL);
    let output = scene.ask(&unload);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let after = scene.on_host(state);
    for word in ["slr-", "clsact", "slr_host", "slr_udp", "192.0.2", "2001:db8"] {
        assert!(!after.contains(word), "{word} is left:\n{after}");
    }
    assert!(!scene.on_host("ip -details link show to-gw").contains("prog/xdp"));
    assert!(!scene.pins().exists());
    assert!(after.contains("\n0\n0\n0\n"), "sysctls are as before:\n{after}");
    let mut left: Vec<_> =
        std::fs::read_dir(config.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["hostd.toml"]);

    assert!(scene.ask(&unload).status.success(), "a second time is no error");
    scene.start();
    let listener = scene.listener();
    drop(scene.connect(C4, "192.0.2.1", listener.local_addr().unwrap().port()));
}
