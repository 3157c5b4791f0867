/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* flows.h - the memory of flows: pinned, pending, fragments. A flow is first pending; a second packet that shows a second
 * end earns it a pin, at a bounded rate per client prefix. */
#pragma once

#include "limit.h"
#include "packet.h"
#include "pending.h"
#include "router_maps.h"

static __always_inline struct flow *find_flow(struct pkt *p)
{
	if (p->family == AF_V4)
		return map_lookup(&flows_v4, &p->k4);
	return map_lookup(&flows_v6, &p->k6);
}

/* The hop a recorded flow points to, if that host still is who it was. It may be out of reach for the moment: that does
 * not un-pin; a new generation (another host on this index, or this one went down) does. */
static __always_inline struct hop *hop_of_flow(struct flow *f)
{
	__u32 n = f->hop;
	struct hop *h = map_lookup(&hops, &n);

	return h && h->gen == f->hop_gen ? h : NULL;
}

static __always_inline void take_path(struct pkt *p, struct flow *f)
{
	p->hop = f->hop;
	p->hop_gen = f->hop_gen;
	p->entropy = f->entropy;
	p->subnet = f->subnet;
}

separate int count_pin(__u32 what)
{
	__u64 *count = bpf_map_lookup_elem(&new_pin_counts, &what);

	if (count)
		(*count)++;
	return 0;
}

/* A hit writes at most a coarse age and, once each, the flags. `tcp_flags` is 0 for what is not TCP. */
static __always_inline void touch(struct flow *f, __u32 now, __u8 tcp_flags)
{
	if (unlikely(f->seen != now)) {
		f->seen = now;
		if ((f->flags & (FLOW_MIRRORED | FLOW_REFRESHED)) == FLOW_MIRRORED)
			count_pin(NEW_PIN_CARRIED_ON);
		f->flags |= FLOW_REFRESHED;
	}
	if (unlikely(tcp_flags & (TCP_FIN | TCP_RST)))
		f->flags |= FLOW_CLOSING;
}

static __always_inline struct flow path_of(struct pkt *p)
{
	return (struct flow){
		.hop = p->hop,
		.hop_gen = p->hop_gen,
		.subnet = p->subnet,
		.entropy = p->entropy,
		.seen = p->now,
		.flags = p->flow_flags,
	};
}

static __always_inline void forget_flow(struct pkt *p)
{
	if (p->family == AF_V4)
		bpf_map_delete_elem(&flows_v4, &p->k4);
	else
		bpf_map_delete_elem(&flows_v6, &p->k6);
}

/* Has the client heard from a server? For TCP: an ACK whose sequence number continues the SYN that we saw, within the
 * first window. For UDP nothing better than a second packet exists. */
static __always_inline bool two_ended(struct pkt *p, __u32 isn)
{
	if (p->proto != IPPROTO_TCP)
		return true;
	if ((p->tcp_flags & (TCP_SYN | TCP_RST | TCP_ACK)) != TCP_ACK)
		return false;
	return p->seq - isn - 1 <= 0xffff;
}

/* One token of the client prefix's budget (IPv4 /24, IPv6 /48) in one of the tables of budgets. */
static __always_inline bool take_of_prefix(void *budgets, struct pkt *p, __u32 per_s, __u32 burst)
{
	__u64 now_ns = bpf_ktime_get_ns();
	struct bucket_key key = {};
	struct bucket *b;

	key.family = p->family;
	if (p->family == AF_V4) {
		key.prefix[0] = p->k4.client & bpf_htonl(0xffffff00);
	} else {
		key.prefix[0] = p->k6.client[0];
		key.prefix[1] = p->k6.client[1] & bpf_htonl(0xffff0000);
	}
	b = map_lookup(budgets, &key);
	if (!b) {
		struct bucket fresh = { .stamp_ns = now_ns, .credit = (burst - 1) * TOKEN };

		bpf_map_update_elem(budgets, &key, &fresh, BPF_ANY);
		return burst > 0;
	}
	return take_token(b, now_ns, per_s, burst);
}

separate int may_pin(struct pkt *p, struct router_config *cfg)
{
	if (!p || !cfg)
		return false;
	return take_of_prefix(&buckets, p, cfg->promote_per_s, cfg->promote_burst);
}

/* Can other routers be asked about a flow whose slot's host is p's: does this router end chains of that host's outer family? */
separate int has_search_end(struct pkt *p)
{
	struct hop *h, *end;
	__u32 n;

	if (!p)
		return false;
	n = p->hop;
	h = map_lookup(&hops, &n);
	if (!h)
		return false;
	n = !!(h->flags & HOP_V6);
	end = map_lookup(&search_ends, &n);
	return end && end->flags & HOP_UP;
}

/* When little can be held yet: one of the client prefix's own. */
separate int may_hold(struct pkt *p)
{
	if (!p)
		return false;
	return take_of_prefix(&held_buckets, p, SLR_HELD_PREFIX_PER_S, SLR_HELD_PREFIX_BURST);
}

/* Pins p's flow to p's path. `mode`: what of a pin that is there, BPF_NOEXIST or BPF_ANY. On its own, with the key on its stack:
 * kernel 6.1 takes no key out of memory that came as an argument. */
separate int remember(struct pkt *p, __u64 mode)
{
	union {
		struct flow_key_v4 v4;
		struct flow_key_v6 v6;
	} key;
	struct flow f;

	if (!p)
		return 0;
	f = path_of(p);
	if (p->family == AF_V4) {
		key.v4 = p->k4;
		return bpf_map_update_elem(&flows_v4, &key.v4, &f, mode);
	}
	key.v6 = p->k6;
	return bpf_map_update_elem(&flows_v6, &key.v6, &f, mode);
}

/* Tells the daemon of a pin that was made just now. The record is written where it is read: the stack has no room for it. */
separate int tell_pin(struct pkt *p)
{
	struct new_pin *n;
	__u32 what = NEW_PIN_LOST;

	if (!p)
		return 0;
	n = bpf_ringbuf_reserve(&new_pins, sizeof(*n), 0);
	if (n) {
		what = NEW_PIN_TOLD;
		n->hop = p->hop;
		n->hop_gen = p->hop_gen;
		n->subnet = p->subnet;
		n->proto = p->proto;
		if (p->family == AF_V4) {
			n->client = mapped_v4(p->k4.client);
			n->vaddr = mapped_v4(p->k4.vaddr);
			n->client_port = p->k4.client_port;
			n->vport = p->k4.vport;
		} else {
			__builtin_memcpy(&n->client, p->k6.client, 16);
			__builtin_memcpy(&n->vaddr, p->k6.vaddr, 16);
			n->client_port = p->k6.client_port;
			n->vport = p->k6.vport;
		}
		bpf_ringbuf_submit(n, BPF_RB_NO_WAKEUP);
	}
	return count_pin(what);
}

static __always_inline int pin(struct pkt *p, struct router_config *cfg)
{
	long err;

	if (!may_pin(p, cfg))
		return SLR_R_fwd_rate_limited;
	err = remember(p, BPF_NOEXIST);
	if (err && err != -17 /* EEXIST: another CPU was first */)
		return SLR_R_fwd_table_full;
	if (!err && cfg->tell_pins)
		tell_pin(p);
	return SLR_R_fwd_promoted;
}

static __always_inline struct frag_key frag_key_of(struct pkt *p)
{
	struct frag_key key = { .id = p->frag_id };

	if (p->family == AF_V4) {
		key.src = mapped_v4(p->k4.client);
		key.dst = mapped_v4(p->k4.vaddr);
		key.proto = p->k4.proto; /* RFC 791: part of the identity; IPv6 has none (RFC 8200 4.5) */
	} else {
		__builtin_memcpy(&key.src, p->k6.client, 16);
		__builtin_memcpy(&key.dst, p->k6.vaddr, 16);
	}
	return key;
}

/* The client has ended this pinned flow, and may use its port again. Its SYN is placed as any other, beside the pin; the pin
 * goes over to where it went only when an ACK continues that SYN. So a host that takes no new flows gets none in the guise
 * of an old one, and a SYN alone moves nothing. Whoever sends FIN, SYN and ACK in the client's name can move a flow whose
 * slot has another owner by now: the server's numbers, which would tell, do not pass here. 0: the packet is the old
 * connection's. */
separate int used_again(struct pkt *p, __u64 hash)
{
	struct router_config *cfg = get_config();
	struct pending set;
	__u64 path;
	__u32 way;

	if (!p || !cfg)
		return 0;
	if (!hash)
		hash = flow_hash(p, cfg->seed, MASK_ALL);
	set = find_set(p, hash, cfg->pending_sets);
	if (!set.head)
		return 0;
	way = find_way(p, &set, hash);
	if (way >= SLR_PENDING_WAYS)
		return 0;
	path = set.head->path[way];
	if (!hop_of_path(path) || !two_ended(p, set.head->isn[way]))
		return 0;
	take_path_word(p, path);
	if (has_second_chance(p, set.head, way))
		return SLR_R_fwd_pending;
	if (remember(p, BPF_ANY))
		return SLR_R_fwd_table_full; /* still pending: its next packet tries again */
	*(volatile __u64 *)&set.head->path[way] = 0;
	if (cfg->tell_pins)
		tell_pin(p);
	return SLR_R_fwd_promoted;
}

separate int record_fragment(struct pkt *p)
{
	struct frag_key key;
	struct flow f;

	if (!p)
		return SLR_R_unset;
	key = frag_key_of(p);
	f = path_of(p);
	return bpf_map_update_elem(&frags, &key, &f, BPF_ANY);
}
