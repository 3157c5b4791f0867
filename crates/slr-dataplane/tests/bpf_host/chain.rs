//! Chains: to the host that has the socket, or on to the next, and never further than registered hosts allow.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use slr_dataplane::reason::HostReason::*;
use slr_testkit::netns::NetNs;
use slr_testkit::packet::{ACK, Packet, RST, SYN, pkt, verify_checksums};
use socket2::{Domain, Socket, Type};

use crate::bed::*;

/// Our header, the next host's.
fn chain_of_two(next_source: &str, next: &str) -> Packet {
    ip(ip(frame(), ROUTER4, US4), next_source, next)
}

#[test]
fn without_a_socket_a_chain_goes_on_one_header_shorter_from_our_own_address() {
    let bed = Bed::new();
    let table = [
        (ROUTER4, US4, US4, OTHER4, C4, V4),
        (ROUTER4, US4, US6, OTHER6, C4, V4),
        (ROUTER6, US6, US4, OTHER4, C6, V6),
        (ROUTER6, US6, US6, OTHER6, C6, V6),
    ];
    for (source, us, own, next, client, virtual_address) in table {
        let content = |p| ip(p, client, virtual_address).tcp(5, 80).payload_len(20).build();
        let router = if next.contains(':') { ROUTER6 } else { ROUTER4 };
        let sent = content(ip(ip(frame(), source, us), router, next).ttl(9));
        let expected = content(ip(returned(), own, next));
        let (reason, out) = bed.send(&sent);
        assert_eq!((reason, &out), (RelayChain, &expected), "{next} {client}");
        verify_checksums(&out).unwrap();
    }
}

#[test]
fn a_chain_of_three_loses_its_first_header_only() {
    let bed = Bed::new();
    let rest = |p: Packet, first: &str| ip(p, first, OTHER4).ipv6(ROUTER6, THIRD6).ipv4(C4, V4).udp(1, 53).build();
    let sent = rest(frame().ipv4(ROUTER4, US4), ROUTER4);
    assert_eq!(bed.send(&sent), (RelayChain, rest(returned(), US4)));
}

#[test]
fn three_hosts_and_a_router_are_the_longest_chain() {
    let bed = Bed::new();
    let rest = |p: Packet, first: &str| {
        p.ipv6(first, OTHER6).ipv6(ROUTER6, THIRD6).ipv6(ROUTER6, ROUTER6).ipv6(C6, V6).tcp(1, 80).build()
    };
    let sent = rest(frame().ipv6(ROUTER6, US6), ROUTER6);
    assert_eq!(bed.send(&sent), (RelayChain, rest(returned(), US6)));
}

#[test]
fn udp_fragments_and_other_protocols_have_no_socket_to_look_for() {
    let bed = Bed::new();
    let contents: [fn(Packet) -> Packet; 4] = [
        |p| p.ipv4(C4, V4).udp(1, 53),
        |p| p.ipv4(C4, V4).echo_request(1, 1),
        |p| p.ipv4(C4, V4).fragment(8, true).payload_len(64),
        |p| p.ipv6(C6, V6).destination_options(&[1, 0]).tcp(1, 80),
    ];
    for content in contents {
        assert_eq!(bed.send(&content(chain_of_two(ROUTER4, OTHER4)).build()).0, RelayChain);
    }
    let elsewhere = chain_of_two(ROUTER4, OTHER4).ipv4(C4, ELSEWHERE4).tcp(1, 80).build();
    assert_eq!(bed.send(&elsewhere).0, RelayChain, "a subnet that this host no longer serves");
}

#[test]
fn no_open_relay() {
    let bed = Bed::new();
    let tcp = |p: Packet| p.ipv4(C4, V4).tcp(1, 80).build();
    let table = [
        ("to somebody unlisted", tcp(chain_of_two(ROUTER4, STRANGER4)), DropRelayUnlisted),
        ("to somebody unlisted, IPv6", tcp(chain_of_two(ROUTER6, STRANGER6)), DropRelayUnlisted),
        ("to ourselves", tcp(chain_of_two(ROUTER4, US4)), DropRelayUnlisted),
        ("from a stranger", tcp(frame().ipv4(STRANGER4, US4).ipv4(ROUTER4, OTHER4)), DropStranger),
        (
            "five headers",
            tcp(chain_of_two(ROUTER4, OTHER4).ipv4(ROUTER4, THIRD4).ipv4(ROUTER4, OTHER4).ipv4(ROUTER4, THIRD4)),
            DropChainDeep,
        ),
        ("ten headers", tcp((0..9).fold(frame().ipv4(ROUTER4, US4), |p, _| p.ipv6(ROUTER6, OTHER6))), DropChainDeep),
        (
            "a datagram from one of our virtual addresses",
            chain_of_two(ROUTER4, OTHER4).ipv4("192.0.2.99", V4).tcp(1, 80).build(),
            DropSpoofedSource,
        ),
        (
            "options in the next header",
            tcp(frame().ipv4(ROUTER4, US4).ipv4(ROUTER4, OTHER4).options(&[1; 4])),
            DropMalformedInner,
        ),
        (
            "a fragment of a chain",
            tcp(frame().ipv4(ROUTER4, US4).ipv4(ROUTER4, OTHER4).fragment(0, true)),
            DropMalformedInner,
        ),
    ];
    for (what, sent, expected) in table {
        assert_eq!(bed.send(&sent).0, expected, "{what}");
    }
    let mut v4_only = desired();
    v4_only.tunnel_v6 = None;
    let sent = tcp(chain_of_two(ROUTER6, OTHER6));
    assert_eq!(Bed::with(&v4_only).send(&sent).0, DropRelayRewrite, "no address to send from");
}

#[test]
fn a_chain_may_end_at_a_router() {
    let bed = Bed::new();
    let sent = chain_of_two(US4, "10.1.255.200").ipv4(C4, V4).tcp(1, 80).build();
    assert_eq!(bed.send(&sent).0, RelayChain);
}

#[test]
fn congestion_on_our_leg_is_carried_on() {
    let bed = Bed::new();
    let sent =
        |ecn| frame().ipv4(ROUTER4, US4).tos(3).ipv4(ROUTER4, OTHER4).tos(ecn).ipv4(C4, V4).tos(ecn).udp(1, 2).build();
    let expected = returned().ipv4(US4, OTHER4).tos(3).ipv4(C4, V4).tos(2).udp(1, 2).build();
    assert_eq!(bed.send(&sent(2)), (RelayChain, expected));
    assert_eq!(bed.send(&sent(0)).0, DropEcn);
}

/// A namespace in which the virtual subnets and the clients are local, so that both ends of a connection are there.
pub fn namespace() -> NetNs {
    slr_testkit::require_root();
    let ns = NetNs::new().unwrap();
    ns.ip_batch(
        "route add local 192.0.2.0/24 dev lo table local\nroute add local 203.0.113.0/24 dev lo table local\n\
         route add local 2001:db8:100::/48 dev lo table local\nroute add local 2001:db8:c::/64 dev lo table local\n",
    )
    .unwrap();
    // IPv6 binds to configured addresses only, unless told otherwise; hostd does the same.
    ns.with(|| std::fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1")).unwrap();
    ns
}

pub fn connect(client: &str, server: std::net::SocketAddr) -> (TcpStream, u16) {
    let domain = if server.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::new(client.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&server.into()).unwrap();
    let stream = TcpStream::from(socket);
    let port = stream.local_addr().unwrap().port();
    (stream, port)
}

#[test]
fn the_host_that_has_the_socket_takes_all_headers_off() {
    namespace().with(|| {
        let bed = Bed::new();
        for (client, server, router, us, next) in [(C4, V4, ROUTER4, US4, OTHER6), (C6, V6, ROUTER6, US6, OTHER4)] {
            let listener = TcpListener::bind((server, 0)).unwrap();
            let vport = listener.local_addr().unwrap().port();
            let (mut stream, port) = connect(client, listener.local_addr().unwrap());
            let (mut accepted, _) = listener.accept().unwrap();
            let content = |p: Packet, port: u16, flags: u8| ip(p, client, server).tcp(port, vport).flags(flags).build();
            let chain = || {
                let next_router = if next.contains(':') { ROUTER6 } else { ROUTER4 };
                ip(ip(frame(), router, us), next_router, next)
            };
            let outcome = |port, flags| bed.send(&content(chain(), port, flags)).0;

            let established = bed.send(&content(chain(), port, ACK));
            assert_eq!(established, (DeliverChain, content(frame(), port, ACK)), "{client}");
            assert_eq!(outcome(port, RST), DeliverChain, "whatever the flags: the socket decides");
            assert_eq!(outcome(port ^ 1, ACK), RelayChain, "a listener does not own a flow in its middle");
            assert_eq!(outcome(port ^ 1, SYN | ACK), RelayChain);
            assert_eq!(outcome(port ^ 1, SYN), DeliverChain, "a listener wants SYNs");

            // The server closes first, so TIME_WAIT is on its side, where a retransmitted FIN must find it.
            accepted.write_all(b"x").unwrap();
            drop(accepted);
            let mut read = Vec::new();
            stream.read_to_end(&mut read).unwrap();
            drop(stream);
            slr_testkit::eventually(std::time::Duration::from_secs(5), "TIME_WAIT", || time_wait(vport));
            assert_eq!(outcome(port, ACK), DeliverChain, "TIME_WAIT");
            drop(listener);
            assert_eq!(outcome(port ^ 1, SYN), RelayChain, "no listener any more: another host may have one");
        }
    });
}

/// Is there a socket in TIME_WAIT (6) on this local port? The kernel's own table says.
fn time_wait(port: u16) -> bool {
    ["tcp", "tcp6"].iter().any(|table| {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap();
        text.lines().skip(1).any(|line| {
            let mut fields = line.split_whitespace();
            let local = fields.nth(1).unwrap();
            local.ends_with(&format!(":{port:04X}")) && fields.nth(1) == Some("06")
        })
    })
}

#[test]
fn an_ack_with_a_valid_cookie_belongs_to_the_listener() {
    let ns = namespace();
    ns.with(|| {
        std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", "2").unwrap();
        let bed = Bed::new();
        let listener = TcpListener::bind((V4, 0)).unwrap();
        let vport = listener.local_addr().unwrap().port();
        let (port, isn) = (4321, 1000);
        let chain = || chain_of_two(ROUTER4, OTHER4).ipv4(C4, V4);
        let ack = |ack| chain().tcp(port, vport).seq(isn + 1).ack(ack).build();
        assert_eq!(bed.send(&ack(77)).0, RelayChain, "no cookie was sent yet");

        let cookie = cookie_for(vport, port, isn);
        assert_eq!(bed.send(&ack(cookie.wrapping_add(1))).0, DeliverChain);
        assert_eq!(bed.send(&ack(cookie.wrapping_add(2_000_000))).0, RelayChain, "a forged cookie");
    });
}

/// Sends a SYN with a raw socket and returns the SYN-ACK's sequence number.
fn cookie_for(vport: u16, port: u16, isn: u32) -> u32 {
    use socket2::Protocol;
    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).unwrap();
    raw.bind(&std::net::SocketAddr::new(C4.parse().unwrap(), 0).into()).unwrap();
    raw.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    let syn = pkt().ipv4(C4, V4).tcp(port, vport).flags(SYN).seq(isn).build();
    raw.send_to(&syn[20..], &std::net::SocketAddr::new(V4.parse().unwrap(), 0).into()).unwrap();
    let mut raw = raw;
    let mut buffer = [0; 1500];
    loop {
        let len = raw.read(&mut buffer).expect("a SYN-ACK comes");
        let segment = &buffer[20..len];
        if segment[..4] == [vport.to_be_bytes(), port.to_be_bytes()].concat() && segment[13] == SYN | ACK {
            return u32::from_be_bytes(segment[4..8].try_into().unwrap());
        }
    }
}
