//! A client that does what the RFCs ask of every host and nothing else: it answers echo requests with their data (RFC 792, RFC 4443 4.2), accepts
//! segments in order, acknowledges every other one that is sent to its connection (RFC 9293 3.10.7.4), and has no options, no timers and
//! no second try. Made by hand, of raw packets, in place of the client's kernel. Its download goes on by the echo alone.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use slr_testkit::packet::{ACK, Packet, SYN, pkt};
use slr_testkit::{eventually, require_root};
use socket2::{Domain, Protocol, Socket, Type};
use xtask::drills;
use xtask::pair::{Kind, Pair};
use xtask::raw::RawSender;
use xtask::site::program;

/// ETH_P_ALL, in network order.
const ALL: i32 = 0x0300;
const PSH: u8 = 0x08;
const SOON: Duration = Duration::from_secs(5);
/// What a server sends unacknowledged at most to a client that takes segments of 536 bytes: so much more needs acknowledgements.
const MORE: u64 = 100_000;

/// What the client has seen, for the test to look at while it runs.
#[derive(Default)]
struct Seen {
    bytes: AtomicU64,
    echoes: AtomicU64,
    nudges: AtomicU64,
    is_over: AtomicBool,
}

/// Ends the client, also when the test fails.
struct Over<'a>(&'a Seen);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Relaxed);
    }
}

struct Client {
    sender: RawSender,
    packets: Socket,
    own: SocketAddr,
    server: SocketAddr,
    /// Our next number, and the server's.
    seq: u32,
    ack: u32,
}

/// An IP packet as it came.
struct Came<'a> {
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    content: &'a [u8],
}

fn parse(packet: &[u8]) -> Option<Came<'_>> {
    let v4 = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
    let v6 = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
    match packet.first()? >> 4 {
        4 => {
            let (header, len) =
                (usize::from(packet[0] & 0xf) * 4, usize::from(u16::from_be_bytes([packet[2], packet[3]])));
            Some(Came { from: v4(12)?, to: v4(16)?, protocol: packet[9], content: packet.get(header..len)? })
        }
        6 => Some(Came { from: v6(8)?, to: v6(24)?, protocol: packet[6], content: packet.get(40..)? }),
        _ => None,
    }
}

impl Client {
    fn open(own: SocketAddr, server: SocketAddr) -> Self {
        let packets = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(ALL))).unwrap();
        packets.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Self { sender: RawSender::open().unwrap(), packets, own, server, seq: 1_000, ack: 0 }
    }

    fn say(&self, flags: u8, data: &[u8]) {
        let segment = self.header().tcp(self.own.port(), self.server.port()).seq(self.seq).ack(self.ack);
        self.sender.send(&segment.flags(flags).window(30_000).payload(data).build()).unwrap();
    }

    fn header(&self) -> Packet {
        pkt().ip(self.own.ip(), self.server.ip())
    }

    /// Opens the connection and asks; then receives until it is over.
    fn run(mut self, seen: &Seen) {
        self.say(SYN, &[]);
        self.seq += 1;
        let mut buffer = vec![0; 65_536];
        while !seen.is_over.load(Relaxed) {
            let len = match self.packets.read(&mut buffer) {
                Ok(len) => len,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(error) => panic!("{error}"),
            };
            let Some(came) = parse(&buffer[..len]).filter(|came| came.to == self.own.ip()) else { continue };
            match came.protocol {
                6 if came.from == self.server.ip() => self.take(came.content, seen),
                1 | 58 => self.echo(&came, seen),
                _ => {}
            }
        }
    }

    fn take(&mut self, segment: &[u8], seen: &Seen) {
        let word = |at: usize| u32::from_be_bytes(segment[at..at + 4].try_into().unwrap());
        let ports = (u16::from_be_bytes([segment[0], segment[1]]), u16::from_be_bytes([segment[2], segment[3]]));
        if ports != (self.server.port(), self.own.port()) {
            return;
        }
        let (seq, flags, data) = (word(4), segment[13], &segment[usize::from(segment[12] >> 4) * 4..]);
        if flags & SYN != 0 && self.ack == 0 {
            self.ack = seq.wrapping_add(1);
            self.say(ACK, &[]);
            let request = b"GET /bytes/100000000?rate=200000 HTTP/1.1\r\nHost: x\r\n\r\n";
            self.say(ACK | PSH, request);
            self.seq += request.len() as u32;
        } else if seq == self.ack && !data.is_empty() {
            self.ack = seq.wrapping_add(data.len() as u32);
            seen.bytes.fetch_add(data.len() as u64, Relaxed);
            self.say(ACK, &[]);
        } else if seq != self.ack {
            seen.nudges.fetch_add(u64::from(data.is_empty()), Relaxed);
            self.say(ACK, &[]);
        }
    }

    /// The answer has the data of the request, whatever they are.
    fn echo(&self, came: &Came<'_>, seen: &Seen) {
        let (request, reply) = if self.own.is_ipv4() { (8, 0) } else { (128, 129) };
        let [kind, 0, _, _, rest @ ..] = came.content else { return };
        if *kind != request || rest.len() < 4 {
            return;
        }
        seen.echoes.fetch_add(1, Relaxed);
        let (id, data) = rest.split_at(4);
        let answer = pkt().ip(self.own.ip(), came.from).icmp(reply, 0, id.try_into().unwrap()).payload(data);
        self.sender.send(&answer.build()).unwrap();
    }
}

/// A command of the drills' shell functions.
fn shell(pair: &Pair, words: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("drills");
    let bin = program("probe").unwrap().parent().unwrap().to_owned();
    let mut command = Command::new("sh");
    command.args(["-c", &format!(". ./lab.sh; {words}")]).current_dir(folder).env("SLR_BIN", bin);
    command.env("SLR_LAB_RUN", pair.lab().run()).env("SLR_LAB_DIR", pair.lab().dir());
    assert!(command.status().unwrap().success(), "{words}");
}

#[test]
fn a_client_that_does_what_the_rfcs_ask_and_nothing_else_goes_on_by_the_echo() {
    require_root();
    let pair = drills::pair("minimal", Kind::TwoSlr).unwrap();
    shell(&pair, "rungs echo");
    // These addresses are this test's, and not the kernel's, which would answer for them.
    pair.lab().sh("c1", "ip route del local 10.0.101.0/24; ip -6 route del local fd00:0:101::/64").unwrap();
    for (own, server) in [("10.0.101.77:4000", "192.0.2.10:8080"), ("[fd00:0:101::77]:4000", "[2001:db8:100::10]:8080")]
    {
        let (own, server): (SocketAddr, SocketAddr) = (own.parse().unwrap(), server.parse().unwrap());
        let seen = Seen::default();
        thread::scope(|scope| {
            let over = Over(&seen);
            let lab = pair.lab();
            let client = scope.spawn(|| lab.with_netns("c1", || Client::open(own, server).run(&seen)).unwrap());
            let has = |bytes: u64| move |seen: &Seen| seen.bytes.load(Relaxed) >= bytes;
            eventually(SOON, "a download under way", || has(2 * MORE)(&seen));
            shell(&pair, "prefer_slr2");
            let (changed, before) = (Instant::now(), seen.bytes.load(Relaxed));
            eventually(SOON, "the download goes on", || has(before + MORE)(&seen));
            let (echoes, nudges) = (seen.echoes.load(Relaxed), seen.nudges.load(Relaxed));
            println!("{own}: {MORE} bytes more after {:?}, {echoes} echoes, {nudges} nudges", changed.elapsed());
            assert!(echoes >= 1 && nudges >= 1, "{echoes} echoes, {nudges} nudges");
            drop(over);
            client.join().unwrap();
        });
        shell(&pair, "prefer_slr2_no_more");
    }
}
