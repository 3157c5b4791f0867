//! The daemon in a namespace of its own, between a client and a host: what follows the network, what survives the daemon,
//! what is refused.

mod site;

use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use site::Site;
use slr_testkit::{eventually, holds_within};

/// Long enough for a loaded machine; conditions end the wait.
const SOON: Duration = Duration::from_secs(10);

fn row<'a>(rows: &'a Value, field: &str, value: &str) -> &'a Value {
    let find = |row: &&Value| row[field] == value;
    rows.as_array().unwrap().iter().find(find).unwrap_or_else(|| panic!("no row with {field} = {value} in {rows}"))
}

/// Sends datagrams of one flow of each family, as often as given.
fn speak(sockets: &[UdpSocket], times: usize) {
    for socket in sockets {
        for _ in 0..times {
            socket.send(b"hello").unwrap();
        }
    }
}

fn flows(site: &Site) -> Vec<UdpSocket> {
    site.client.with(|| {
        ["192.0.2.9:7", "[2001:db8:1::9]:7"]
            .map(|virtual_host| {
                let any = if virtual_host.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
                let socket = UdpSocket::bind(any).unwrap();
                socket.connect(virtual_host).unwrap();
                socket
            })
            .into()
    })
}

fn packets(site: &Site, reason: &str) -> u64 {
    row(&site.show("counters"), "reason", reason)["packets"].as_u64().unwrap()
}

fn host(site: &Site, name: &str) -> Value {
    row(&site.show("hosts"), "name", name).clone()
}

#[test]
fn hosts_are_resolved_and_templates_follow_macs_mtus_and_routes() {
    let site = Site::new();
    site.start();
    for name in ["h4", "h6"] {
        let host = host(&site, name);
        assert_eq!((&host["up"], &host["mtu"], &host["problem"]), (&true.into(), &1500.into(), &Value::Null), "{host}");
        assert_eq!(host["neighbour"], site::HOST_MAC);
    }
    assert!(site.router_ip("neigh show dev lan0").contains("managed"), "neighbours are the kernel's to keep");

    // The host gets another card: its next ARP says so.
    site.host.ip("link set eth0 address 02:00:00:00:aa:aa").unwrap();
    eventually(SOON, "both templates to lead to the new MAC", || {
        site.host.command("ping").args(["-c1", "-W1", "-q", "10.1.11.1"]).output().unwrap();
        site.host.command("ping").args(["-c1", "-W1", "-q", "fd00:1:11::1"]).output().unwrap();
        ["h4", "h6"].iter().all(|name| host(&site, name)["neighbour"] == "02:00:00:00:aa:aa")
    });

    // An operator clears the table. The kernel deletes even what it manages, and the daemon asks anew.
    for family in ["-4", "-6"] {
        assert!(site.command_of("ip", &[family, "neigh", "flush", "dev", "lan0"]).status.success());
    }
    eventually(SOON, "the loss to be told", || {
        let log = site.log();
        let told: String = log.lines().filter(|line| line.contains("out of reach")).collect();
        told.contains("h4") && told.contains("h6")
    });
    eventually(SOON, "both hosts to be resolved anew", || {
        let is_managed = |line: &str| line.contains("lladdr") && line.contains("managed");
        site.router_ip("neigh show dev lan0").lines().filter(|line| is_managed(line)).count() == 2
            && ["h4", "h6"].iter().all(|name| host(&site, name)["up"] == true)
    });

    let begun = Instant::now();
    site.router.ip("link set lan0 mtu 1400").unwrap();
    eventually(SOON, "the templates to take the interface's MTU", || host(&site, "h4")["mtu"] == 1400);
    println!("MTU followed after {:?}, two processes' start-up included", begun.elapsed());
    site.router.ip("route add 10.1.11.2/32 dev lan0 mtu 1300").unwrap();
    eventually(SOON, "the template to take the route's MTU", || host(&site, "h4")["mtu"] == 1300);
    assert_eq!(host(&site, "h6")["mtu"], 1400);

    site.router.ip_batch("route del 10.1.11.2/32 dev lan0\nroute add blackhole 10.1.11.2/32").unwrap();
    eventually(SOON, "a host without route to be down", || host(&site, "h4")["problem"] == "no route");
    site.router.ip("route del blackhole 10.1.11.2/32").unwrap();
    eventually(SOON, "the host to be up again", || host(&site, "h4")["up"] == true);
}

#[test]
fn flows_survive_a_killed_daemon_and_packets_flow_while_it_is_away() {
    let site = Site::new();
    site.start();
    let sockets = flows(&site);
    speak(&sockets, 2);
    eventually(SOON, "both flows to be pinned", || packets(&site, "fwd_promoted") == 2);
    let before = site.show("flows");
    assert_eq!((&before["pinned_v4"], &before["pinned_v6"]), (&1.into(), &1.into()));
    let hosts_of = |flows: &Value| -> Vec<(String, String)> {
        let pair = |flow: &Value| (flow["client"].to_string(), flow["host"].to_string());
        flows["flows"].as_array().unwrap().iter().map(pair).collect()
    };

    site.kill();
    speak(&sockets, 5);
    site.start();
    assert!(site.log().contains("data plane is taken over flows=2"), "{}", site.log());
    eventually(SOON, "the packets sent meanwhile to be counted", || packets(&site, "fwd_established") == 10);
    assert_eq!(hosts_of(&site.show("flows")), hosts_of(&before));
    assert_eq!(site.show("drops"), Value::Array(Vec::new()));
    assert_eq!(host(&site, "h4")["flows"].as_u64().unwrap() + host(&site, "h6")["flows"].as_u64().unwrap(), 2);

    // SIGTERM is no different, and `unload` is the end.
    site.terminate();
    speak(&sockets, 1);
    site.start();
    eventually(SOON, "the packets sent meanwhile to be counted", || packets(&site, "fwd_established") == 12);
    assert!(!site.command(&["unload", "--config", "router.toml"]).status.success(), "a daemon is running");
    site.terminate();
    assert!(site.command(&["unload", "--config", "router.toml"]).status.success());
    assert!(!site.pins().exists());
    assert!(!site.router_ip("link show wan0").contains("xdp"));
    assert!(!site.router_ip("neigh show dev lan0").contains("managed"), "{}", site.router_ip("neigh show dev lan0"));
}

#[test]
fn templates_are_held_for_a_while_when_hosts_do_not_answer_a_new_daemon() {
    let site = Site::new();
    site.start();
    site.kill();
    site.host.ip("link set eth0 down").unwrap(); // the kernel forgets neighbours of a link without carrier
    site.start();
    let held = host(&site, "h4");
    assert_eq!((&held["up"], &held["neighbour"]), (&true.into(), &site::HOST_MAC.into()), "{held}");
    eventually(SOON, "the hold to end", || host(&site, "h4")["up"] == false);
    assert!(host(&site, "h4")["problem"].as_str().unwrap().contains("10.1.11.2 does not answer on lan0"));
    site.host.ip_batch("link set eth0 up\naddr replace fd00:1:11::2/64 dev eth0 nodad").unwrap();
    eventually(SOON, "both hosts to be up", || ["h4", "h6"].iter().all(|name| host(&site, name)["up"] == true));
}

#[test]
fn a_reload_is_all_or_nothing_and_says_what_it_did() {
    let site = Site::new();
    site.start();
    let sockets = flows(&site);
    speak(&sockets, 2);
    eventually(SOON, "both flows to be pinned", || packets(&site, "fwd_promoted") == 2);
    let before = site.show("flows");

    site.write_config(&site.config().replace("xdp = \"native\"", "xpd = \"native\""));
    let refused = site.command(&["reload"]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text.contains("old configuration stays in force") && text.contains("xpd = \"native\""), "{text}");
    let line = 1 + site.config().lines().position(|line| line.starts_with("xdp")).unwrap();
    assert!(text.contains(&format!("router.toml:{line}:")), "{text}");
    site.signal("HUP");
    eventually(SOON, "SIGHUP to be refused in the log", || site.log().matches("stays in force").count() >= 2);

    site.write_config(&site.config().replace("flows_per_family = 4096", "flows_per_family = 8192"));
    let text = String::from_utf8_lossy(&site.command(&["reload"]).stderr).into_owned();
    assert!(text.contains("flows_per_family cannot change") && text.contains("the daemon has 4096"), "{text}");

    site.write_config(&format!("{}\n[[subnet]]\nname = \"more\"\nprefix = \"198.18.0.0/24\"\n", site.config()));
    site.write_hosts(&site.hosts().replace("\"web\"", "\"web\", \"more\"").replace("weight = 100", "weight = 300"));
    let changes: Value = serde_json::from_slice(&site.command(&["reload", "--json"]).stdout).unwrap();
    assert_eq!(changes["subnets_added"], serde_json::json!(["198.18.0.0/24"]), "{changes}");
    assert!(changes["slots_moved"].as_u64().unwrap() > 0, "{changes}");
    let hosts =
        |flows: &Value| flows["flows"].as_array().unwrap().iter().map(|f| f["host"].clone()).collect::<Vec<_>>();
    assert_eq!(hosts(&site.show("flows")), hosts(&before), "established flows stay");
    let share = row(&site.show("subnets"), "name", "web")["shares"][0]["percent"].as_f64().unwrap();
    assert!((70.0..80.0).contains(&share), "three parts of four: {share}");

    // A host that is gone is forgotten, and the kernel need not keep its neighbour any more.
    let six = site.hosts().find("[[host]]\nname = \"h6\"").unwrap();
    site.write_hosts(&site.hosts()[..six]);
    assert!(site.command(&["reload"]).status.success());
    assert_eq!(site.show("hosts").as_array().unwrap().len(), 1);
    eventually(SOON, "its neighbour to be let go of", || {
        let neighbours = site.router_ip("-6 neigh show dev lan0");
        !neighbours.lines().any(|line| line.starts_with("fd00:1:11::2 ") && line.contains("managed"))
    });
}

#[test]
fn an_interface_that_comes_back_gets_the_program_again() {
    let site = Site::new();
    site.start();
    let has_program = || site.router_ip("link show wan0").contains("xdp");
    assert!(has_program());
    site.router.ip("link del wan0").unwrap();
    site.plug_client();
    assert!(holds_within(SOON, has_program), "{}", site.log());
    let sockets = flows(&site);
    speak(&sockets, 1);
    eventually(SOON, "packets to be placed again", || packets(&site, "fwd_new") == 2);
}

#[test]
fn answers_read_well_and_a_closed_pipe_is_quiet() {
    let site = Site::new();
    site.start();
    speak(&flows(&site), 1);
    eventually(SOON, "the flows to be placed", || packets(&site, "fwd_new") == 2);
    for (what, expected) in [
        ("hosts", "host  address"),
        ("subnets", "web"),
        ("flows", "192.0.2.9:7"),
        ("hops", "lan0"),
        ("counters", "first packet of a flow: placed by the ring"),
        ("drops", "Nothing was dropped."),
    ] {
        let text = String::from_utf8(site.command(&["show", what]).stdout).unwrap();
        assert!(text.contains(expected), "show {what}:\n{text}");
    }
    let only = |words: &[&str]| -> usize {
        let output = site.command(&[&["show", "flows", "--json"], words].concat());
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["flows"].as_array().unwrap().len()
    };
    assert_eq!(
        [only(&[]), only(&["--limit", "1"]), only(&["--client", "10.0.1.2"]), only(&["--host", "nobody"])],
        [2, 1, 1, 0]
    );
    let output = site
        .command_of("sh", &["-c", &format!("{} show counters --socket {} | true", site::EXE, site.socket().display())]);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let error =
        std::process::Command::new(site::EXE).args(["show", "hosts", "--socket", "/nonexistent"]).output().unwrap();
    assert_eq!(error.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&error.stderr).contains("is it running?"));
}

/// A socket's own end, and the virtual one.
fn ends(socket: &UdpSocket) -> [String; 2] {
    [socket.local_addr(), socket.peer_addr()].map(|end| end.unwrap().to_string())
}

/// What a trace says of the flow of a socket.
fn trace(site: &Site, socket: &UdpSocket, more: &[&str]) -> String {
    let [client, virtual_host] = ends(socket);
    let output = site.command(&[&["trace", &client, &virtual_host, "udp"], more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_flow_is_traced_from_before_its_first_datagram_until_its_host_is_down() {
    let site = Site::new();
    site.start();
    let hosts = site.hosts();
    for socket in flows(&site) {
        let traced = || -> Value { serde_json::from_str(&trace(&site, &socket, &["--json"])).unwrap() };
        let before = traced();
        assert_eq!((&before["known"], &before["first"]["reason"]), (&Value::Null, &"fwd_new".into()), "{before}");
        let host = before["first"]["hosts"][0].as_str().unwrap().to_owned();
        assert_eq!(before["route"]["hosts"][0]["host"], *host, "{before}");

        // Somebody watches while it begins, and has seen how it was before.
        let [client, virtual_host] = ends(&socket);
        let words = ["trace", &client, &virtual_host, "udp", "--watch", "3", "--socket"];
        let mut watching = site.router.command(site::EXE);
        let mut watching = watching.args(words).arg(site.socket()).stdout(Stdio::piped()).spawn().unwrap();
        let mut reader = BufReader::new(watching.stdout.take().unwrap());
        let mut watched = String::new();
        while !watched.contains("next packet") {
            assert!(reader.read_line(&mut watched).unwrap() > 0, "{watched}");
        }
        speak(std::slice::from_ref(&socket), 2);
        reader.read_to_string(&mut watched).unwrap();
        assert!(watching.wait().unwrap().success());
        let (at_first, then) = watched.split_once("\nafter ").expect(&watched);
        assert!(at_first.contains("remembered    no") && at_first.contains("fwd_new"), "{watched}");
        assert!(then.contains(&format!("at {host}: pinned")) && then.contains("fwd_established"), "{watched}");

        let name = format!("name = \"{host}\"");
        site.write_hosts(&hosts.replace(&name, &format!("{name}\nstate = \"down\"")));
        assert!(site.command(&["reload"]).status.success());
        let after = traced();
        assert_eq!(after["known"]["host"], Value::Null, "{after}");
        assert_ne!(after["first"]["hosts"][0], *host, "{after}");
        site.write_hosts(&hosts);
        assert!(site.command(&["reload"]).status.success());
    }
    let output = site.command(&["trace", "10.0.1.2:5000", "203.0.113.9:7", "udp"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("pass_not_ours") && text.contains("none: "), "{text}");
}
