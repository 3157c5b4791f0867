/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* abi.h - the one truth for what the kernel programs and user space share.
 *
 * Rust sees these types through the skeleton's BTF and the reasons through build.rs; nothing here is written twice.
 * Plain integers only. Addresses and ports stay in network order (`__be`); counts, lengths and times are host order.
 * A change of any layout below is a change of SLR_ABI_VERSION: pins of another version are never reused as they are,
 * user space copies them field by field (src/router/upgrade.rs).
 */
#pragma once

#include <linux/types.h>

#ifdef SLR_ABI_NEXT /* the upgrade test's build: another version, other offsets, same fields */
#define SLR_ABI_NUMBER 2
#define SLR_ABI_PAD(n) __u64 reserved_##n;
#else
#define SLR_ABI_NUMBER 1
#define SLR_ABI_PAD(n)
#endif

/* Bounds, each with its reason, and other constants; an enum, so that BTF carries them to Rust. */
enum slr_const {
	SLR_ABI_VERSION = SLR_ABI_NUMBER,
	SLR_HOPS_MAX = 4096, /* 1,000 hosts a site and room for upgrades; 256 KiB of templates */
	SLR_SUBNETS_MAX = 4096, /* ids; prefixes live in the tries below */
	SLR_PREFIXES_MAX = 65536, /* virtual prefixes per family */
	SLR_SERVICES_MAX = 65536, /* (subnet, class, protocol, port) */
	SLR_CLASSES_MAX = 65536, /* client prefixes of all classes */
	SLR_RINGS_MAX = 4096, /* distinct rings, shared by content */
	SLR_SLOTS_MAX = 1 << 21, /* 16 MiB of slots for all rings, old and new generation together */
	SLR_UPSTREAMS_MAX = 4096, /* registered prefixes that may send us tunnels */
	SLR_TUNNEL_ADDRS_MAX = 64, /* our own tunnel addresses */
	SLR_FRAGS = 16384, /* datagrams in fragments under way; LRU */
	SLR_BUCKETS = 65536, /* client prefixes with a promotion budget; LRU */
	SLR_PENDING_WAYS = 8, /* pending flows that share a set: a power of two; few sets overflow before a quarter is taken */
	SLR_VLAN_TAGS_MAX = 2, /* 802.1ad and 802.1Q */
	SLR_REASONS_MAX = 128, /* of one program; a bound of its own, so that a new reason does not change its table's size */
	SLR_EXT_HEADERS_MAX = 6, /* RFC 8200 knows six worth passing */
	SLR_CHAIN_MAX = 3, /* hosts of a chain: the three of a slot */
	SLR_CHAIN_HEADERS = 4, /* its tunnel headers: theirs, and that of the router where it ends */
	SLR_TTL = 64, /* outer TTL and hop limit */
	SLR_MARK_SEARCH = 1, /* in an outer header: whoever has this flow shall claim it (docs/wire.md, "A chain") */
	SLR_MARK_SECOND = 2, /* likewise: whoever but the first host takes this flow shall claim it */
	SLR_MARK_END = 3, /* in the header for the router where a chain ends: no host has the flow */
	SLR_MARK_FINAL = 4, /* searched for and not to be searched for again: delivered, and claimed by whoever has it after all */
	SLR_SECOND_MS = 20, /* from a SYN on its flow's packets have a second choice: ten times what a claim takes to arrive */
	SLR_SEARCH_MS = 1000, /* a UDP flow is searched for this long: a claim that is lost is made again after 100 ms */
	SLR_SEARCH_PACKETS = 3, /* and with so many packets at least: a flow that speaks seldom has three claims too */
	FLOW_CLOSING = 1 << 0, /* the client sent FIN or RST */
	FLOW_REFRESHED = 1 << 1, /* spoke again a second or more after it was pinned */
	FLOW_MIRRORED = 1 << 2, /* another member of the cluster told of it. User space's, like the next: see mirror.rs */
	FLOW_PROVEN = 1 << 3, /* and there it has spoken again */
	FLOW_GUESS = 1 << 4, /* searched for, and nobody claimed it: who claims it later has it */
	SLR_NEW_PINS_BYTES = 1 << 22, /* 74,000 pins that the daemon has not read: what it promotes while a turn takes long */
	NEW_PIN_TOLD = 0,
	NEW_PIN_LOST = 1, /* the daemon does not read: it tells its peers everything again */
	NEW_PIN_CARRIED_ON = 2, /* another member's, which has spoken here for the first time */
	NEW_PIN_NUM = 3,
	HOP_UP = 1 << 0, /* resolved and usable; clear means down or no neighbour */
	HOP_V6 = 1 << 1, /* the outer header is IPv6 */
	HOP_NEIGHBOUR = 1 << 2, /* an SLR of another cluster: what a neighbour has sent does not go on to one */
	HOP_DOUBTED = 1 << 3, /* its last keepalives have no answer: new connections go elsewhere in their slot if they can */
	UPSTREAM_PARENT = 1, /* of the tier above */
	UPSTREAM_NEIGHBOUR = 2,
	SLR_HELD_LEN_MAX = 9216, /* the longest datagram that is held: of a jumbo frame */
	SLR_HELD_LEN_USUAL = 1536, /* and the longest of an ordinary one */
	SLR_HELD_BYTES = 1 << 21, /* 1,350 ordinary datagrams that the daemon has not read: a burst of a CPU, and room */
	SLR_HELD_PER_S = 1000, /* and CPU: the daemon asks about so many flows, whoever sends orphans */
	SLR_HELD_BURST = 1000, /* a route that changes brings all its flows at once */
	SLR_KEPT_PER_S = 4000, /* and CPU, of packets that nobody is asked about: a few of each flow, and no questions */
	SLR_KEPT_BURST = 4000,
	SLR_HELD_PREFIX_PER_S = 250, /* and client prefix, of what a CPU keeps for those that do not flood */
	SLR_HELD_PREFIX_BURST = 250, /* half of what is kept: a prefix that floods leaves the rest */
	SLR_HELD_PREFIXES = 8192, /* a flood from more has the CPU's budget alone against it; LRU */
	SLR_ADVERT_MAGIC = 0x534c5241, /* "SLRA": what follows the ordinary data of an echo is an advertisement (docs/wire.md) */
	SLR_ADVERT_VERSION = 1,
	SLR_ADVERT_FLOWS_MAX = 16, /* flows of one client with one virtual address: a browser has six */
	SLR_ADVERT_ORDINARY = 56, /* data of an ordinary echo, before it */
	SLR_ADVERT_TUNNEL_IPIP = 1, /* kind of the server's tunnel */
	SLR_ADVERT_NODE_LEN = 64, /* a node's name and at least one zero */
	SLR_ADVERT_LEN_V4 = 20 + 8 + 56 + 280, /* the whole datagram, without options: headers, ordinary data, advertisement */
	SLR_ADVERT_LEN_V6 = 40 + 8 + 56 + 280,
	SLR_ADVERT_MASTERS = 8, /* epochs whose keys are accepted: three before a change and three after it; a power of two */
	SLR_ADVERTS_SEEN = 65536, /* MACs of adverts that were taken; LRU: who fills it has the keys, and no replay pins what is not its own */
	SLR_ADVERTS_BYTES = 1 << 22, /* 10,000 adverts that the daemon has not read: what two CPUs take at once */
	SLR_ADVERTS_PER_S = 10000, /* and CPU, mostly of a flow or two: ten microseconds of the daemon's for each flow */
	SLR_ADVERTS_BURST = 10000, /* a router that has lost its tables hears of all flows at once */
	SLR_ADVERTS_PREFIX_PER_S = 2000, /* and client prefix: as many as one host asks, and leaves room for others */
	SLR_ADVERTS_PREFIX_BURST = 5000,
	SLR_ADVERTS_PREFIXES = 8192, /* that have authentic adverts at a time; LRU */
	SLR_UNREAD_MS = 250, /* unread for so long, longer than a turn of the daemon: it is gone, and no UDP is held for it */
	SLR_CAPTURE_BYTES = 1 << 21, /* 3,700 captured packets of the usual snap length, before and after, that nobody has read */
	SLR_CAPTURE_CPUS = 256,
	SLR_CAPTURE_SNAP = 256, /* bytes of a captured frame that are kept, unless more is asked for: all headers */
	SLR_CAPTURE_SNAP_MAX = 1600, /* an ordinary frame whole, in its tunnel header */
	CAPTURE_WRITTEN = 0, /* packets that matched and are in the ring */
	CAPTURE_LIMITED = 1, /* looked past: the rate that was asked for was used up */
	CAPTURE_LOST = 2, /* the ring is full */
	CAPTURE_NUM = 3,
	SUBNET_PORTS = 1 << 0, /* serves (protocol, port) pairs that have a route only */
	SUBNET_CLASSES = 1 << 1, /* has client classes: look them up */
	SUBNET_ORPHAN_DROP = 1 << 2, /* mid-flow packets of unknown flows: drop instead of ring */
	SUBNET_ECHO_FORWARD = 1 << 3, /* echo requests: to a host */
	SUBNET_ECHO_DROP = 1 << 4, /* echo requests: drop; neither flag: answered here */
	SUBNET_LIVE = 1 << 5, /* the id is in use */
	SUBNET_ROUTES = 1 << 6, /* some (protocol, port) has a route of its own: look it up */
	SUBNET_ORPHAN_CHAIN = 1 << 7, /* mid-flow packets of unknown flows: through all hosts of their slot */
	SUBNET_UDP_CHAIN = 1 << 8, /* likewise packets of unknown UDP flows */
	SUBNET_UDP_SEARCH = 1 << 9, /* and before one of these is placed, other routers are asked */
	/* Which fields take part in placement (client affinity is a mask without the port). */
	MASK_CLIENT = 1 << 0,
	MASK_CLIENT_PORT = 1 << 1,
	MASK_VADDR = 1 << 2,
	MASK_VPORT = 1 << 3,
	MASK_ALL = 0x0f,
};

enum slr_verdict { SLR_DROP, SLR_PASS, SLR_FORWARD, SLR_REPLY, SLR_VERDICT_NUM };

enum slr_router_reason {
#define REASON(n, name, verdict, text) SLR_R_##name = n,
#include "router_reasons.def"
#undef REASON
	SLR_R_NUM
};

enum slr_host_reason {
#define REASON(n, name, verdict, text) SLR_H_##name = n,
#include "host_reasons.def"
#undef REASON
	SLR_H_NUM
};

/* An address of either family; IPv4 as ::ffff:a.b.c.d (RFC 4291 2.5.5.2), so that one key serves both. */
struct slr_addr {
	__be32 word[4];
};

/* Key of an IPv4 flow, from the client's side. */
struct flow_key_v4 {
	__be32 client;
	__be32 vaddr;
	__be16 client_port;
	__be16 vport;
	__u32 proto; /* 32 bits: the key is whole words, which the hash likes */
};

/* Key of an IPv6 flow. */
struct flow_key_v6 {
	__be32 client[4];
	__be32 vaddr[4];
	__be16 client_port;
	__be16 vport;
	__u32 proto;
};

/* A flow's recorded path. Written by the router program, aged and deleted by user space. */
struct flow {
	SLR_ABI_PAD(flow)
	__u16 hop; /* index into `hops` */
	__u16 hop_gen; /* must equal the hop's gen: an index given to another host un-pins */
	__u16 subnet; /* index into `subnets`: whom to account */
	__u16 entropy; /* spreads the outer source over the registered prefix */
	__u32 seen; /* the `clock` at the last packet */
	__u8 flags; /* FLOW_* */
	__u8 pad[3];
};

/* A flow that was pinned just now: to the daemon, for the cluster's other members. IPv4 addresses are mapped. */
struct new_pin {
	struct slr_addr client;
	struct slr_addr vaddr;
	__be16 client_port;
	__be16 vport;
	__u16 hop;
	__u16 hop_gen;
	__u32 proto;
	__u32 subnet;
};

/* An orphan, or a datagram of an unknown UDP flow, that no host of its slot has: to the daemon, which asks other routers and
 * sends it on. Room for the longest datagram follows. */
struct held {
	__u16 hop; /* where the ring points */
	__u16 hop_gen;
	__u16 subnet;
	__u16 entropy;
	__u32 len; /* of the datagram, IP header included */
	__u32 family; /* 4 or 6 */
};

/* What a host tells of its flows by way of their client: the data of an echo, after SLR_ADVERT_ORDINARY bytes. On the wire: network
 * order throughout. IPv4 addresses are mapped. */
struct flow_advert {
	__be32 magic; /* SLR_ADVERT_MAGIC */
	__u8 version;
	__u8 family; /* 4 or 6: of client and virtual address */
	__u8 count; /* flows that are told, 1 to SLR_ADVERT_FLOWS_MAX */
	__u8 prefix_len; /* of the virtual subnet, in its own family */
	__be32 epoch; /* of the key */
	__u8 mask; /* MASK_ALL */
	__u8 tunnel; /* SLR_ADVERT_TUNNEL_* */
	__be16 tunnel_port; /* 0 for IP in IP */
	__be64 serial; /* the host's: no two echoes have the same bytes */
	struct slr_addr client;
	struct slr_addr vaddr;
	struct slr_addr server; /* the host's tunnel address, of either family */
	char node[SLR_ADVERT_NODE_LEN]; /* the host's name, padded with zeros */
	struct {
		__be16 client_port;
		__be16 vport;
		__u8 proto;
		__u8 pad[3];
	} flows[SLR_ADVERT_FLOWS_MAX]; /* those beyond count are zero */
	__u8 mac[16]; /* SipHash-2-4-128 of what is before it */
};

/* A router's key of one epoch. */
struct advert_master {
	__u64 key[2]; /* as SipHash reads it: little endian */
};

/* An advertisement that the program has found authentic: to the daemon. */
struct advert_record {
	__u32 len; /* of the datagram: SLR_ADVERT_LEN_V4 or _V6 */
	__u32 family; /* 4 or 6 */
	__u8 datagram[SLR_ADVERT_LEN_V6]; /* IP header included */
};

/* A set of the cache of flows that have not yet shown two ends: one cache line of paths, one of ages and sequence
 * numbers, one of second choices, then the keys. A look-up reads the first line, and a key only where the path's entropy
 * fits. */
struct pending_head {
	__u64 path[SLR_PENDING_WAYS]; /* hop, hop_gen, subnet, entropy as in struct flow, from the low bits up; 0: empty */
	__u32 seen[SLR_PENDING_WAYS]; /* the `clock` at the last packet */
	__u32 isn[SLR_PENDING_WAYS]; /* TCP: the SYN's sequence number, host order; UDP: the hops that its slot had before, the
					newest in the low 16 bits, if it is searched for; and SEARCH_TO_END */
	__u64 second[SLR_PENDING_WAYS]; /* of subnets with SUBNET_ORPHAN_CHAIN: the hop to try after the path's in the low 16
					   bits, or 0; until when, on the kernel's monotonic clock, in the others. UDP: with
					   how many more packets it is searched for at least; and until when */
};

struct pending_set_v4 {
	struct pending_head head;
	struct flow_key_v4 key[SLR_PENDING_WAYS];
};

struct pending_set_v6 {
	struct pending_head head;
	struct flow_key_v6 key[SLR_PENDING_WAYS];
};

/* A hop's prepared header. 64 bytes: one cache line. Written by user space, but for mtu and mtu_until. */
struct hop {
	__u8 eth[14]; /* destination, source, type: as it goes on the wire */
	__u16 flags; /* HOP_* */
	__u16 gen;
	__u16 mtu; /* bytes of the outer datagram that fit: link_mtu, or less once a frag-needed said so */
	__u16 link_mtu;
	__be16 src_mask; /* which of the outer source's low 16 bits are ours to vary */
	__u32 ifindex; /* 0: the interface the packet came in on */
	__u32 mtu_until; /* the `clock` at which a learned mtu expires; 0: none learned */
	union {
		struct {
			__be32 src;
			__be32 dst;
			__u32 csum; /* sum of the header's constant 16-bit words, not folded */
		} v4;
		struct {
			__be32 src[4];
			__be32 dst[4];
		} v6;
	};
};

struct subnet {
	struct slr_addr prefix; /* for adoption at a restart; lookups use the tries */
	__u32 flags; /* SUBNET_* */
	__u32 account; /* whom the traffic is charged to */
	__u32 ring; /* index into `rings`, for what has no entry in `services`; 0: nobody serves it */
	__u8 mask; /* MASK_* */
	__u8 prefix_len; /* of the mapped form for IPv4: 96 + length */
	__u8 pad[2];
};

/* Where new flows of a (protocol, port) go, or of a client class; port and protocol 0: all others of the class. Class, port
 * and protocol 0 is in `struct subnet`. Which of several decides: find_service() in place.h. */
struct service_key {
	__u16 subnet;
	__u16 class; /* from `classes`; 0: clients of any class that has no route of its own */
	__be16 port;
	__u16 proto;
};

struct service {
	__u32 ring; /* index into `rings` */
	__u32 mask; /* MASK_* */
};

/* A ring's place in `slots`, read in one load: offset in the high half, number of slots in the low half. Writing it is
 * how a new generation is published. */
typedef __u64 ring_desc;

/* A slot: the current hop in the low 16 bits, then the two distinct hops before it, newest first; in the high 16 bits its
 * second choice, whom first packets are offered that the current hop refuses. 0 is none. */
typedef __u64 ring_slot;

struct prefix_v4 {
	__u32 len;
	__be32 addr;
};

struct prefix_v6 {
	__u32 len;
	__be32 addr[4];
};

/* A client class of a subnet: longest prefix of (subnet id, client address). */
struct class_key {
	__u32 len; /* 32 bits of subnet id, then the address */
	__be32 subnet;
	struct slr_addr client;
};

struct frag_key {
	struct slr_addr src;
	struct slr_addr dst;
	__be32 id; /* IPv4: the 16-bit identification */
	__u32 proto;
};

struct bucket_key {
	__be32 prefix[2]; /* IPv4 /24 in word 0; IPv6 /48 in both */
	__u32 family; /* 4 or 6 */
};

struct bucket {
	__u64 stamp_ns;
	__u64 credit; /* millionths of a token */
};

/* How far the daemon has read what is held for it, and when that was seen to change. */
struct reading {
	__u64 position;
	__u64 since_ns;
};

struct counter {
	__u64 packets;
	__u64 bytes; /* of the client's datagrams, IP header included */
};

struct usage {
	__u64 packets;
	__u64 bytes;
	__u64 flows; /* placed here */
	__u64 pad;
};

/* Which packets are captured, at a router or a host. One element. IPv4 addresses are mapped; a field that is zero asks for nothing. */
struct capture_filter {
	__u64 until_ns; /* on the monotonic clock: whoever captures says again and again that it is still there */
	__u64 reasons[SLR_REASONS_MAX / 64]; /* a bit each: of no reason without its bit */
	struct slr_addr client; /* the source, as far as the program has read it */
	struct slr_addr client_mask;
	struct slr_addr vaddr; /* the destination, likewise */
	__be16 vport;
	__u16 hop; /* a router's: whom the packet goes to first */
	__u32 one_in; /* so many packets one is looked at, at random distances */
	__u32 per_s; /* of all CPUs */
	__u32 burst;
	__u32 snap; /* 1 to SLR_CAPTURE_SNAP_MAX */
	__u32 pad;
};

/* A captured packet: to whoever captures. The kept bytes of the frame as it came follow, then those of the frame as it left. */
struct capture_record {
	__u64 at_ns; /* on the monotonic clock */
	__u32 reason;
	__u32 verdict; /* enum xdp_action */
	__u32 hop; /* 0: none, or a host's packet */
	__u32 ifindex; /* where it came in */
	__u32 out_ifindex; /* where it left */
	__u32 before_len; /* of the frame, and how many bytes of it are kept */
	__u32 before_kept;
	__u32 after_len; /* 0: it left nowhere, or as it came */
	__u32 after_kept;
	__u32 pad;
};

/* What may change while packets flow. One element. */
struct router_config {
	__u64 seed; /* placement hash; the same in every member of a cluster */
	__u32 promote_per_s; /* flows pinned per second and client prefix */
	__u32 promote_burst;
	__u32 icmp_per_s; /* ICMP answers a second and CPU */
	__u32 icmp_burst;
	__u32 pmtu_s; /* how long a learned path MTU is believed */
	__u32 pending_sets; /* of the pending cache, per family */
	__u32 tell_pins; /* whether there is somebody to mirror new pins to */
	__u32 hold_orphans; /* whether orphans that are not searched for are held: their hosts may tell of them (advert.h) */
	__u32 pmtu_floor; /* no frag-needed lowers a path MTU below this */
	__u32 pad;
};

#include "abi_host.h"

/* Binds the enums to a type that BTF keeps. */
struct abi_anchor {
	enum slr_const constant;
	enum slr_verdict verdict;
	enum slr_router_reason router_reason;
	enum slr_host_reason host_reason;
	enum slr_host_const host_constant;
	struct new_pin new_pin; /* of records in a ring buffer BTF has no type */
	struct held held;
	struct stall stall;
	struct flow_advert flow_advert;
	struct advert_record advert_record;
	struct capture_record capture_record;
};

#ifndef SLR_ABI_NEXT
_Static_assert(sizeof(struct flow) == 16, "a flow is two words");
#endif
_Static_assert(SLR_R_NUM <= SLR_REASONS_MAX && SLR_H_NUM <= SLR_REASONS_MAX, "a place for each reason");
_Static_assert(sizeof(struct flow_key_v4) == 16, "no padding in a key");
_Static_assert(sizeof(struct flow_key_v6) == 40, "no padding in a key");
_Static_assert(sizeof(struct new_pin) == 48, "no padding in a record");
_Static_assert(sizeof(struct held) == 16, "no padding in a record");
_Static_assert(sizeof(struct flow_advert) == 280, "on the wire");
_Static_assert(sizeof(struct advert_record) == 392, "no padding in a record");
_Static_assert(sizeof(struct capture_filter) == 96, "no padding in a value");
_Static_assert(sizeof(struct capture_record) == 48, "no padding in a record");
_Static_assert(sizeof(struct hop) == 64, "a hop is one cache line");
