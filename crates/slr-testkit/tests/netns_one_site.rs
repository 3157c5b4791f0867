//! The topology one-site as shipped: everything reaches everything it should, by the way it should.

mod common;

use common::{ping, residue};
use slr_testkit::lab::Lab;
use slr_testkit::require_root;
use slr_testkit::topology::Topology;
use std::net::UdpSocket;
use std::time::Duration;

#[test]
fn real_servers_answer_real_clients_in_both_families() {
    require_root();
    let lab = Lab::scoped(&Topology::one_site(), "t-serve").unwrap();
    for (client, host, net) in [("c1", "h1", 11), ("c1", "h2", 12), ("c1", "h3", 13), ("c2", "h1", 11)] {
        for address in [format!("10.1.{net}.2"), format!("[fd00:1:{net}::2]")] {
            let page =
                lab.sh(client, &format!("curl --silent --show-error --max-time 5 http://{address}/who")).unwrap();
            assert_eq!(page, format!("{host}\n"));
            let echoed = lab.with_netns(client, || udp_echo(&format!("{address}:7"))).unwrap();
            assert_eq!(echoed, b"hello", "UDP echo of {address}");
        }
    }
}

#[test]
fn files_come_down_and_go_up() {
    require_root();
    let lab = Lab::scoped(&Topology::one_site(), "t-files").unwrap();
    for address in ["10.1.11.2", "[fd00:1:11::2]"] {
        let curl = "curl --silent --show-error --max-time 30";
        let down = format!("{curl} http://{address}/bytes/10M | wc -c");
        assert_eq!(lab.sh("c1", &down).unwrap().trim(), "10000000");
        let body = lab.dir().join("body");
        std::fs::write(&body, vec![7; 3_000_000]).unwrap();
        let up =
            format!("{curl} --write-out '%{{http_code}}' --upload-file {} http://{address}/upload/x", body.display());
        assert!(["201", "204"].contains(&lab.sh("c1", &up).unwrap().as_str()));
        let stored = lab.service_dir("h1", "nginx").join("upload/x");
        assert_eq!(std::fs::read(stored).unwrap(), std::fs::read(&body).unwrap());
    }
}

#[test]
fn a_client_may_use_any_address_of_its_further_subnets_at_once() {
    require_root();
    let lab = Lab::scoped(&Topology::one_site(), "t-addr").unwrap();
    for (client, source, target) in [
        ("c1", "10.0.101.1", "10.1.12.2"),
        ("c1", "10.0.101.254", "10.1.12.2"),
        ("c1", "fd00:0:101::77", "fd00:1:12::2"),
        ("c2", "10.0.102.9", "10.1.1.2"),
        ("c2", "fd00:0:102:0:1:2:3:4", "fd00:1:1::2"),
    ] {
        let pings = ping(&lab, client, &format!("-c 1 -W 5 -I {source} {target}"));
        assert_eq!(pings.received, 1, "{source} to {target}: {}", pings.text);
    }
}

#[test]
fn virtual_subnets_lead_to_the_slr_and_replies_pass_it_by() {
    require_root();
    let lab = Lab::scoped(&Topology::one_site(), "t-route").unwrap();
    for (node, target, via, device) in [
        ("internet", "192.0.2.9", "10.1.0.2", "to-site"),
        ("internet", "198.51.100.1", "10.1.0.2", "to-site"),
        ("internet", "2001:db8:100::9", "fd00:1::2", "to-site"),
        ("internet", "2001:db8:2ff::1", "", ""),
        ("site", "192.0.2.9", "10.1.1.2", "to-slr1"),
        ("site", "2001:db8:100:ffff::1", "fd00:1:1::2", "to-slr1"),
        ("site", "2001:db8:200::1", "fd00:1:1::2", "to-slr1"),
        ("site", "10.1.255.200", "10.1.1.2", "to-slr1"),
        ("site", "fd00:1:ff::1", "fd00:1:1::2", "to-slr1"),
        ("h2", "10.0.101.3", "10.1.12.1", "to-site"),
        ("h2", "fd00:0:1::2", "fd00:1:12::1", "to-site"),
        ("slr1", "10.1.13.2", "10.1.1.1", "to-site"),
    ] {
        let route = lab.exec(node, &["ip", "route", "get", target]).unwrap();
        let text = String::from_utf8_lossy(&route.stdout).into_owned();
        if via.is_empty() {
            assert!(!route.status.success(), "{target} is nobody's, yet {node} knows {text}");
        } else {
            let words: Vec<&str> = text.split_whitespace().collect();
            assert!(words.contains(&via) && words.contains(&device), "{target} from {node}: {text}");
        }
    }
    let before = lab.direction("slr1", "site").unwrap().counters.bytes;
    lab.sh("c1", "curl --silent http://10.1.11.2/bytes/1M >/dev/null").unwrap();
    let passed = lab.direction("slr1", "site").unwrap().counters.bytes - before;
    assert!(passed < 10_000, "{passed} bytes passed the SLR");
}

#[test]
fn two_labs_with_the_same_addresses_live_side_by_side_and_end_one_by_one() {
    require_root();
    let topology = Topology::one_site();
    let (first, second) = (Lab::scoped(&topology, "t-twin").unwrap(), Lab::scoped(&topology, "t-twin").unwrap());
    let (first_run, second_run) = (first.run().to_owned(), second.run().to_owned());
    assert_ne!(first_run, second_run);
    let fetch = |lab: &Lab| lab.sh("c1", "curl --silent --show-error --max-time 5 http://10.1.13.2/who");
    assert_eq!((fetch(&first).unwrap(), fetch(&second).unwrap()), ("h3\n".to_owned(), "h3\n".to_owned()));
    assert!(residue(&first_run).len() > 20, "what a running lab consists of is found: {:?}", residue(&first_run));
    drop(first);
    assert_eq!(residue(&first_run), [""; 0]);
    assert_eq!(fetch(&second).unwrap(), "h3\n");
    drop(second);
    assert_eq!(residue(&second_run), [""; 0]);
}

fn udp_echo(server: &str) -> Vec<u8> {
    let socket = UdpSocket::bind(if server.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" }).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.connect(server).unwrap();
    socket.send(b"hello").unwrap();
    let mut buffer = [0; 64];
    let len = socket.recv(&mut buffer).unwrap();
    buffer[..len].to_vec()
}
