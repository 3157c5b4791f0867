//! The link emulator between real network stacks.

mod common;

use common::{ping, two_nodes};
use slr_testkit::emulator::xdp_verdict::{Verdict, load_and_pin};
use slr_testkit::lab::{Lab, Shaping};
use slr_testkit::{eventually, require_root};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

#[test]
fn an_idle_link_adds_a_fraction_of_a_millisecond() {
    require_root();
    let lab = Lab::scoped(&two_nodes(""), "t-idle").unwrap();
    for target in ["10.9.0.2", "fd09::2"] {
        let pings = ping(&lab, "a", &format!("-c 100 -i 0.002 {target}"));
        assert_eq!(pings.received, pings.sent, "{}", pings.text);
        assert!(pings.rtt_ms_min < 0.4, "twice 0.2 ms allowed: {}", pings.text);
    }
}

#[test]
fn delay_is_added_each_way_or_one_way_and_ends_with_clear() {
    require_root();
    let lab = Lab::scoped(&two_nodes("delay_ms = 3"), "t-delay").unwrap();
    let rtt_ms = |lab: &Lab, target: &str| {
        let pings = ping(lab, "a", &format!("-c 10 -i 0.02 {target}"));
        assert_eq!(pings.received, 10, "{}", pings.text);
        pings.rtt_ms_min
    };
    for target in ["10.9.0.2", "fd09::2"] {
        lab.shape("a", "b", Shaping::clear().delay(Duration::from_millis(3))).unwrap();
        let both_ways = rtt_ms(&lab, target);
        assert!((6.0..7.0).contains(&both_ways), "3 ms each way: {both_ways} ms");
        lab.shape("b", "a", Shaping::default().delay(Duration::from_millis(10)).only_from("b")).unwrap();
        let longer_back = rtt_ms(&lab, target);
        assert!((13.0..14.0).contains(&longer_back), "3 ms there, 10 ms back: {longer_back} ms");
        lab.shape("a", "b", Shaping::clear()).unwrap();
        let none = rtt_ms(&lab, target);
        assert!(none < 0.4, "no delay left: {none} ms");
    }
}

#[test]
fn loss_hits_about_its_share_and_is_counted() {
    require_root();
    let lab = Lab::scoped(&two_nodes(""), "t-loss").unwrap();
    lab.shape("a", "b", Shaping::default().loss(0.2).only_from("a")).unwrap();
    let pings = ping(&lab, "a", "-c 500 -i 0.002 -W 1 10.9.0.2");
    let lost = pings.sent - pings.received;
    // Five standard deviations around 100 of 500.
    assert!((55..=145).contains(&lost), "{}", pings.text);
    let (there, back) = (lab.direction("a", "b").unwrap().counters, lab.direction("b", "a").unwrap().counters);
    assert!(there.lost >= u64::from(lost), "{there:?}");
    assert_eq!(back.lost, 0, "the other direction is untouched");
}

#[test]
fn a_blackhole_swallows_everything_while_both_carriers_stay_up() {
    require_root();
    let lab = Lab::scoped(&two_nodes(""), "t-hole").unwrap();
    for target in ["10.9.0.2", "fd09::2"] {
        assert_eq!(ping(&lab, "a", &format!("-c 1 -W 5 {target}")).received, 1);
        lab.shape("a", "b", Shaping::default().blackhole(true)).unwrap();
        assert_eq!(ping(&lab, "a", &format!("-c 5 -i 0.01 -W 1 {target}")).received, 0);
        for (node, interface) in [("a", "to-b"), ("b", "to-a")] {
            let state = lab.sh(node, &format!("ip -brief link show {interface}")).unwrap();
            assert!(state.contains(" UP ") && state.contains("LOWER_UP"), "{state}");
        }
        lab.shape("a", "b", Shaping::default().blackhole(false)).unwrap();
        assert_eq!(ping(&lab, "a", &format!("-c 1 -W 5 {target}")).received, 1);
    }
    assert!(lab.direction("a", "b").unwrap().counters.blackholed >= 5);
}

#[test]
fn a_rate_holds_within_a_tenth() {
    require_root();
    let lab = Lab::scoped(&two_nodes(""), "t-rate").unwrap();
    assert_eq!(ping(&lab, "a", "-c 1 -W 5 10.9.0.2").received, 1, "the neighbour is known before the measurement");
    let rate_bps = 40_000_000_u32;
    lab.shape("a", "b", Shaping::default().rate(u64::from(rate_bps))).unwrap();
    blast(&lab, 1_000, Duration::from_millis(300));
    let (start, before) = (Instant::now(), lab.direction("a", "b").unwrap().counters.bytes);
    blast(&lab, 1_000, Duration::from_secs(1));
    let (elapsed, counters) = (start.elapsed(), lab.direction("a", "b").unwrap().counters);
    let bits = f64::from(u32::try_from(counters.bytes - before).unwrap()) * 8.0;
    let share = bits / elapsed.as_secs_f64() / f64::from(rate_bps);
    assert!((0.9..1.1).contains(&share), "{share} of the rate, {counters:?}");
    assert!(counters.queue_full > 0);
}

#[test]
fn a_smaller_mtu_draws_too_big_in_both_families_and_downloads_still_complete() {
    require_root();
    let lab = Lab::scoped(&slr_testkit::topology::Topology::one_site(), "t-mtu").unwrap();
    assert_eq!(ping(&lab, "c1", "-c 1 -W 5 -M do -s 1472 10.1.11.2").received, 1, "1500 bytes pass before");
    lab.set_mtu("h1", "site", 1400).unwrap();
    for (options, expected) in
        [("-c 2 -i 0.1 -W 1 -M do -s 1472 10.1.11.2", 1400), ("-c 2 -i 0.1 -W 1 -M do -s 1452 fd00:1:11::2", 1400)]
    {
        let pings = lab.exec("c1", &[&["ping"][..], &options.split(' ').collect::<Vec<_>>()].concat()).unwrap();
        let text = String::from_utf8_lossy(&pings.stdout).into_owned() + &String::from_utf8_lossy(&pings.stderr);
        assert!(text.contains(&format!("mtu = {expected}")) || text.contains(&format!("mtu={expected}")), "{text}");
    }
    for address in ["10.1.11.2", "[fd00:1:11::2]"] {
        let fetch = format!("curl --silent --show-error --max-time 20 http://{address}/bytes/1M | wc -c");
        assert_eq!(lab.sh("c1", &fetch).unwrap().trim(), "1000000");
    }
}

#[test]
fn a_frame_sent_back_by_xdp_is_not_lost_on_the_way_into_the_emulator_or_a_direct_link_with_pass() {
    require_root();
    let direct = common::two_nodes("direct = true");
    let mut with_pass = direct.clone();
    with_pass.links[0].a.xdp_pass = true;
    let emulated = Lab::scoped(&two_nodes(""), "t-tx").unwrap();
    let direct = Lab::scoped(&with_pass, "t-tx").unwrap();
    for lab in [&emulated, &direct] {
        assert_eq!(ping(lab, "a", "-c 1 -W 5 10.9.0.2").received, 1);
        let pin = lab.pin_dir("b").join("tx");
        load_and_pin(&pin, Verdict::Tx).unwrap();
        lab.netns("b").unwrap().ip(&format!("link set dev to-a xdpdrv pinned {}", pin.display())).unwrap();
        let received = || -> u64 {
            let text = lab.sh("a", "cat /proc/net/dev").unwrap();
            let line = text.lines().find(|line| line.trim_start().starts_with("to-b:")).unwrap().to_owned();
            line.split_whitespace().nth(2).unwrap().parse().unwrap()
        };
        let before = received();
        let socket = lab.with_netns("a", || UdpSocket::bind("10.9.0.1:0").unwrap()).unwrap();
        for _ in 0..1_000 {
            socket.send_to(b"back", "10.9.0.2:9").unwrap();
            std::thread::yield_now();
        }
        eventually(Duration::from_secs(5), "1000 frames to come back", || received() - before >= 1_000);
    }
}

#[test]
fn a_vlan_tag_survives_the_link() {
    require_root();
    let lab = Lab::scoped(&two_nodes(""), "t-vlan").unwrap();
    let sniffer = lab.with_netns("b", packet_socket).unwrap();
    let frame = slr_testkit::packet::pkt()
        .eth("ff:ff:ff:ff:ff:ff", "02:00:00:00:00:01")
        .vlan(42)
        .vlan(43)
        .ipv4("10.9.0.1", "10.9.0.2")
        .udp(1, 2)
        .payload(b"tagged all the way")
        .build();
    lab.with_netns("a", || {
        let socket = packet_socket();
        let index = nix::net::if_::if_nametoindex("to-b").unwrap();
        send_frame(&socket, i32::try_from(index).unwrap(), &frame);
    })
    .unwrap();
    // The tag that the kernel of b takes out again stands in tcpdump's place: the inner one and the payload remain, and
    // the count of bytes on the emulated wire tells that both were there.
    let mut buffer = [0_u8; 2_000];
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        assert!(Instant::now() < deadline, "the frame did not arrive");
        let Ok(len) = std::io::Read::read(&mut &sniffer, &mut buffer) else { continue };
        if buffer[..len].ends_with(b"tagged all the way") {
            assert_eq!(buffer[12..16], [0x81, 0, 0, 43], "the inner tag");
            break;
        }
    }
    assert!(lab.direction("a", "b").unwrap().counters.bytes >= frame.len() as u64);
}

#[test]
fn one_core_of_the_emulator_carries_more_than_100_000_small_packets_per_second() {
    require_root();
    let lab = Lab::scoped(&two_nodes(""), "t-pps").unwrap();
    assert_eq!(ping(&lab, "a", "-c 1 -W 5 10.9.0.2").received, 1);
    let emulator = lab.processes().unwrap().into_iter().find(|process| process.name == "linkemu").unwrap();
    let frames = || lab.direction("a", "b").unwrap().counters.frames;
    let (cpu_before, before, deadline) =
        (cpu_seconds(emulator.pid), frames(), Instant::now() + Duration::from_secs(60));
    while frames() - before < 50_000 {
        assert!(Instant::now() < deadline, "50,000 frames did not pass within a minute");
        blast(&lab, 18, Duration::from_millis(500));
    }
    let (cpu, frames) = (cpu_seconds(emulator.pid) - cpu_before, frames() - before);
    // Counted in time on a core, so that a busy machine does not fail the test.
    let per_core_second = f64::from(u32::try_from(frames).unwrap()) / cpu;
    let counters = lab.direction("a", "b").unwrap().counters;
    println!("{frames} frames in {cpu:.2} s of CPU: {per_core_second:.0} per second and core; {counters:?}");
    assert!(per_core_second > 100_000.0, "{per_core_second} per core and second, {counters:?}");
}

/// Sends UDP datagrams of `len` bytes from a to b as fast as one thread can.
fn blast(lab: &Lab, len: usize, time: Duration) {
    let payload = vec![0; len];
    lab.with_netns("a", || {
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        let end = Instant::now() + time;
        while Instant::now() < end {
            for _ in 0..32 {
                // A full queue of the interface or an ICMP error from b concerns nobody here.
                let _ = socket.send_to(&payload, "10.9.0.2:9");
            }
        }
    })
    .unwrap();
}

/// User and system time of a process so far.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u32 = fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap();
    f64::from(ticks) / 100.0
}

fn packet_socket() -> socket2::Socket {
    let protocol = i32::from(3_u16.to_be()); // ETH_P_ALL
    let socket = socket2::Socket::new(socket2::Domain::PACKET, socket2::Type::RAW, Some(protocol.into())).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket
}

fn send_frame(socket: &socket2::Socket, index: i32, frame: &[u8]) {
    use nix::sys::socket::{MsgFlags, SockaddrLike};
    use std::os::fd::AsRawFd;
    let mut raw = [0_u8; 20]; // struct sockaddr_ll
    raw[..2].copy_from_slice(&17_u16.to_ne_bytes());
    raw[4..8].copy_from_slice(&index.to_ne_bytes());
    raw[11] = 6;
    #[expect(unsafe_code, reason = "nix builds packet addresses from raw parts only")]
    // SAFETY: `raw` is laid out as sockaddr_ll and as long as stated.
    let address = unsafe { nix::sys::socket::LinkAddr::from_raw(raw.as_ptr().cast(), Some(20)) }.unwrap();
    nix::sys::socket::sendto(socket.as_raw_fd(), frame, &address, MsgFlags::empty()).unwrap();
}
