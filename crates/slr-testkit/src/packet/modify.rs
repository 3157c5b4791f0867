//! The builder's second half: what changes the layer started last.

use super::Packet;
use super::layer::{Ipv4, Kind, Layer, Tcp};

/// Modifiers of the layer started last.
impl Packet {
    /// The TPID of a VLAN tag, such as 0x88a8.
    #[must_use]
    pub fn tpid(mut self, value: u16) -> Self {
        match &mut self.last("tpid").kind {
            Kind::Vlan { tpid, .. } => *tpid = value,
            other => misplaced("tpid", other),
        }
        self
    }

    /// TTL or hop limit.
    #[must_use]
    pub fn ttl(mut self, value: u8) -> Self {
        match &mut self.last("ttl").kind {
            Kind::Ipv4(ip) => ip.ttl = value,
            Kind::Ipv6(ip) => ip.hop_limit = value,
            other => misplaced("ttl", other),
        }
        self
    }

    /// The whole DSCP + ECN byte.
    #[must_use]
    pub fn tos(mut self, value: u8) -> Self {
        match &mut self.last("tos").kind {
            Kind::Ipv4(ip) => ip.tos = value,
            Kind::Ipv6(ip) => ip.traffic_class = value,
            other => misplaced("tos", other),
        }
        self
    }

    /// IPv6 flow label (20 bits).
    #[must_use]
    pub fn flow_label(mut self, value: u32) -> Self {
        match &mut self.last("flow_label").kind {
            Kind::Ipv6(ip) => ip.flow_label = value & 0xf_ffff,
            other => misplaced("flow_label", other),
        }
        self
    }

    /// IPv4 identification.
    #[must_use]
    pub fn id(mut self, value: u16) -> Self {
        self.last_ipv4("id").id = value;
        self
    }

    /// Sets IPv4's "don't fragment".
    #[must_use]
    pub fn df(mut self) -> Self {
        self.last_ipv4("df").df = true;
        self
    }

    /// Makes the IPv4 packet a fragment; `offset_bytes` is a multiple of eight.
    #[must_use]
    pub fn fragment(mut self, offset_bytes: u16, more: bool) -> Self {
        assert_eq!(offset_bytes % 8, 0, "packet fixture: a fragment offset is a multiple of 8");
        let ip = self.last_ipv4("fragment");
        (ip.offset_bytes, ip.more_fragments) = (offset_bytes, more);
        self
    }

    /// IPv4 or TCP options, padded with zeros (end of list) to the 4-byte boundary.
    #[must_use]
    pub fn options(mut self, bytes: &[u8]) -> Self {
        match &mut self.last("options").kind {
            Kind::Ipv4(ip) => ip.options = bytes.to_vec(),
            Kind::Tcp(tcp) => tcp.options = bytes.to_vec(),
            other => misplaced("options", other),
        }
        self
    }

    /// TCP flags ([`SYN`](super::SYN) and friends), replacing the default ACK.
    #[must_use]
    pub fn flags(mut self, value: u8) -> Self {
        self.last_tcp("flags").flags = value;
        self
    }

    /// TCP sequence number.
    #[must_use]
    pub fn seq(mut self, value: u32) -> Self {
        self.last_tcp("seq").seq = value;
        self
    }

    /// TCP acknowledgement number.
    #[must_use]
    pub fn ack(mut self, value: u32) -> Self {
        self.last_tcp("ack").ack = value;
        self
    }

    /// TCP window, unscaled.
    #[must_use]
    pub fn window(mut self, value: u16) -> Self {
        self.last_tcp("window").window = value;
        self
    }

    /// Writes this checksum instead of the right one (IPv4, TCP, UDP, ICMP).
    #[must_use]
    pub fn checksum(mut self, value: u16) -> Self {
        self.last("checksum").checksum = Some(value);
        self
    }

    /// Writes this length instead of the right one: IPv4 total length, IPv6 payload length, UDP length (bytes).
    #[must_use]
    pub fn length(mut self, value: u16) -> Self {
        self.last("length").length = Some(value);
        self
    }

    /// Writes this header length instead of the right one: IPv4 IHL or TCP data offset, in 32-bit words.
    #[must_use]
    pub fn header_words(mut self, value: u8) -> Self {
        self.last("header_words").header_words = Some(value);
        self
    }

    /// Writes this protocol, next header or Ethernet type instead of the one of the layer that follows.
    #[must_use]
    pub fn next(mut self, value: u16) -> Self {
        self.last("next").next = Some(value);
        self
    }

    /// Writes this IP version instead of 4 or 6.
    #[must_use]
    pub fn version(mut self, value: u8) -> Self {
        self.last("version").version = Some(value);
        self
    }

    fn last(&mut self, modifier: &str) -> &mut Layer {
        self.layers.last_mut().unwrap_or_else(|| panic!("packet fixture: {modifier}() before any layer"))
    }

    fn last_ipv4(&mut self, modifier: &str) -> &mut Ipv4 {
        match &mut self.last(modifier).kind {
            Kind::Ipv4(ip) => ip,
            other => misplaced(modifier, other),
        }
    }

    fn last_tcp(&mut self, modifier: &str) -> &mut Tcp {
        match &mut self.last(modifier).kind {
            Kind::Tcp(tcp) => tcp,
            other => misplaced(modifier, other),
        }
    }
}

fn misplaced(modifier: &str, kind: &Kind) -> ! {
    panic!("packet fixture: {modifier}() does not apply to a layer of type {}", kind.name())
}
