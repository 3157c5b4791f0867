/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* router_maps.h - the router's tables. Each says who writes, who reads, and why it is of its type. All are pinned; they
 * are a cache of the daemon's desired state and the memory of the flows, and they outlive the daemon. */
#pragma once

#include "base.h"

/* Seconds of the daemon's life, over all its restarts: the age of flows is told by it. Written by user space every few
 * seconds, so that a packet pays one load (bpf_ktime_get_coarse_ns costs 20 ns here). While the daemon is away it stands
 * still: nothing ages that nobody sweeps. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} clock SEC(".maps");

static __always_inline __u32 now_s(void)
{
	__u32 zero = 0;
	__u32 *now = map_lookup(&clock, &zero);

	return now ? *now : 0;
}

/* Pinned flows. Written here (promotion, age) and by recovery; aged and deleted by user space. A plain hash, not an
 * LRU: nobody's flow is forgotten because somebody else arrived. A full table refuses new pins (docs/decisions/0001).
 * Capacity is set at load. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct flow_key_v4);
	__type(value, struct flow);
	__uint(max_entries, 1 << 20);
} flows_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct flow_key_v6);
	__type(value, struct flow);
	__uint(max_entries, 1 << 20);
} flows_v6 SEC(".maps");

/* New pins, for the cluster's other members. Written here, read by user space every few milliseconds: nobody is woken. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SLR_NEW_PINS_BYTES);
} new_pins SEC(".maps");

/* NEW_PIN_*: what became of these, and of those that others have told of. Written here, read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, NEW_PIN_NUM);
} new_pin_counts SEC(".maps");

/* Flows that have not yet shown two ends: see pending.h. The number of sets is set at load. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE); /* aligns the sets to cache lines */
	__type(key, __u32);
	__type(value, struct pending_set_v4);
	__uint(max_entries, 1 << 14);
} pending_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pending_set_v6);
	__uint(max_entries, 1 << 14);
} pending_v6 SEC(".maps");

/* Datagrams in fragments, by (addresses, id): the first records, the others follow. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct frag_key);
	__type(value, struct flow);
	__uint(max_entries, SLR_FRAGS);
} frags SEC(".maps");

/* Hop templates. Written by user space; the program lowers mtu. Index 0 is "none". */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct hop);
	__uint(max_entries, SLR_HOPS_MAX);
} hops SEC(".maps");

/* Where chains end that found no host: headers for this router or another member of its cluster, IPv4 and IPv6. Written by user
 * space; one without HOP_UP is not used. Of the link header and the MTU nothing is: hosts send the packet. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct hop);
	__uint(max_entries, 2);
} chain_ends SEC(".maps");

/* Likewise for UDP flows: this router itself. Who has sent the datagram here learns at once where the flow goes, and a member
 * that is gone without a word costs no flow its first datagrams. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct hop);
	__uint(max_entries, 2);
} search_ends SEC(".maps");

/* Orphans for the daemon, and datagrams. Written here, read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SLR_HELD_BYTES);
} held SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct bucket);
	__uint(max_entries, 1);
} held_bucket SEC(".maps");

/* The same for datagrams: new UDP flows leave TCP's orphans theirs. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct bucket);
	__uint(max_entries, 1);
} held_udp_bucket SEC(".maps");

/* The same of packets that are kept for their flow's host to tell of. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct bucket);
	__uint(max_entries, 1);
} kept_bucket SEC(".maps");

/* Whether the daemon reads what is held. Written and read here; two CPUs that write at once agree within a moment. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct reading);
	__uint(max_entries, 1);
} held_reading SEC(".maps");

/* Budgets of held orphans by client prefix. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct bucket_key);
	__type(value, struct bucket);
	__uint(max_entries, SLR_HELD_PREFIXES);
} held_buckets SEC(".maps");

/* Epochs whose adverts are accepted, and the keys that hosts' are made of. Written by user space, the new ones before the old
 * ones go; empty without a flow secret. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, struct advert_master);
	__uint(max_entries, SLR_ADVERT_MASTERS);
} advert_masters SEC(".maps");

/* MACs of adverts that were taken. Written here: the same bytes are taken once. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, __u64[2]);
	__type(value, __u32);
	__uint(max_entries, SLR_ADVERTS_SEEN);
} adverts_seen SEC(".maps");

/* Adverts for the daemon, and their budgets: of a CPU, and of a client prefix. Written here, the first read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SLR_ADVERTS_BYTES);
} adverts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct bucket);
	__uint(max_entries, 1);
} advert_bucket SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct bucket_key);
	__type(value, struct bucket);
	__uint(max_entries, SLR_ADVERTS_PREFIXES);
} advert_buckets SEC(".maps");

/* Tunnel destination to hop: whom an ICMP error about our outer header concerns, and who may send us the end of a chain. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct slr_addr);
	__type(value, __u32);
	__uint(max_entries, SLR_HOPS_MAX);
} hop_by_addr SEC(".maps");

/* Slots of all rings, and where each ring's current generation lies. Written by user space through mmap: new slots
 * first, then one aligned store to the descriptor. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, ring_slot);
	__uint(max_entries, SLR_SLOTS_MAX);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, ring_desc);
	__uint(max_entries, SLR_RINGS_MAX);
} rings SEC(".maps");

/* Virtual prefixes to subnet id, longest match. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_v4);
	__type(value, __u32);
	__uint(max_entries, SLR_PREFIXES_MAX);
} prefixes_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_v6);
	__type(value, __u32);
	__uint(max_entries, SLR_PREFIXES_MAX);
} prefixes_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct subnet);
	__uint(max_entries, SLR_SUBNETS_MAX);
} subnets SEC(".maps");

/* (subnet id, client prefix) to class. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct class_key);
	__type(value, __u32);
	__uint(max_entries, SLR_CLASSES_MAX);
} classes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct service_key);
	__type(value, struct service);
	__uint(max_entries, SLR_SERVICES_MAX);
} services SEC(".maps");

/* Our tunnel addresses, and the prefixes that registered upstreams send from, with UPSTREAM_*. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct slr_addr);
	__type(value, __u32);
	__uint(max_entries, SLR_TUNNEL_ADDRS_MAX);
} tunnel_addrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_v6);
	__type(value, __u32);
	__uint(max_entries, SLR_UPSTREAMS_MAX);
} upstreams SEC(".maps");

/* Promotion budgets by client prefix. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct bucket_key);
	__type(value, struct bucket);
	__uint(max_entries, SLR_BUCKETS);
} buckets SEC(".maps");

/* Budget of ICMP answers, one per CPU: no lock, and a bound all the same. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct bucket);
	__uint(max_entries, 1);
} icmp_bucket SEC(".maps");

/* What happened: per reason, per hop, per subnet. Written here, read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct counter);
	__uint(max_entries, SLR_REASONS_MAX);
} reasons SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct usage);
	__uint(max_entries, SLR_HOPS_MAX);
} hop_usage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct usage);
	__uint(max_entries, SLR_SUBNETS_MAX);
} subnet_usage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct router_config);
	__uint(max_entries, 1);
} settings SEC(".maps");
