/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* pending.h - flows that have not yet shown two ends: a cache of sets, like a processor's. A new flow costs three cache
 * lines and no helper call; an LRU hash costs 190 ns more when warm, and takes a lock that all CPUs share when a flood of
 * first packets comes (docs/decisions/0003). What is evicted is the longest silent of eight, so a flood costs pending flows
 * their place, never pinned ones.
 *
 * There is no lock. Two CPUs that write one way at once may leave the key of one flow with the path of another; the path is
 * one word whose entropy is part of the key's hash, so such a pair is not believed. */
#pragma once

#include "place.h"
#include "router_maps.h"

/* A path as one word: hop, generation, subnet, entropy, from the low bits up. 0: none. */
static __always_inline __u64 path_word(struct pkt *p)
{
	return p->hop | (__u64)p->hop_gen << 16 | (__u64)p->subnet << 32 | (__u64)p->entropy << 48;
}

static __always_inline void take_path_word(struct pkt *p, __u64 path)
{
	p->hop = path;
	p->hop_gen = path >> 16;
	p->subnet = path >> 32;
	p->entropy = path >> 48;
}

/* The hop of a path word, if its host still is who it was: see hop_of_flow(). */
static __always_inline struct hop *hop_of_path(__u64 path)
{
	__u32 n = path & 0xffff;
	struct hop *h = map_lookup(&hops, &n);

	return h && h->gen == (__u16)(path >> 16) ? h : NULL;
}

static __always_inline bool same_key_v4(struct flow_key_v4 *a, struct flow_key_v4 *b)
{
	__u64 *x = (__u64 *)a, *y = (__u64 *)b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]));
}

static __always_inline bool same_key_v6(struct flow_key_v6 *a, struct flow_key_v6 *b)
{
	__u64 *x = (__u64 *)a, *y = (__u64 *)b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]) | (x[4] ^ y[4]));
}

/* The set of a flow; one of v4 and v6, whose beginning `head` is. */
struct pending {
	struct pending_head *head;
	struct pending_set_v4 *v4;
	struct pending_set_v6 *v6;
};

static __always_inline __u32 set_of(__u64 hash, __u32 sets)
{
	return (__u64)(__u32)(hash >> 16) * sets >> 32;
}

static __always_inline struct pending find_set(struct pkt *p, __u64 hash, __u32 sets)
{
	__u32 n = set_of(hash, sets);
	struct pending set = {};

	if (p->family == AF_V4) {
		set.v4 = map_lookup(&pending_v4, &n);
		if (set.v4)
			set.head = &set.v4->head;
	} else {
		set.v6 = map_lookup(&pending_v6, &n);
		if (set.v6)
			set.head = &set.v6->head;
	}
	return set;
}

static __always_inline bool has_key(struct pkt *p, struct pending *set, __u32 way)
{
	way &= SLR_PENDING_WAYS - 1;
	if (set->v4)
		return same_key_v4(&set->v4->key[way], &p->k4);
	return set->v6 && same_key_v6(&set->v6->key[way], &p->k6);
}

/* The way of p's flow in its set; SLR_PENDING_WAYS if it has none. */
static __always_inline __u32 find_way(struct pkt *p, struct pending *set, __u64 hash)
{
#pragma clang loop unroll(disable)
	for (__u32 way = 0; way < SLR_PENDING_WAYS; way++) {
		__u64 path = *(volatile __u64 *)&set->head->path[way];

		if (path && path >> 48 == (hash & 0xffff) && has_key(p, set, way))
			return way;
	}
	return SLR_PENDING_WAYS;
}

/* Which way of a set goes: an empty one, else the longest silent; among equals chance decides, as the hash has it. */
static __always_inline __u32 choose_way(struct pending_head *set, __u64 hash)
{
	__u32 best = hash & (SLR_PENDING_WAYS - 1), seen = ~0U;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < SLR_PENDING_WAYS; i++) {
		__u32 way = (hash + i) & (SLR_PENDING_WAYS - 1);

		if (!set->path[way])
			return way;
		if (set->seen[way] < seen) {
			best = way;
			seen = set->seen[way];
		}
	}
	return best;
}

/* A SYN on its way: for SLR_SECOND_MS its flow's packets go on to the slot's second choice if the first host has nobody who
 * takes them (a crashed server whose health check has not failed yet). After that the second one's claim has pinned the
 * flow, or the first one has it. */
static __always_inline void give_second_chance(struct pkt *p, struct pending_head *set, __u32 way)
{
	__u64 until = bpf_ktime_get_ns() + SLR_SECOND_MS * 1000000ULL;

	set->second[way] = p->second ? (until & ~0xffffULL) | p->second : 0;
	if (!p->second)
		return;
	p->older = p->second;
	p->mark = SLR_MARK_SECOND;
}

/* A packet of a pending flow, or of one that is being pinned anew: does it have a second chance? */
static __always_inline bool has_second_chance(struct pkt *p, struct pending_head *set, __u32 way)
{
	__u64 word = set->second[way];

	if (!(word & 0xffff) || p->frag || bpf_ktime_get_ns() >= (word & ~0xffffULL))
		return false;
	p->older = word & 0xffff;
	p->mark = SLR_MARK_SECOND;
	return true;
}

#define SEARCH_TO_END (1U << 31) /* beside two hops, of 12 bits each: the chain of a searched flow ends at this router */

/* UDP says of no packet that it is a flow's first. In a slot that has had other hosts, one of those may serve a flow that is
 * not known here: its packets go through all of them, the oldest first, and whoever has the flow claims it. With p->to_end
 * also in one that has not, and other routers are asked. */
static __always_inline void begin_search(struct pkt *p, struct pending_head *set, __u32 way)
{
	__u32 older = p->frag ? 0 : p->older;

	if (p->to_end)
		older |= SEARCH_TO_END;
	set->isn[way] = older;
	if (!older)
		return;
	set->second[way] = ((bpf_ktime_get_ns() + SLR_SEARCH_MS * 1000000ULL) & ~0xffffULL) | (SLR_SEARCH_PACKETS - 1);
	p->mark = SLR_MARK_SEARCH;
}

/* A packet of a pending UDP flow: is the search still on? Until its end the flow is not pinned, and takes the same way, so
 * that its packets do not alternate between hosts. After it the current host has the flow, but that is a guess: claims may
 * have been lost. A first fragment goes to the current host, where the others can follow it. */
static __always_inline bool is_searched(struct pkt *p, struct pending_head *set, __u32 way)
{
	__u32 older = set->isn[way];
	__u64 word = set->second[way];

	if (!older)
		return false;
	if (!(word & 0xffff) && bpf_ktime_get_ns() >= (word & ~0xffffULL)) {
		p->flow_flags = FLOW_GUESS;
		return false;
	}
	if (p->frag)
		return true;
	if (word & 0xffff)
		set->second[way] = word - 1;
	p->older = older & ~SEARCH_TO_END;
	p->to_end = !!(older & SEARCH_TO_END);
	p->mark = SLR_MARK_SEARCH;
	return true;
}

/* `chains`: orphans of its subnet are searched for, and first packets have a second chance. */
static __always_inline void record_new(struct pkt *p, struct pending *set, __u64 hash, bool chains)
{
	__u32 way = choose_way(set->head, hash) & (SLR_PENDING_WAYS - 1);

	if (set->v4)
		set->v4->key[way] = p->k4;
	else if (set->v6)
		set->v6->key[way] = p->k6;
	set->head->seen[way] = p->now;
	set->head->isn[way] = p->seq;
	if (chains && p->proto == IPPROTO_UDP) {
		begin_search(p, set->head, way);
	} else if (chains) {
		if (p->frag)
			p->second = 0;
		give_second_chance(p, set->head, way);
	}
	*(volatile __u64 *)&set->head->path[way] = path_word(p);
}

/* A load whose value nobody waits for: the line is on its way while something else is done. */
#define TOUCH(at) asm volatile("" ::"r"(*(volatile __u64 *)(at)))

/* The first packet of a flow will miss in the flow table, and then need its set of pending flows: ages and paths, and the key
 * of the way that is tried first. Asked for beforehand, the cache misses overlap (measured: 60 to 110 ns of a new flow's
 * 450). Returns the hash, which the whole way needs again; 0 if there is none. */
static __always_inline __u64 foresee_v4(struct flow_key_v4 *key)
{
	struct router_config *cfg = get_config();
	struct pending_set_v4 *set;
	__u64 hash;
	__u32 n;

	if (!cfg)
		return 0;
	hash = hash_v4(key, cfg->seed, MASK_ALL);
	n = set_of(hash, cfg->pending_sets);
	set = map_lookup(&pending_v4, &n);
	if (set) {
		TOUCH(&set->head.path);
		TOUCH(&set->head.seen);
		TOUCH(&set->key[hash & (SLR_PENDING_WAYS - 1)]);
	}
	return hash;
}

static __always_inline __u64 foresee_v6(struct flow_key_v6 *key)
{
	struct router_config *cfg = get_config();
	struct pending_set_v6 *set;
	__u64 hash;
	__u32 n;

	if (!cfg)
		return 0;
	hash = hash_v6(key, cfg->seed, MASK_ALL);
	n = set_of(hash, cfg->pending_sets);
	set = map_lookup(&pending_v6, &n);
	if (set) {
		TOUCH(&set->head.path);
		TOUCH(&set->head.seen);
		TOUCH(&set->key[hash & (SLR_PENDING_WAYS - 1)]);
	}
	return hash;
}
