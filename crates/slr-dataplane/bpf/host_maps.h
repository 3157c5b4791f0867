/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* host_maps.h - the host's tables. Each says who writes and who reads. All are pinned. */
#pragma once

#include "base.h"

#define NS_PER_S 1000000000ULL

/* Written by user space: the element that is not in force, then which one is. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct host_config);
	__uint(max_entries, 2);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} active SEC(".maps");

/* Who may send us tunnel packets, and where chains may go on to: TUNNEL_* by prefix. Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_v4);
	__type(value, __u32);
	__uint(max_entries, SLR_PEERS_MAX);
} peers_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_v6);
	__type(value, __u32);
	__uint(max_entries, SLR_PEERS_MAX);
} peers_v6 SEC(".maps");

/* The virtual subnets of this host: prefix to index into `usage`. Written by user space, read by every program here. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_v4);
	__type(value, __u32);
	__uint(max_entries, SLR_SERVED_MAX);
} served_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_v6);
	__type(value, __u32);
	__uint(max_entries, SLR_SERVED_MAX);
} served_v6 SEC(".maps");

/* Which virtual address a client last spoke to. Written on ingress, read when a socket sends or connects. LRU: an entry that is lost is learned from the client's next datagram. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct udp_peer);
	__type(value, struct slr_addr);
	__uint(max_entries, SLR_UDP_PEERS);
} udp_peers SEC(".maps");

/* What a connected socket's datagrams to its client must have as source. Not in abi.h: user space never sees it. */
struct udp_source {
	struct slr_addr client;
	struct slr_addr source;
	__be16 client_port;
	__u16 pad[3];
};

/* Sockets that were bound to a port before they connected to a client: their source is put right on egress. Written
 * when a socket connects. In the socket itself, so that every other socket's datagrams pay next to nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct udp_source);
} udp_connected SEC(".maps");

/* UDP flows that this host has answered, and when it last was noted, in nanoseconds of the monotonic clock: UDP has no socket
 * of a flow that could be asked. Written on egress, read when a flow is searched for. LRU: under a flood of clients that ask
 * once the longest silent ones go; they are then served where the ring points, as if nobody had answered them. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct claim);
	__type(value, __u64);
	__uint(max_entries, SLR_UDP_SERVED);
} udp_answered SEC(".maps");

/* Flows to claim. Written here, read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SLR_CLAIMS_BYTES);
} claims SEC(".maps");

/* When a flow was claimed last, in nanoseconds of the monotonic clock. Written and read here. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct claim);
	__type(value, __u64);
	__uint(max_entries, SLR_CLAIMED);
} claimed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct bucket);
	__uint(max_entries, 1);
} claim_bucket SEC(".maps");

/* CLAIM_*: what became of claims. Written here, read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, CLAIM_NUM);
} claim_counts SEC(".maps");

/* When flows of a virtual subnet count as stalled, by the subnet's index. Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct stall_limit);
	__uint(max_entries, SLR_SERVED_MAX);
} stall_limits SEC(".maps");

/* What the last sweep saw of a TCP flow. Not in abi.h: user space never sees it. */
struct watch {
	__u64 heard_ns; /* when anything came from the client; or nothing was awaited */
	__u64 active_ns; /* when it last was heard or awaited */
	__u64 arrived_ns; /* when data of the client came */
	__u64 told_ns; /* when it was told of; 0: it is not stalled */
	__u32 told; /* STALL_* that was */
	__u32 segs_in; /* counters of the socket, to see what has changed */
	__u32 rcv_nxt;
	__u32 snd_nxt;
	__u32 snd_nxt_then; /* before the last arrival: has it been answered since? */
	__u32 gap_us; /* between arrivals: mean and deviation, as RFC 6298 has them for round trips */
	__u32 gap_dev_us;
	__u32 arrivals;
};

/* TCP sockets at virtual addresses that speak: those that have this storage are what a sweep visits, and no others. Made on
 * egress, removed by the sweep when a flow falls silent. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct watch);
} watched SEC(".maps");

/* A UDP flow with words in both directions. Not in abi.h. */
struct talk {
	__u64 heard_ns; /* the client's last datagram */
	__u64 sent_ns; /* the server's */
	__u64 told_ns;
	__u32 gap_us; /* between the client's datagrams */
	__u32 gap_dev_us;
	__u32 arrivals;
	__u32 unanswered; /* datagrams sent since the client's last */
};

/* UDP flows whose client spoke again after it was answered: one that asks once is none. Written on ingress and egress, read
 * by a sweep. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct claim);
	__type(value, struct talk);
	__uint(max_entries, SLR_UDP_TALKS);
} udp_talks SEC(".maps");

/* Whether the daemon sleeps because nothing is watched: 1 written by user space, 0 by whoever wakes it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} sweeper_sleeps SEC(".maps");

/* Wakes it. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SLR_WAKES_BYTES);
} wakes SEC(".maps");

/* What happened: per reason and per virtual subnet. Written here, read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct counter);
	__uint(max_entries, SLR_REASONS_MAX);
} reasons SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct host_usage);
	__uint(max_entries, SLR_SERVED_MAX);
} usage SEC(".maps");

static __always_inline struct host_config *get_config(void)
{
	__u32 zero = 0, *now = bpf_map_lookup_elem(&active, &zero), index;

	if (!now)
		return NULL;
	index = *now & 1;
	return bpf_map_lookup_elem(&settings, &index);
}

static __always_inline bool matches_v4(const struct short_v4 *s, __be32 addr)
{
	return !((s->addr ^ addr) & s->mask);
}

static __always_inline bool matches_v6(const struct short_v6 *s, __u64 high, __u64 low)
{
	return !(((s->addr[0] ^ high) & s->mask[0]) | ((s->addr[1] ^ low) & s->mask[1]));
}

/* What a tunnel address may do: TUNNEL_*, 0 for a stranger. */
static __always_inline __u32 rights_v4(__be32 addr)
{
	struct prefix_v4 key = { 32, addr };
	__u32 *rights = bpf_map_lookup_elem(&peers_v4, &key);

	return rights ? *rights : 0;
}

static __always_inline __u32 rights_v6(const void *addr)
{
	struct prefix_v6 key = { .len = 128 };
	__u32 *rights;

	__builtin_memcpy(key.addr, addr, 16);
	rights = bpf_map_lookup_elem(&peers_v6, &key);
	return rights ? *rights : 0;
}

/* The same of a sender, routers first. */
static __always_inline __u32 sender_v4(const struct host_config *cfg, __be32 addr)
{
	for (__u32 i = 0; i < SLR_SHORT_MAX && i < cfg->routers_v4_num; i++)
		if (matches_v4(&cfg->routers_v4[i], addr))
			return TUNNEL_ROUTER;
	return rights_v4(addr);
}

static __always_inline __u32 sender_v6(const struct host_config *cfg, const void *addr)
{
	__u64 high = *(const __u64 *)addr, low = *(const __u64 *)(addr + 8);

	for (__u32 i = 0; i < SLR_SHORT_MAX && i < cfg->routers_v6_num; i++)
		if (matches_v6(&cfg->routers_v6[i], high, low))
			return TUNNEL_ROUTER;
	return rights_v6(addr);
}

/* Index of the virtual subnet of ours that an address is in; NOT_SERVED if it is in none. */
#define NOT_SERVED SLR_SERVED_MAX

static __always_inline __u32 subnet_of_v4(const struct host_config *cfg, __be32 addr)
{
	struct prefix_v4 key = { 32, addr };
	__u32 *subnet;

	for (__u32 i = 0; i < SLR_SHORT_MAX && i < cfg->served_v4_num; i++)
		if (matches_v4(&cfg->served_v4[i], addr))
			return cfg->served_v4[i].value;
	if (likely(!(cfg->tries & TRIE_SERVED_V4)))
		return NOT_SERVED;
	subnet = bpf_map_lookup_elem(&served_v4, &key);
	return subnet ? *subnet : NOT_SERVED;
}

static __always_inline __u32 subnet_of_v6(const struct host_config *cfg, const void *addr)
{
	__u64 high = *(const __u64 *)addr, low = *(const __u64 *)(addr + 8);
	struct prefix_v6 key = { .len = 128 };
	__u32 *subnet;

	for (__u32 i = 0; i < SLR_SHORT_MAX && i < cfg->served_v6_num; i++)
		if (matches_v6(&cfg->served_v6[i], high, low))
			return cfg->served_v6[i].value;
	if (likely(!(cfg->tries & TRIE_SERVED_V6)))
		return NOT_SERVED;
	__builtin_memcpy(key.addr, addr, 16);
	subnet = bpf_map_lookup_elem(&served_v6, &key);
	return subnet ? *subnet : NOT_SERVED;
}

#define FAMILY_INET 2
#define FAMILY_INET6 10

static __always_inline bool is_v4(const struct slr_addr *a)
{
	return !a->word[0] && !a->word[1] && a->word[2] == bpf_htonl(0xffff);
}

static __always_inline void count(__u32 why, __u64 bytes)
{
	struct counter *c = bpf_map_lookup_elem(&reasons, &why);

	if (c) {
		c->packets++;
		c->bytes += bytes;
	}
}

static __always_inline void count_received(__u32 subnet, __u64 bytes)
{
	struct host_usage *u = bpf_map_lookup_elem(&usage, &subnet);

	if (u) {
		u->rx_packets++;
		u->rx_bytes += bytes;
	}
}

static __always_inline void count_sent(__u32 subnet, __u64 packets, __u64 bytes)
{
	struct host_usage *u = bpf_map_lookup_elem(&usage, &subnet);

	if (u) {
		u->tx_packets += packets;
		u->tx_bytes += bytes;
	}
}
