//! Claims: the host that has a flow which is searched for tells its daemon, once, and nobody else's flows.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use slr_dataplane::host::{ClaimCounts, ClaimReader};
use slr_dataplane::reason::HostReason::*;
use slr_model::FlowKey;
use slr_testkit::packet::{ACK, Packet, SYN};

use crate::bed::*;
use crate::chain::{connect, namespace};

const SEARCH: u16 = 1;
const SECOND: u16 = 2;
const FINAL: u16 = 4;

/// A tunnel header with a mark: IPv4 has it in the identification, IPv6 in the upper bits of the flow label.
fn marked(packet: Packet, source: &str, destination: &str, mark: u16) -> Packet {
    let packet = ip(packet, source, destination);
    if source.contains(':') { packet.flow_label(u32::from(mark) << 16 | 0x1234) } else { packet.id(mark) }
}

struct Scene {
    bed: Bed,
    reader: ClaimReader,
}

impl Scene {
    fn new() -> Self {
        let bed = Bed::new();
        let reader = bed.host.claim_reader().unwrap();
        Self { bed, reader }
    }

    /// What is claimed when this arrives.
    fn claimed(&mut self, frame: &[u8]) -> Vec<FlowKey> {
        self.bed.send(frame);
        self.reader.take().unwrap()
    }

    fn counts(&self) -> ClaimCounts {
        self.bed.host.claim_counts().unwrap()
    }
}

fn flow(client: &str, port: u16, server: SocketAddr) -> FlowKey {
    FlowKey::new(SocketAddr::new(client.parse().unwrap(), port), server, slr_model::Protocol::Tcp).unwrap()
}

fn udp_flow(client: &str, port: u16, server: SocketAddr) -> FlowKey {
    FlowKey::new(SocketAddr::new(client.parse().unwrap(), port), server, slr_model::Protocol::Udp).unwrap()
}

#[test]
fn a_searched_flow_is_claimed_by_the_host_that_has_its_socket() {
    namespace().with(|| {
        let mut scene = Scene::new();
        for (client, server, router, us, next) in
            [(C4, V4, ROUTER4, US4, OTHER4), (C6, V6, ROUTER6, US6, OTHER6), (C4, V4, ROUTER6, US6, OTHER6)]
        {
            let listener = TcpListener::bind((server, 0)).unwrap();
            let (to, vport) = (listener.local_addr().unwrap(), listener.local_addr().unwrap().port());
            let content = |p: Packet, port: u16, flags: u8| ip(p, client, server).tcp(port, vport).flags(flags).build();
            // The whole chain, and its last header alone.
            let chain = |mark| marked(marked(frame(), router, us, mark), router, next, mark);
            let last = |mark| marked(frame(), router, us, mark);
            let connected = || connect(client, to);

            let flows: Vec<_> = (0..4).map(|_| connected()).collect();
            let port = |n: usize| flows[n].1;
            assert_eq!(scene.claimed(&content(chain(SEARCH), port(0), ACK)), [flow(client, port(0), to)]);
            assert_eq!(scene.claimed(&content(last(SEARCH), port(1), ACK)), [flow(client, port(1), to)]);
            assert_eq!(scene.claimed(&content(last(FINAL), port(3), ACK)), [flow(client, port(3), to)]);
            // What is delivered is as it was sent, claimed or not.
            let again = scene.bed.send(&content(last(SEARCH), port(1), ACK));
            assert_eq!(again, (Deliver, content(frame(), port(1), ACK)));

            for (what, sent) in [
                ("not marked", content(last(0), port(2), ACK)),
                ("not marked, a chain", content(chain(0), port(2), ACK)),
                ("nobody's flow", content(last(SEARCH), 1, ACK)),
                ("nobody's flow, a chain", content(chain(SEARCH), 1, ACK)),
                ("a SYN that is searched for: no flow yet", content(last(SEARCH), 1, SYN)),
                ("UDP that was not answered", ip(last(SEARCH), client, server).udp(port(2), vport).build()),
                ("a mark of a later version", content(last(7), port(2), ACK)),
                ("a second chance that the first host takes", content(last(SECOND), port(2), ACK)),
                ("likewise, a chain", content(chain(SECOND), 2, SYN)),
            ] {
                assert_eq!(scene.claimed(&sent), [], "{what}, {client} from {router}");
            }
        }
    });
}

#[test]
fn a_second_chance_is_claimed_by_who_is_not_the_first() {
    namespace().with(|| {
        let mut scene = Scene::new();
        for (client, server, other, us) in [(C4, V4, OTHER4, US4), (C6, V6, OTHER6, US6)] {
            let listener = TcpListener::bind((server, 0)).unwrap();
            let to = listener.local_addr().unwrap();
            let passed_on = |port: u16, flags: u8| {
                ip(marked(frame(), other, us, SECOND), client, server).tcp(port, to.port()).flags(flags).build()
            };
            assert_eq!(scene.claimed(&passed_on(7, SYN)), [flow(client, 7, to)]);
            let (_stream, port) = connect(client, to);
            assert_eq!(scene.claimed(&passed_on(port, ACK)), [flow(client, port, to)]);
            drop(listener);
            assert_eq!(scene.claimed(&passed_on(8, SYN)), [], "nobody here takes it either");
        }
    });
}

#[test]
fn a_flow_is_claimed_again_only_after_a_while_and_a_reader_that_sleeps_loses_the_rest() {
    namespace().with(|| {
        let mut scene = Scene::new();
        let listener = TcpListener::bind((V4, 0)).unwrap();
        let to = listener.local_addr().unwrap();
        let syn = |port: u16| ip(marked(frame(), OTHER4, US4, SECOND), C4, V4).tcp(port, to.port()).flags(SYN).build();
        assert_eq!(scene.claimed(&syn(7)).len(), 1);
        // Whatever time the machine takes for it: within 100 ms nothing, after that one.
        let told = std::time::Instant::now();
        let again = loop {
            if !scene.claimed(&syn(7)).is_empty() {
                break told.elapsed();
            }
            assert!(told.elapsed().as_secs() < 5, "never claimed again");
        };
        assert!(again.as_millis() >= 99, "claimed again after {again:?}");
        assert!(scene.counts().repeated > 0);

        let before = scene.counts();
        for port in 1_000..9_000 {
            scene.bed.host.test_run(&syn(port)).unwrap();
        }
        let after = scene.counts();
        let (told, beyond) = (after.told - before.told, after.limited - before.limited + after.lost - before.lost);
        assert_eq!(told + beyond, 8_000, "{before:?} {after:?}");
        let mut read = 0;
        loop {
            match scene.reader.take().unwrap().len() {
                0 => break,
                some => read += some as u64,
            }
        }
        assert_eq!(read, told, "what was told can be read");
    });
}

#[test]
fn a_udp_flow_belongs_to_the_host_that_has_answered_it_while_somebody_listens() {
    namespace().with(|| {
        let mut scene = Scene::new();
        for (client, server, own, router, us, next) in [
            (C4, V4, US4, ROUTER4, US4, OTHER4),
            (C6, V6, US6, ROUTER6, US6, OTHER6),
            (C4, V4, US4, ROUTER6, US6, OTHER6),
        ] {
            let socket = UdpSocket::bind((server, 0)).unwrap();
            let (to, vport) = (socket.local_addr().unwrap(), socket.local_addr().unwrap().port());
            let content = |p: Packet, port: u16| ip(p, client, server).udp(port, vport).payload_len(9).build();
            let chain = |mark| marked(marked(frame(), router, us, mark), router, next, mark);
            let last = |mark| marked(frame(), router, us, mark);
            let answer = |scene: &Scene, source: &str, port: u16| {
                let sent = ip(returned(), source, client).udp(vport, port).payload_len(9).build();
                assert_eq!(scene.bed.host.test_run_egress(&sent).unwrap(), sent, "as it was");
            };

            // Asked by a router that searches; asked by its client; sent by this host itself, from no virtual address.
            assert_eq!(scene.bed.send(&content(chain(SEARCH), 1)).0, RelayChain);
            scene.bed.send(&content(frame(), 1));
            answer(&scene, own, 1);
            assert_eq!(scene.bed.send(&content(chain(SEARCH), 1)).0, RelayChain, "nobody has answered");
            assert_eq!(scene.claimed(&content(last(SEARCH), 1)), []);
            assert_eq!(scene.bed.send(&content(last(SEARCH), 1)).0, Deliver, "the last host takes it in any case");
            let later = ip(returned(), server, client);
            let later =
                if client.contains(':') { later.fragment_header(8, false, 1) } else { later.fragment(8, false) };
            scene.bed.host.test_run_egress(&later.udp(vport, 1).build()).unwrap();
            assert_eq!(scene.bed.send(&content(chain(SEARCH), 1)).0, RelayChain, "no port was in that fragment");

            for port in 1..=4 {
                answer(&scene, server, port);
            }
            assert_eq!(scene.bed.send(&content(chain(SEARCH), 1)), (DeliverChain, content(frame(), 1)));
            assert_eq!(scene.reader.take().unwrap(), [udp_flow(client, 1, to)]);
            assert_eq!(scene.claimed(&content(last(SEARCH), 2)), [], "the router pins it to the last host by itself");
            assert_eq!(scene.bed.send(&content(chain(0), 3)).0, DeliverChain);
            assert_eq!(scene.bed.send(&content(last(0), 3)).0, Deliver);
            assert_eq!(scene.reader.take().unwrap(), [], "nobody searches");
            assert_eq!(scene.bed.send(&content(chain(SEARCH), 5)).0, RelayChain, "another flow of the same client");

            drop(socket);
            assert_eq!(scene.bed.send(&content(chain(SEARCH), 4)).0, RelayChain, "the server is gone");
            assert_eq!(scene.claimed(&content(last(SEARCH), 4)), []);
        }
    });
}
