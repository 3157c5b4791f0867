//! Stalls: flows whose client owes something and is not heard, seen by sweeps over real sockets. What comes to the virtual
//! addresses is cut by a filter in front of the stack; what leaves is not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use slr_dataplane::host::{HostDesired, StallKind, Sweeper, Swept, XdpMode};
use slr_model::{FlowKey, Protocol};
use slr_testkit::netns::NetNs;

use crate::bed::*;
use crate::chain::{connect, namespace};

/// Between two sweeps, as hostd has it.
const SWEEP: Duration = Duration::from_millis(10);
const FLOOR: Duration = Duration::from_millis(50);
/// The slowest of the clients here speaks so often.
const PERIOD_MOST: Duration = Duration::from_millis(100);
/// A machine that is busy with other tests is late; a stack's own time-out comes after 200 ms.
const LATE: Duration = Duration::from_millis(180);

struct Scene {
    // Its programs are on the interface as long as it is there.
    #[expect(dead_code, reason = "held, not read")]
    bed: Bed,
    sweeper: Sweeper,
}

impl Scene {
    fn new() -> Self {
        let mut bed = Bed::with(&HostDesired {
            stall_floors: desired().subnets.into_iter().map(|subnet| (subnet, FLOOR)).collect(),
            ..desired()
        });
        bed.host.attach("lo", XdpMode::Generic).unwrap();
        bed.host.attach_cgroup(&cgroup_root()).unwrap();
        let sweeper = bed.host.sweeper().unwrap();
        Self { bed, sweeper }
    }

    /// Does something every 20 ms and sweeps meanwhile, until the time is over or a sweep has told something.
    fn watch(&mut self, time: Duration, mut act: impl FnMut()) -> Option<(Swept, Duration)> {
        let begun = Instant::now();
        for turn in 0.. {
            if turn % 2 == 0 {
                act();
            }
            std::thread::sleep(SWEEP);
            let swept = self.sweeper.sweep().unwrap();
            if !swept.stalled.is_empty() || !swept.over.is_empty() {
                return Some((swept, begun.elapsed()));
            }
            if begun.elapsed() > time {
                return None;
            }
        }
        None
    }

    /// The flow stalls in this way, in time, once it is cut; and is over when it is healed.
    fn stalls(&mut self, filter: &Filter, flow: FlowKey, kind: StallKind, most: Duration, mut act: impl FnMut()) {
        assert_eq!(self.watch(Duration::from_millis(600), &mut act), None, "{flow}: nothing is wrong");
        filter.cut();
        let (swept, after) = self.watch(Duration::from_secs(3), &mut act).expect("it stalls");
        let [stall] = swept.stalled[..] else { panic!("{swept:?}") };
        assert_eq!((stall.flow, stall.kind), (flow, kind));
        assert!(after <= most, "{flow}: found after {after:?}");
        // The client was last heard a little before the cut.
        assert!(stall.quiet >= FLOOR && stall.quiet <= after + PERIOD_MOST, "{stall:?} after {after:?}");
        let again = self.watch(Duration::from_millis(600), &mut act);
        assert_eq!(again, None, "{flow}: told once");
        filter.heal();
        // A stall that lasts is told again after a second: the client's stack sends again in its own time.
        let healed = Instant::now();
        while healed.elapsed() < Duration::from_secs(5) {
            let Some((swept, _)) = self.watch(Duration::from_secs(5), &mut act) else { break };
            if swept.over == [flow] {
                return;
            }
            assert_eq!((swept.over.len(), swept.stalled.len()), (0, 1), "{swept:?}");
        }
        panic!("{flow} does not go on");
    }
}

fn cgroup_root() -> PathBuf {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).expect("a cgroup v2 is mounted");
    line.split(' ').nth(1).unwrap().into()
}

/// Takes away what comes to virtual addresses.
struct Filter<'a>(&'a NetNs);

impl Filter<'_> {
    fn nft(&self, line: &str) {
        let done = self.0.command("nft").arg(line).status().unwrap();
        assert!(done.success(), "nft {line}");
    }

    fn cut(&self) {
        self.nft("add table inet cut; add chain inet cut in { type filter hook input priority 0; }; add rule inet cut in ip daddr 192.0.2.0/24 drop; add rule inet cut in ip6 daddr 2001:db8:100::/48 drop");
    }

    fn heal(&self) {
        self.nft("delete table inet cut");
    }
}

/// A connection: the client's end, the server's, its key.
fn connection(client: &str, server: &str) -> (TcpStream, TcpStream, FlowKey) {
    let listener = TcpListener::bind((server, 0)).unwrap();
    let to = listener.local_addr().unwrap();
    let (near, port) = connect(client, to);
    let (far, _) = listener.accept().unwrap();
    for stream in [&near, &far] {
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
    }
    (near, far, flow(client, port, to, Protocol::Tcp))
}

fn flow(client: &str, port: u16, server: SocketAddr, protocol: Protocol) -> FlowKey {
    FlowKey::new(SocketAddr::new(client.parse().unwrap(), port), server, protocol).unwrap()
}

fn drain(mut from: &TcpStream) {
    let mut buffer = [0; 65_536];
    while from.read(&mut buffer).is_ok_and(|len| len > 0) {}
}

const ENDS: [(&str, &str); 2] = [(C4, V4), (C6, V6)];

#[test]
fn a_server_that_sends_and_hears_no_acknowledgement() {
    let ns = namespace();
    ns.with(|| {
        let mut scene = Scene::new();
        for (client, server) in ENDS {
            let (near, mut far, flow) = connection(client, server);
            scene.stalls(&Filter(&ns), flow, StallKind::Sending, FLOOR + LATE, || {
                let _ = far.write(&[7; 5_000]);
                drain(&near);
            });
        }
    });
}

#[test]
fn a_server_in_the_middle_of_an_upload() {
    let ns = namespace();
    ns.with(|| {
        let mut scene = Scene::new();
        for (client, server) in ENDS {
            let (mut near, far, flow) = connection(client, server);
            scene.stalls(&Filter(&ns), flow, StallKind::Receiving, FLOOR + LATE, || {
                let _ = near.write(&[7; 5_000]);
                drain(&far);
            });
        }
    });
}

#[test]
fn a_client_that_asks_at_even_distances() {
    let ns = namespace();
    ns.with(|| {
        let mut scene = Scene::new();
        for (client, server) in ENDS {
            let (mut near, mut far, flow) = connection(client, server);
            let mut turn = 0;
            // The answer is acknowledged with the next question or a little later, so nothing is owed most of the time.
            scene.stalls(&Filter(&ns), flow, StallKind::Receiving, FLOOR + 2 * LATE, || {
                turn += 1;
                if turn % 3 == 0 {
                    let _ = near.write(b"question");
                }
                let mut question = [0; 64];
                if far.read(&mut question).is_ok_and(|len| len > 0) {
                    let _ = far.write(b"answer");
                }
                drain(&near);
            });
        }
    });
}

#[test]
fn a_client_that_was_answered_and_says_nothing_owes_nothing() {
    let ns = namespace();
    ns.with(|| {
        let mut scene = Scene::new();
        let flows: Vec<_> = ENDS.iter().map(|(client, server)| connection(client, server)).collect();
        let mut turn = 0;
        let told = scene.watch(Duration::from_secs(3), || {
            turn += 1;
            for (near, far, _) in &flows {
                let (mut near, mut far) = (near, far);
                // Five questions at odd distances, each with its answer; then silence.
                if [1, 2, 9, 13, 14].contains(&turn) {
                    near.write_all(b"question").unwrap();
                }
                let mut question = [0; 64];
                if far.read(&mut question).is_ok_and(|len| len > 0) {
                    far.write_all(b"answer").unwrap();
                }
                drain(near);
            }
        });
        assert_eq!(told, None);
        assert_eq!(scene.sweeper.sweep().unwrap().watched, 0, "and is not watched any more");
    });
}

/// What a nudge draws is an acknowledgement. It is no progress of an upload that pauses: else this would be asked for without an end.
#[test]
fn a_client_that_pauses_an_upload_is_told_of_once_whatever_it_acknowledges() {
    let ns = namespace();
    ns.with(|| {
        let mut scene = Scene::new();
        let (mut near, far, flow) = connection(C4, V4);
        let upload = |near: &mut TcpStream| {
            let _ = near.write(&[7; 5_000]);
            drain(&far);
        };
        assert_eq!(scene.watch(Duration::from_millis(600), || upload(&mut near)), None);
        let (swept, _) = scene.watch(Duration::from_secs(1), || {}).expect("it pauses");
        assert_eq!(
            swept.stalled.iter().map(|stall| (stall.flow, stall.kind)).collect::<Vec<_>>(),
            [(flow, StallKind::Receiving)]
        );
        let keepalive =
            socket2::TcpKeepalive::new().with_time(Duration::from_secs(1)).with_interval(Duration::from_secs(1));
        socket2::SockRef::from(&far).set_tcp_keepalive(&keepalive).unwrap();
        assert_eq!(
            scene.watch(Duration::from_millis(3_500), || {}),
            None,
            "three keepalives are acknowledged meanwhile"
        );
        let (swept, _) = scene.watch(Duration::from_secs(1), || upload(&mut near)).expect("it goes on");
        assert_eq!((&swept.over[..], &swept.stalled[..]), (&[flow][..], &[][..]));
    });
}

#[test]
fn a_udp_server_that_streams_and_is_not_heard() {
    let ns = namespace();
    ns.with(|| {
        let mut scene = Scene::new();
        for (client, server) in ENDS {
            let (near, far) = (UdpSocket::bind((client, 0)).unwrap(), UdpSocket::bind((server, 0)).unwrap());
            let (from, to) = (near.local_addr().unwrap(), far.local_addr().unwrap());
            far.set_nonblocking(true).unwrap();
            let flow = flow(client, from.port(), to, Protocol::Udp);
            let mut turn = 0;
            scene.stalls(&Filter(&ns), flow, StallKind::Datagrams, 2 * FLOOR + 2 * LATE, || {
                turn += 1;
                if turn % 2 == 0 {
                    near.send_to(b"still here", to).unwrap();
                }
                far.send_to(&[7; 1_000], from).unwrap();
                let _ = far.recv_from(&mut [0; 64]);
            });
        }
    });
}

#[test]
fn a_udp_client_that_never_answered_is_not_asked() {
    let ns = namespace();
    ns.with(|| {
        let mut scene = Scene::new();
        let (near, far) = (UdpSocket::bind((C4, 0)).unwrap(), UdpSocket::bind((V4, 0)).unwrap());
        near.send_to(b"once", far.local_addr().unwrap()).unwrap();
        let to = near.local_addr().unwrap();
        let told = scene.watch(Duration::from_secs(1), || {
            far.send_to(&[7; 1_000], to).unwrap();
        });
        assert_eq!(told, None);
    });
}

#[test]
fn who_speaks_first_wakes_a_sweeper_that_sleeps() {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;

    let ns = namespace();
    ns.with(|| {
        let mut scene = Scene::new();
        let called = |sweeper: &Sweeper| {
            poll(&mut [PollFd::new(sweeper.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() > 0
        };
        let (near, mut far, _) = connection(C4, V4);
        for _ in 0..3 {
            scene.sweeper.wake().unwrap();
            slr_testkit::eventually(Duration::from_secs(4), "nothing is watched", || {
                (0..5).map(|_| scene.sweeper.sweep().unwrap().watched).sum::<usize>() == 0
            });
            scene.sweeper.sleep().unwrap();
            assert!(!called(&scene.sweeper));
            far.write_all(b"a word").unwrap();
            assert!(called(&scene.sweeper));
            assert_eq!(scene.sweeper.sweep().unwrap().watched, 1);
            drain(&near);
        }
    });
}
