//! UDP servers that give no thought to their source address answer from the address that the client spoke to.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use slr_testkit::lab::Process;
use slr_testkit::{eventually, require_root};
use xtask::site::{CLIENT_RANGES, HOSTS, Site, SiteOptions, VIRTUAL, VIRTUAL_OTHER, program};
use xtask::traffic::{self, Report};
use xtask::watch::Watch;

/// How long a server may take to start, or an answer to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// Two addresses of one subnet, and one of another, in each family.
const TARGETS: [&str; 6] =
    [VIRTUAL[0], "192.0.2.254", VIRTUAL_OTHER[0], VIRTUAL[1], "2001:db8:100:ffff::1", VIRTUAL_OTHER[1]];
/// `echo4` and `echo6` of the topology: a socket per family.
const ECHO: u16 = 7;
/// Of each flow, one a second.
const MESSAGES: u64 = 4;

/// What a host's UDP sockets received, sent, lost for want of room, and have not read yet.
const SOCKETS: &str = r#"
    awk '/^Udp:/ && $2 ~ /[0-9]/ { print "in " $2 ", no port " $3 ", errors " $4 ", out " $5 ", no room " $6 }' /proc/net/snmp
    awk '/^Udp6(InDatagrams|NoPorts|InErrors|OutDatagrams|RcvbufErrors) / { printf "%s %s ", $1, $2 }' /proc/net/snmp6
    ss --udp --all --numeric --no-header | awk '$2 > 0 { print "unread " $2 " at " $4 }'"#;

fn targets<'a>(addresses: impl IntoIterator<Item = &'a str>) -> String {
    addresses.into_iter().map(|address| format!("--target {address} ")).collect()
}

/// Start a server on a host and wait until the port is bound.
fn serve(site: &Site, host: &str, name: &str, port: u16, program: impl AsRef<std::path::Path>, words: &str) -> Process {
    let mut command = Command::new(program.as_ref());
    command.args(words.split_whitespace());
    let process = site.lab().spawn(host, name, command).unwrap();
    eventually(PATIENCE, &format!("{name} on {host} to bind port {port}"), || {
        assert!(process.is_alive(), "{name} on {host} ended: {}", process.log_tail());
        site.lab().sh(host, "ss --udp --listening --numeric").unwrap().contains(&format!(":{port} "))
    });
    process
}

/// Echoes from many addresses of both clients at once to every target; every answer comes, from the right address.
fn echo_from_everywhere(site: &Site, port: u16, flows: u32) -> Vec<Report> {
    let watches =
        CLIENT_RANGES.map(|(client, _)| Watch::client(site.lab(), client, &format!("udp sport {port}")).unwrap());
    let way_back = Watch::way_back(site.lab()).unwrap();
    let running = CLIENT_RANGES.map(|(client, ranges)| {
        let ranges = ranges.map(|range| format!("--source-range {range}")).join(" ");
        let words = format!(
            "{} {ranges} --source-freebind --flow udp={flows} --udp-port {port} --messages {MESSAGES} --interval 1s --ramp 1s",
            targets(TARGETS)
        );
        traffic::start(site.lab(), client, &words).unwrap()
    });
    let reports = running.map(|probe| probe.finish().unwrap());
    for node in ["slr1"].into_iter().chain(HOSTS) {
        assert_eq!(site.drops(node).unwrap(), [], "{node} dropped packets");
    }
    let passed = packets_at_hosts(site);
    for (report, watch) in reports.iter().zip(&watches) {
        let [back, strangers] = ["virtual", "strangers"].map(|counter| watch.packets(counter).unwrap());
        let passed = format!("{passed}; back at this client {back}, from other addresses {strangers}");
        let answered = assert_answers(report, TARGETS.len(), &passed);
        assert_eq!(answered, u64::from(flows) * MESSAGES, "every message is answered");
        assert_eq!(watch.packets("virtual").unwrap(), answered, "answers as the client's kernel saw them");
        assert_eq!(watch.packets("strangers").unwrap(), 0, "answers from an address that nobody asked");
    }
    assert_eq!(way_back.packets("replies").unwrap(), 0, "answers passed the SLR");
    reports.into()
}

/// What came in and went out at the hosts: says on which side of them something was lost.
fn packets_at_hosts(site: &Site) -> String {
    let hosts = HOSTS.map(|host| {
        let subnets = site.show_host(host, "subnets").unwrap();
        let sum = |field| subnets.as_array().unwrap().iter().filter_map(|subnet| subnet[field].as_u64()).sum::<u64>();
        let sockets = site.lab().sh(host, SOCKETS).unwrap_or_default().replace('\n', " ");
        format!("{host} received {} and sent {} (sockets: {sockets})", sum("received_packets"), sum("sent_packets"))
    });
    hosts.join(", ")
}

/// No flow failed, and no answer came from another address than the one asked; how many answers came.
fn assert_answers(report: &Report, targets: usize, passed: &str) -> u64 {
    report.assert_clean(passed);
    assert_eq!(report.kinds().count(), targets);
    let answers = report.kinds().map(|kind| {
        let exchanges = &kind["exchanges"];
        assert_eq!(exchanges["wrong_source"], 0, "{kind}");
        exchanges["answered"].as_u64().filter(|answers| *answers > 0).unwrap_or_else(|| panic!("no answer: {kind}"))
    });
    answers.sum()
}

#[test]
fn naive_servers_answer_from_any_virtual_address_to_many_clients() {
    require_root();
    let site = Site::up("udp", SiteOptions::default()).unwrap();
    for report in echo_from_everywhere(&site, ECHO, 96) {
        assert!(report.kinds().all(|kind| kind["client_addresses"].as_u64() >= Some(10)), "many client addresses");
    }
    for host in HOSTS {
        let subnets = site.show_host(host, "subnets").unwrap();
        for subnet in subnets.as_array().unwrap() {
            assert!(subnet["sent_packets"].as_u64() > Some(0), "{host} answers in every subnet: {subnet}");
        }
    }
}

#[test]
fn one_socket_for_both_families_answers_each_from_its_virtual_address() {
    require_root();
    let site = Site::up("udp-dual", SiteOptions::default().over_v6()).unwrap();
    let port = 7008;
    for host in HOSTS {
        let words = format!(
            "serve --identity {host} --http-port none --echo-port none --udp-port {port} --udp-naive --dual-stack"
        );
        serve(&site, host, "dual", port, program("probe").unwrap(), &words);
    }
    for report in echo_from_everywhere(&site, port, 120) {
        assert_eq!(report.shares("udp").len(), HOSTS.len(), "every host answers some: {:?}", report.shares("udp"));
    }
}

/// What one socket hears back from an address it asks.
fn ask(socket: &UdpSocket, to: SocketAddr) -> SocketAddr {
    let mut from = None;
    let question = format!("to {to}");
    eventually(PATIENCE, &format!("an answer from {to}"), || {
        let mut buffer = [0; 100];
        socket.send_to(question.as_bytes(), to).unwrap();
        let answer = socket.recv_from(&mut buffer).ok().filter(|(length, _)| &buffer[..*length] == question.as_bytes());
        from = answer.map(|(_, from)| from);
        from.is_some()
    });
    from.expect("an answer came")
}

/// A client's socket that waits for an answer half a second.
fn client(site: &Site, family: usize) -> UdpSocket {
    let any = ["0.0.0.0:0", "[::]:0"][family];
    let socket = site.lab().with_netns("c1", || UdpSocket::bind(any).unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket
}

/// socat opens a socket per client, bound to the port already when it connects it. (It takes every datagram for another
/// client's, so these clients ask one after the other, as with any machine that has several addresses.)
#[test]
fn a_connected_socket_per_client_answers_from_the_virtual_address() {
    require_root();
    let site = Site::up("udp-connected", SiteOptions::default()).unwrap();
    let mut asked = 0;
    for (family, port, listen) in [(0, 7003, "UDP4-LISTEN:7003"), (1, 7004, "UDP6-LISTEN:7004,ipv6only=1")] {
        for host in HOSTS {
            serve(&site, host, listen, port, "socat", &format!("-T 2 {listen},fork,reuseaddr PIPE"));
        }
        for target in &TARGETS[family * 3..][..3] {
            let to = SocketAddr::new(target.parse().unwrap(), port);
            for _ in 0..5 {
                assert_eq!(ask(&client(&site, family), to), to, "who answers a question to {to}");
                asked += 1;
            }
        }
    }
    let rewritten: u64 = HOSTS.iter().map(|host| site.reason(host, "pass_udp_source").unwrap()).sum();
    assert!(rewritten >= asked, "sockets that have a port cannot be bound: their source is put right on egress");
}

/// socat forks for each datagram, and the child answers from the socket that it has inherited. (One client after the other, as
/// above: when datagrams are many it throws some away itself.)
#[test]
fn a_process_per_datagram_answers_from_the_virtual_address() {
    require_root();
    let site = Site::up("udp-forks", SiteOptions::default()).unwrap();
    for (family, port, listen) in [(0, 7005, "UDP4-RECVFROM:7005"), (1, 7006, "UDP6-RECVFROM:7006,ipv6only=1")] {
        for host in HOSTS {
            serve(&site, host, listen, port, "socat", &format!("{listen},fork,reuseaddr PIPE"));
        }
        for target in &TARGETS[family * 3..][..3] {
            let to = SocketAddr::new(target.parse().unwrap(), port);
            for _ in 0..5 {
                assert_eq!(ask(&client(&site, family), to), to, "who answers a question to {to}");
            }
        }
    }
}

/// The hosts' own addresses of one family.
fn own(site: &Site, family: usize) -> impl Iterator<Item = String> + '_ {
    let all = HOSTS.iter().flat_map(|host| site.lab().topology().addresses_of(host));
    all.filter(move |address| address.is_ipv6() == (family == 1)).map(|address| address.to_string())
}

#[test]
fn who_asks_a_host_at_its_own_address_hears_from_that_address() {
    require_root();
    let site = Site::up("udp-own", SiteOptions::default()).unwrap();
    let own: Vec<String> = own(&site, 0).chain(own(&site, 1)).collect();
    assert_eq!(own.len(), 2 * HOSTS.len());
    let words = format!(
        "{} --flow udp=12 --udp-port {ECHO} --messages 5 --interval 100ms",
        targets(own.iter().chain(&TARGETS.map(str::to_owned)).map(String::as_str))
    );
    let report = traffic::run(site.lab(), "c1", &words).unwrap();
    assert_answers(&report, own.len() + TARGETS.len(), &packets_at_hosts(&site));
}

#[test]
fn a_client_port_that_asks_by_turns_hears_from_the_address_it_asked() {
    require_root();
    let site = Site::up("udp-turns", SiteOptions::default()).unwrap();
    for family in [0, 1] {
        let socket = client(&site, family);
        let [served, other] = [VIRTUAL, VIRTUAL_OTHER].map(|all| SocketAddr::new(all[family].parse().unwrap(), ECHO));
        for host in own(&site, family) {
            let host = SocketAddr::new(host.parse().unwrap(), ECHO);
            for to in [served, host, other, host, served] {
                assert_eq!(ask(&socket, to), to, "who answers a question to {to}");
            }
        }
    }
}
