//! What passes through a host that serves.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::process::Command;

use slr_testkit::eventually;
use slr_testkit::lab::Process;
use socket2::SockRef;

use crate::scene::*;

/// Starts socat and waits until its port is bound.
fn socat(scene: &Scene, name: &str, address: &str, port: u16) -> Process {
    let mut command = Command::new("socat");
    command.arg(address).arg("PIPE");
    let process = scene.lab.spawn("h", name, command).unwrap();
    eventually(PATIENCE, "socat to listen", || {
        scene.on_host("ss --udp --listening --numeric").contains(&format!(":{port} "))
    });
    process
}

/// Asks until the answer comes: the first datagram may meet a server that is still forking.
fn echo(socket: &UdpSocket, text: &str) -> bool {
    let mut buffer = [0; 100];
    socket.send(text.as_bytes()).unwrap();
    matches!(socket.recv(&mut buffer), Ok(len) if &buffer[..len] == text.as_bytes())
}

#[test]
fn naive_udp_servers_on_wildcard_addresses_answer_from_the_virtual_address() {
    let scene = Scene::new();
    // One socket for all clients; one that forks a connected socket for each; IPv4 only and dual-stack.
    let servers = [
        ("recv4", "UDP4-RECVFROM:7001,fork", 7001, true, false),
        ("recv46", "UDP6-RECVFROM:7002,fork,ipv6only=0", 7002, true, true),
        ("listen4", "UDP4-LISTEN:7003,fork,reuseaddr", 7003, true, false),
        ("listen46", "UDP6-LISTEN:7004,fork,reuseaddr,ipv6only=0", 7004, true, true),
    ];
    for (name, address, port, v4, v6) in servers {
        let _server = socat(&scene, name, address, port);
        for (client, to) in VIRTUAL {
            if if to.contains(':') { v6 } else { v4 } {
                let socket = scene.udp_client(client, to, port);
                eventually(PATIENCE, &format!("an echo of {name} from {to}"), || echo(&socket, name));
            }
        }
    }
    for (name, ..) in SUBNETS {
        assert!(scene.subnet(name, "received_packets") >= 2 && scene.subnet(name, "sent_packets") >= 2, "{name}");
    }
    assert!(scene.drops().is_empty(), "{:?}", scene.drops());
}

#[test]
fn a_server_that_opens_a_socket_per_client_answers_from_the_virtual_address() {
    let scene = Scene::new();
    // bash connects a fresh UDP socket: not the one that was spoken to, but one of the same service.
    let reply = scene.config().with_file_name("reply.sh");
    std::fs::write(&reply, "echo hello > /dev/udp/$(tr -d '[]' <<< $SOCAT_PEERADDR)/$SOCAT_PEERPORT\n").unwrap();
    for (port, listen, client, to) in [(7001, "UDP4", C4, "192.0.2.10"), (7002, "UDP6", C6, "2001:db8:100::10")] {
        let mut command = Command::new("socat");
        command.arg("-u").arg(format!("{listen}-RECVFROM:{port},fork")).arg(format!("EXEC:bash {}", reply.display()));
        let server = scene.lab.spawn("h", listen, command).unwrap();
        let client = std::net::SocketAddr::new(client.parse().unwrap(), 0);
        let socket = scene.lab.with_netns("gw", || UdpSocket::bind(client).unwrap()).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
        let mut from = None;
        eventually(PATIENCE, &format!("an answer from {to}"), || {
            socket.send_to(b"x", (to, port)).unwrap();
            from = socket.recv_from(&mut [0; 100]).ok().map(|(_, from)| from.ip().to_string());
            from.is_some()
        });
        assert_eq!(from.as_deref(), Some(to), "{}", server.log_tail());
    }
    assert_eq!(scene.count("pass_udp_source"), 0, "the sockets were bound as they connected; nothing was rewritten");
}

#[test]
fn tcp_flows_both_ways_with_segments_that_fit_and_every_byte_is_charged() {
    let scene = Scene::new();
    let listener = scene.listener();
    let port = listener.local_addr().unwrap().port();
    // 1,500 less four IPv6 tunnel headers, IP and TCP headers, and the timestamps that the kernel takes off as well.
    let (mss_v4, mss_v6) = (1500 - 4 * 40 - 40 - 12, 1500 - 4 * 40 - 60 - 12);
    let expected = [("web4", mss_v4), ("dns4", mss_v4), ("web6", mss_v6), ("dns6", mss_v6)];
    for ((client, to), (name, mss)) in VIRTUAL.into_iter().zip(expected) {
        let mut up = scene.connect(client, to, port);
        let (mut down, peer) = listener.accept().unwrap();
        assert_eq!(peer.port(), up.local_addr().unwrap().port());
        assert_eq!(SockRef::from(&up).tcp_mss().unwrap(), mss, "{to}: what the SYN-ACK told the client");
        let bytes = vec![0x5a; 300_000];
        let sent = bytes.clone();
        let writer = std::thread::spawn(move || {
            down.write_all(&sent).unwrap();
            let mut back = vec![0; sent.len()];
            down.read_exact(&mut back).unwrap();
            assert_eq!(back, sent);
        });
        let mut received = vec![0; bytes.len()];
        up.read_exact(&mut received).unwrap();
        up.write_all(&received).unwrap();
        writer.join().unwrap();
        assert_eq!(received, bytes);
        assert!(scene.subnet(name, "sent_bytes") > 300_000 && scene.subnet(name, "received_bytes") > 300_000, "{name}");
        let packets = scene.subnet(name, "sent_packets");
        assert!(packets > 200, "{name}: segments are counted as the wire has them, not {packets} large buffers");
    }
    assert_eq!(scene.count("pass_mss_clamped"), 4, "one SYN-ACK per connection");
    assert!(scene.drops().is_empty(), "{:?}", scene.drops());
}

#[test]
fn every_pair_of_tunnel_and_client_family_in_either_xdp_mode() {
    for xdp in ["native", "generic"] {
        let mut scene = Scene::with_xdp(xdp);
        assert_eq!(scene.show("interfaces")[0]["xdp"], xdp);
        let listener = scene.listener();
        let port = listener.local_addr().unwrap().port();
        for (router, us) in [(ROUTER4, US4), (ROUTER6, US6)] {
            scene.tunnel_over(router, us);
            for (client, to) in VIRTUAL {
                let mut up = scene.connect(client, to, port);
                let (mut down, _) = listener.accept().unwrap();
                up.write_all(b"ping").unwrap();
                let mut word = [0; 4];
                down.read_exact(&mut word).unwrap();
                assert_eq!(&word, b"ping", "{xdp} {router} {to}");
            }
            for (prober, us_inside) in [(PROBER4, US4), (PROBER6, US6)] {
                let (answer, from) = scene.keepalive((router, us), prober, us_inside).expect("an answer");
                assert_eq!((answer.len(), answer[5], &answer[8..]), (24, 2, &[7; 16][..]), "{xdp} {router} {prober}");
                assert_eq!((from.ip().to_string(), from.port()), (us_inside.to_owned(), 6101));
            }
        }
        assert!(scene.drops().is_empty(), "{:?}", scene.drops());
    }
}

#[test]
fn virtual_addresses_are_not_announced_on_the_link() {
    let scene = Scene::new();
    let listener = scene.listener();
    // Ask for the virtual address on the link itself: nobody may answer, or every host of the site would.
    scene.lab.sh("gw", "ip route add 192.0.2.99/32 dev to-h; ip route add 2001:db8:100::99/128 dev to-h").unwrap();
    let failed = |to: &str| scene.lab.sh("gw", &format!("ip neighbour show to {to}")).unwrap().contains("FAILED");
    for to in ["192.0.2.99", "2001:db8:100::99"] {
        scene.lab.sh("gw", &format!("ping -c 1 -W 1 {to} > /dev/null 2>&1; true")).unwrap();
        eventually(PATIENCE, &format!("no neighbour at {to}"), || failed(to));
    }
    // And a reply from a virtual address does not put it into the gateway's table.
    scene.on_host("ip neighbour flush dev to-gw");
    let (client, to) = VIRTUAL[0];
    let _connection = scene.connect(client, to, listener.local_addr().unwrap().port());
    let table = scene.lab.sh("gw", "ip neighbour show dev to-h").unwrap();
    assert!(table.contains(US4) && !table.contains(to), "{table}");
}
