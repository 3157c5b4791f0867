//! How much of everything a message may hold. The decoder checks each before it keeps anything.

/// Longest frame on the stream, without its length: a node's memory for one incoming message.
pub const FRAME_MAX: usize = 64 << 10;
/// Longest datagram: what QUIC carries in one packet on a path of 1,200 bytes, the least that it runs on.
pub const DATAGRAM_MAX: usize = 1_150;
/// Services of one node: 256 addresses with four ports each.
pub const SERVICES_MAX: usize = 1_024;
/// Parts of one advert: at worst one service in each, and the node's loads in the first.
pub const ADVERT_PARTS_MAX: u16 = SERVICES_MAX as u16 + 1;
/// Bytes of the flows that one datagram claims: 84 IPv4 flows, or 29 of IPv6.
pub const CLAIMS_LEN_MAX: usize = 1_100;
/// Bytes of the flows that one datagram asks for or answers about, and of the hosts' names: 84 IPv4 flows.
pub const WHO_HAS_LEN_MAX: usize = 1_100;
/// Flows of one batch between peers: 19 KB of IPv6 flows, which a busy loop takes in a few milliseconds.
pub const MIRROR_FLOWS_MAX: usize = 512;
/// Keys that a host is granted at once: one for each virtual subnet that a certificate may have, at each of two tunnel addresses. At
/// 64 bytes each they fit one frame.
pub const FLOW_KEYS_MAX: usize = slr_model::Identity::SUBNETS_MAX * TUNNEL_ADDRESSES_MAX;
/// Longest name and version of a program, in bytes.
pub const SOFTWARE_MAX: usize = 64;
/// Longest reason, remedy, or name of who asks, in bytes: a line on a screen.
pub const REASON_MAX: usize = slr_model::ServiceAdvert::REASON_MAX;
/// Tunnel addresses of one node: one of each family.
pub const TUNNEL_ADDRESSES_MAX: usize = 2;
/// Prefixes from which one SLR sends tunnels: one per uplink and family.
pub const TUNNEL_SOURCES_MAX: usize = 16;
/// Hosts of a site: as many as a router has room for in its table of hops.
pub const ROSTER_NODES_MAX: usize = slr_model::HopId::TABLE_LEN;
/// Parts of a roster: 4,096 nodes of at most 112 bytes take eight frames.
pub const ROSTER_PARTS_MAX: u16 = 64;
/// Rings of one publication: more than a router has places for.
pub const RINGS_MAX: usize = 4_096;
/// Weights of one publication in all rings together: 256 rings of 1,000 hosts, some 20 MB in memory.
pub const RING_WEIGHTS_MAX: usize = 262_144;
/// Parts of one publication: what those weights take, with room.
pub const RINGS_PARTS_MAX: u16 = 1_024;
/// Shortest interval of adverts or acknowledgements that a parent may ask for.
pub const INTERVAL_MIN_MS: u32 = 10;
/// Longest such interval.
pub const INTERVAL_MAX_MS: u32 = 60_000;
/// Longest time until a child counts as silent.
pub const SILENT_AFTER_MAX_MS: u32 = 600_000;
