/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* abi_host.h - the host's part of abi.h, which includes it where its types are known. The same rules hold. */
#pragma once

enum slr_host_const {
	SLR_KEEPALIVE_PORT = 6101, /* UDP, inside the tunnel */
	SLR_KEEPALIVE_MAGIC = 0x534c524b, /* "SLRK" */
	SLR_KEEPALIVE_VERSION = 1,
	SLR_KEEPALIVE_REQUEST = 1,
	SLR_KEEPALIVE_REPLY = 2,
	SLR_PEERS_MAX = 8192, /* routers' prefixes and the site's hosts, per family: 1,000 hosts and room */
	SLR_SERVED_MAX = 1024, /* virtual subnets of one host, per family and together */
	SLR_UDP_PEERS = 65536, /* clients that wildcard UDP sockets talk to; LRU, 2 entries a client */
	SLR_TCP_OPTIONS_MAX = 20, /* options that a header of 60 bytes can hold, padding apart; the MSS comes first */
	TUNNEL_ROUTER = 1 << 0, /* may send us tunnels and keepalives */
	TUNNEL_SITE_HOST = 1 << 1, /* may send us chains, and chains may go on to it */
	SLR_SHORT_MAX = 8, /* prefixes of a kind that are scanned; more are looked up in a trie, which costs 20 ns a time */
	TRIE_SERVED_V4 = 1 << 0,
	TRIE_SERVED_V6 = 1 << 1,
	SLR_CLAIMED = 65536, /* flows that were claimed lately; LRU: one that is forgotten is claimed again, a datagram at most */
	SLR_CLAIMS_BYTES = 1 << 18, /* 5,400 claims that the daemon has not read: what a CPU may tell at once, and room */
	SLR_CLAIM_EVERY_MS = 100, /* a claim that was lost is made good by the flow's next packet after this */
	SLR_CLAIMS_PER_S = 10000, /* and CPU: more than the parents take from one host */
	SLR_CLAIMS_BURST = 2048,
	SLR_UDP_SERVED = 131072, /* UDP flows that were answered; LRU, 15 MiB: 430 new ones a second for as long as they count */
	SLR_UDP_SERVED_S = 300, /* an answered flow counts so long: as long as routers keep an idle one (udp_idle_s) */
	SLR_UDP_NOTED_S = 10, /* and is noted again after so long: coarse enough that an answer writes nothing */
	CLAIM_TOLD = 0,
	CLAIM_REPEATED = 1, /* claimed less than SLR_CLAIM_EVERY_MS ago */
	CLAIM_LIMITED = 2, /* beyond the rate */
	CLAIM_LOST = 3, /* the daemon does not read */
	CLAIM_NUM = 4,
	UDP_OWNER_SOCKET = 0,
	UDP_OWNER_CGROUP = 1,
	SLR_UDP_TALKS = 16384, /* UDP conversations that are watched; LRU, 1.6 MiB; a sweep reads all of it in 0.3 ms */
	SLR_WAKES_BYTES = 4096, /* one record wakes the daemon, and no other is written before it has slept again */
	SLR_WATCH_IDLE_MS = 2000, /* a flow that says nothing for so long is watched again when it speaks */
	SLR_STALL_LONE_MS = 45, /* one segment alone may be acknowledged late: Linux takes 40 ms (RFC 1122 allows 500) */
	SLR_STALL_RTTS = 3, /* a tail-loss probe leaves after two round trips and is answered after another (RFC 8985 7.2) */
	SLR_STALL_AGAIN_MS = 1000, /* a stall that lasts is told again, to a daemon that began meanwhile */
	SLR_BURST_MS = 25, /* two sweeps, and a little: arrivals that are no further apart are one */
	SLR_UPLOAD_ARRIVALS = 3, /* so often data came while we said nothing: more is expected */
	SLR_REGULAR_ARRIVALS = 8, /* so often it came at even distances: more is expected, whoever spoke last */
	SLR_UDP_UNANSWERED = 2, /* datagrams that were sent since the client's last: one is an answer, two are a stream */
	STALL_NONE = 0,
	STALL_SENDING = 1, /* TCP: what was sent is not acknowledged */
	STALL_RECEIVING = 2, /* TCP: what the client was sending does not go on */
	STALL_DATAGRAMS = 3, /* UDP: the client is sent to and not heard */
	STALL_OVER = 4, /* what was told of a flow is no more: its client was heard, or the data have come */
	STALL_SWEPT = 5, /* the end of a sweep; `quiet_us` is the number of flows that are watched */
};

/* Payload of a tunnel keepalive, in the UDP datagram inside the tunnel; network order. A request may be longer (a probe
 * of the tunnel's MTU): what follows is ignored, and the reply never has it. */
struct keepalive {
	__be32 magic;
	__u8 version;
	__u8 kind; /* SLR_KEEPALIVE_* */
	__be16 reserved;
	__be64 nonce; /* the router's; returned as it came */
	__be64 sent_ns; /* the router's clock; returned as it came */
};

/* Prefixes that a scan of a few words finds faster than a trie. */
struct short_v4 {
	__be32 addr;
	__be32 mask;
	__u32 value;
};

struct short_v6 {
	__u64 addr[2]; /* network order, as loaded */
	__u64 mask[2];
	__u64 value;
};

/* What may change while packets flow. Two elements, of which `active` names the one in force: a packet never meets half
 * of a change. */
struct host_config {
	SLR_ABI_PAD(host)
	__u64 netns_cookie; /* sockets of this network namespace get virtual UDP sources; 0: of any */
	struct short_v6 routers_v6[SLR_SHORT_MAX]; /* prefixes of registered routers; all of them, or none if they are more */
	struct short_v6 served_v6[SLR_SHORT_MAX]; /* virtual subnets, value is the index; longest first; all or none */
	struct short_v4 routers_v4[SLR_SHORT_MAX];
	struct short_v4 served_v4[SLR_SHORT_MAX];
	__u8 routers_v6_num;
	__u8 served_v6_num;
	__u8 routers_v4_num;
	__u8 served_v4_num;
	__u32 tries; /* TRIE_*: which tables hold more than the above */
	__be32 tunnel_v6[4]; /* our tunnel addresses; 0: none of that family */
	__be32 tunnel_v4;
	__u32 socket_netns; /* where bpf_skc_lookup_tcp looks: -1 for our own */
	__u16 mss_v4; /* largest MSS that a reply's SYN may carry; 0: do not touch */
	__u16 mss_v6;
	__u32 pad;
};

/* Traffic of a virtual subnet at its host. */
struct host_usage {
	__u64 rx_packets; /* delivered out of tunnels */
	__u64 rx_bytes;
	__u64 tx_packets; /* sent directly, as on the wire: segments, not the stack's large buffers */
	__u64 tx_bytes;
};

/* A flow that this host has and a router searches for: to the daemon. IPv4 addresses are mapped. */
struct claim {
	struct slr_addr client;
	struct slr_addr vaddr;
	__be16 client_port;
	__be16 vport;
	__u32 proto;
};

/* What a sweep over the watched flows tells of one. TCP's numbers are host order. */
struct stall {
	struct claim flow;
	__u32 kind; /* STALL_* */
	__u32 srtt_us; /* 0: not known */
	__u32 quiet_us; /* since when nothing that was due has come */
	__u32 snd_una; /* TCP: what a nudge is made of */
	__u32 rcv_nxt;
	__u32 ts_val; /* RFC 7323: ours, now */
	__u32 ts_recent; /* the client's last; 0: no timestamps */
	__u32 pad;
};

/* When a virtual subnet's flows count as stalled. By the index of the subnet. */
struct stall_limit {
	__u32 floor_us; /* or SLR_STALL_RTTS round trips, if that is longer; 0: its flows are not watched */
	__u32 pad;
};

/* Who spoke to us: a client, to one socket or to any socket of one cgroup. */
struct udp_peer {
	__u64 owner; /* socket cookie, or cgroup id */
	struct slr_addr client;
	__be16 client_port;
	__u16 owner_kind; /* UDP_OWNER_* */
	__u32 pad;
};

_Static_assert(sizeof(struct keepalive) == 24, "on the wire");
_Static_assert(sizeof(struct udp_peer) == 32, "no padding in a key");
_Static_assert(sizeof(struct claim) == 40, "no padding in a key");
_Static_assert(sizeof(struct host_usage) == 32, "no padding in a value");
_Static_assert(sizeof(struct stall) == 72, "no padding in a record");
