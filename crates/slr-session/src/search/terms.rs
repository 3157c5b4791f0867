//! What bounds a search, for each protocol. TCP sends again what is lost, and its connection is reset when nobody has it: time is
//! cheap, and a wrong end is not. UDP does neither: each new flow waits here, and its first flight is several datagrams.

use std::time::Duration;

use slr_model::{FlowKey, Protocol};

/// How long a segment is held: a client's first retransmissions come sooner, and bring another.
pub const HOLD_FOR: Duration = Duration::from_secs(1);
/// How long datagrams are: a router that is busy while a whole site's flows move answers within that, and a client of QUIC does not send
/// again sooner than after a second (RFC 9002 6.2.2).
pub const HOLD_UDP_FOR: Duration = Duration::from_millis(250);
/// The same while one of those that are asked is silent, as a router is that died a moment ago: new flows do not wait long for it.
pub const HOLD_UDP_FOR_SILENT: Duration = Duration::from_millis(50);
/// Datagrams of one flow: three times what QUIC sends at first (RFC 9002 7.2), or 250 ms of 128 a second.
pub const DATAGRAMS_MAX: usize = 32;

/// Where nobody waits for the answer: of TCP, whose clients send again, and of a UDP flow that is placed already.
pub const ASK_LATE: Duration = Duration::from_millis(100);

/// The bounds for one protocol.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub hold_for: Duration,
    /// While one of those that are asked is silent.
    pub hold_for_silent: Duration,
    /// Who has not answered is asked again: a datagram may be lost.
    pub ask_again: Duration,
    pub packets_of_flow: usize,
    /// Flows that are looked for at once.
    pub flows: usize,
    /// Bytes of their packets.
    pub bytes: usize,
}

/// A burst of what the data plane gives, of two CPUs; one full-sized segment each.
const TCP: Terms = Terms {
    hold_for: HOLD_FOR,
    hold_for_silent: HOLD_FOR,
    ask_again: ASK_LATE,
    packets_of_flow: 1,
    flows: 2_048,
    bytes: 3 << 20,
};

/// The same burst, of datagrams. Beside TCP's: new UDP flows leave orphans their room.
const UDP: Terms = Terms {
    hold_for: HOLD_UDP_FOR,
    hold_for_silent: HOLD_UDP_FOR_SILENT,
    ask_again: Duration::from_millis(20),
    packets_of_flow: DATAGRAMS_MAX,
    flows: 2_048,
    bytes: 3 << 20,
};

impl Terms {
    pub fn of(flow: &FlowKey) -> &'static Self {
        if flow.protocol() == Protocol::Udp { &UDP } else { &TCP }
    }
}

/// What is held of one protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub flows: usize,
    pub bytes: usize,
}

impl Load {
    /// Whether one flow more is looked for, of which there is one packet of `len` bytes.
    pub fn has_room(&self, terms: &Terms, len: usize) -> bool {
        self.flows < terms.flows && self.bytes + len <= terms.bytes
    }
}

/// What is held.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loads {
    tcp: Load,
    udp: Load,
}

impl Loads {
    pub fn of(&mut self, flow: &FlowKey) -> &mut Load {
        if flow.protocol() == Protocol::Udp { &mut self.udp } else { &mut self.tcp }
    }
}
