//! `slr-router replay` against the real program: a generated capture in, verdicts, reasons, hosts and packets out.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output};

use pcap_file::pcap::{PcapHeader, PcapReader, PcapWriter, RawPcapPacket};
use serde_json::{Value, json};
use slr_testkit::packet::{ACK, PSH, Packet, SYN, pkt, verify_checksums};
use slr_testkit::require_root;
use tempfile::TempDir;

const CONFIG: &str = r#"
hosts = "hosts.toml"

[node]
name = "slr-1"

[tunnel]
sources = ["10.1.255.0/24", "fd00:1:ff::/64"]

[[subnet]]
name = "web"
prefix = "192.0.2.0/24"
services = ["tcp/80", "udp/7"]

[[subnet]]
name = "web6"
prefix = "2001:db8:1::/64"
orphan = "drop"
echo = "drop"

[[subnet]]
name = "idle"
prefix = "198.18.0.0/24"
"#;

const HOSTS: &str = r#"
[[host]]
name = "h1"
address = "10.1.11.2"
mac = "02:00:00:00:11:02"
subnets = ["web", "web6"]

[[host]]
name = "h2"
address = "fd00:1:12::2"
subnets = ["web", "web6"]

[[host]]
name = "h3"
address = "10.1.13.2"
subnets = ["idle"]
state = "draining"
"#;

fn folder(packets: &[Packet]) -> TempDir {
    folder_of(packets.iter().map(Packet::build))
}

fn folder_of(frames: impl IntoIterator<Item = Vec<u8>>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("router.toml"), CONFIG).unwrap();
    fs::write(folder.path().join("hosts.toml"), HOSTS).unwrap();
    let header = PcapHeader { snaplen: 65_535, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(File::create(folder.path().join("in.pcap")).unwrap(), header).unwrap();
    for (n, data) in (0u32..).zip(frames) {
        let len = data.len() as u32;
        let packet =
            RawPcapPacket { ts_sec: 1000 + n, ts_frac: 7 * n, incl_len: len, orig_len: len, data: data.into() };
        writer.write_raw_packet(&packet).unwrap();
    }
    folder
}

fn replay(folder: &Path, extra: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_slr-router"))
        .current_dir(folder)
        .args(["replay", "--config", "router.toml", "--in", "in.pcap", "--out", "out.pcap"])
        .args(extra)
        .output()
        .unwrap()
}

fn rows(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Time stamp in seconds, and bytes.
fn sent(folder: &Path) -> Vec<(u32, Vec<u8>)> {
    let mut reader = PcapReader::new(File::open(folder.join("out.pcap")).unwrap()).unwrap();
    std::iter::from_fn(|| reader.next_raw_packet().map(|p| p.map(|p| (p.ts_sec, p.data.to_vec())).unwrap())).collect()
}

fn eth() -> Packet {
    pkt().eth("02:00:00:00:00:01", "02:00:00:00:00:99")
}

fn tcp4(port: u16, flags: u8, seq: u32) -> Packet {
    eth().ipv4("10.0.1.2", "192.0.2.10").tcp(port, 80).flags(flags).seq(seq)
}

fn tcp6(flags: u8) -> Packet {
    eth().ipv6("2001:db8:99::2", "2001:db8:1::10").tcp(40_000, 80).flags(flags).seq(5)
}

#[test]
fn each_packet_gets_its_verdict_reason_and_host_in_order() {
    require_root();
    let packets = [
        tcp4(40_000, SYN, 100),
        tcp4(40_000, ACK, 101),
        tcp4(40_000, ACK | PSH, 101).payload(b"GET / HTTP/1.0\r\n\r\n"),
        tcp4(50_000, ACK, 1),
        tcp6(ACK),
        tcp6(SYN),
        eth().ipv4("10.0.1.2", "192.0.2.10").udp(5000, 7).payload(b"hello"),
        eth().ipv4("10.0.1.2", "192.0.2.10").tcp(40_000, 443).flags(SYN),
        eth().ipv4("10.0.1.2", "203.0.113.1").tcp(40_000, 80).flags(SYN),
        eth().ipv4("10.0.1.2", "198.18.0.1").tcp(40_000, 80).flags(SYN),
        eth().ipv4("10.0.1.2", "192.0.2.10").echo_request(7, 1).payload(b"ping"),
        eth().ipv6("2001:db8:99::2", "2001:db8:1::10").echo_request(7, 1),
    ];
    let folder = folder(&packets);
    let rows = rows(&replay(folder.path(), &["--json"]));
    let told = |field: &str| rows.iter().map(|row| row[field].clone()).collect::<Vec<_>>();
    assert_eq!(told("n"), (1..=packets.len()).map(|n| json!(n)).collect::<Vec<_>>());
    let expected = [
        ("tx", "fwd_new"),
        ("tx", "fwd_pending"),
        ("tx", "fwd_pending"),
        ("tx", "fwd_orphan_chain"),
        ("drop", "drop_orphan"),
        ("tx", "fwd_new"),
        ("tx", "fwd_new"),
        ("pass", "pass_not_served"),
        ("pass", "pass_not_ours"),
        ("drop", "drop_no_active_host"),
        ("tx", "reply_echo"),
        ("drop", "drop_echo"),
    ];
    let seen: Vec<(String, String)> = rows
        .iter()
        .map(|row| (row["verdict"].as_str().unwrap().into(), row["reason"].as_str().unwrap().into()))
        .collect();
    assert_eq!(seen, expected.map(|(verdict, reason)| (verdict.to_owned(), reason.to_owned())));
    let hosts = told("host");
    for (row, host) in rows.iter().zip(&hosts) {
        let forwarded = row["reason"].as_str().unwrap().starts_with("fwd_");
        assert_eq!(forwarded, matches!(host.as_str(), Some("h1" | "h2")), "{row}");
        assert_eq!(!forwarded, host.is_null(), "{row}");
    }
    assert!(hosts[..3].iter().all(|host| *host == hosts[0]), "a flow stays with its host: {hosts:?}");
    check_sent(folder.path(), &rows, &packets);
}

/// OUT holds exactly the frames that leave, at their time, with valid checksums and the datagram untouched inside.
fn check_sent(folder: &Path, rows: &[Value], packets: &[Packet]) {
    let sent = sent(folder);
    let leaving: Vec<usize> = (0..rows.len()).filter(|&i| rows[i]["verdict"] == "tx").collect();
    assert_eq!(sent.len(), leaving.len());
    for ((seconds, frame), index) in sent.iter().zip(leaving) {
        assert_eq!(*seconds, 1000 + index as u32);
        verify_checksums(frame).unwrap();
        let given = packets[index].build();
        if rows[index]["reason"] == "reply_echo" {
            assert_eq!(frame[26..30], given[30..34], "the virtual address answers");
            continue;
        }
        assert!(frame.ends_with(&given[14..]), "frame {index}: the datagram inside is what the client sent");
        let mac: &[u8] = if rows[index]["host"] == "h1" { &[2, 0, 0, 0, 0x11, 2] } else { b"\x02SLR\x00\x01" };
        assert_eq!(&frame[..6], mac, "frame {index}");
    }
}

#[test]
fn every_host_with_weight_gets_new_flows() {
    require_root();
    let packets: Vec<Packet> = (0..200).map(|n| tcp4(20_000 + n, SYN, 1)).collect();
    let folder = folder(&packets);
    let rows = rows(&replay(folder.path(), &["--json"]));
    let hosts: BTreeSet<&str> = rows.iter().map(|row| row["host"].as_str().unwrap()).collect();
    assert_eq!(hosts, ["h1", "h2"].into());
}

#[test]
fn people_get_a_table_and_the_mtu_can_be_told() {
    require_root();
    let folder = folder(&[tcp4(40_000, SYN, 1), tcp4(40_000, ACK, 2).payload_len(1_300)]);
    let output = replay(folder.path(), &["--mtu", "1300"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("tcp[syn] 10.0.1.2:40000 > 192.0.2.10:80"), "{text}");
    assert!(text.contains("drop_too_big") && text.ends_with("2 packets\n"), "{text}");
}

#[test]
fn frames_shorter_than_ethernet_are_told_apart_and_overlong_ones_named() {
    require_root();
    let short = folder_of([vec![0; 13]]);
    let seen = rows(&replay(short.path(), &["--json"]));
    assert_eq!(seen, [json!({"n": 1, "verdict": "pass", "reason": "pass_truncated", "host": null})]);
    let long = folder_of([vec![0; 60], vec![0; 100_000]]);
    let output = replay(long.path(), &["--json"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("frame 2 (100000 bytes)") && error.contains("gro off"), "{error}");
}

#[test]
fn a_broken_hosts_file_is_refused_with_its_line() {
    require_root();
    let folder = folder(&[]);
    fs::write(folder.path().join("hosts.toml"), HOSTS.replace("\"web\", \"web6\"", "\"wbe\"")).unwrap();
    let output = replay(folder.path(), &["--hosts", "hosts.toml"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("6 | subnets = [\"wbe\"]") && error.contains("write one of web"), "{error}");
}
