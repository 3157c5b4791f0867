/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* held.h - packets that the daemon gets: orphans that no host of their slot has, and datagrams of flows that others are asked about. */
#pragma once

#include "flows.h"
#include "limit.h"
#include "router_maps.h"

/* Does the daemon read what is held? What is given to one that is gone is lost, and UDP does not send again: it is given for
 * SLR_UNREAD_MS, and then goes where the ring points. */
separate int is_read(__u64 now_ns)
{
	__u64 position = bpf_ringbuf_query(&held, BPF_RB_CONS_POS);
	__u32 zero = 0;
	struct reading *r = map_lookup(&held_reading, &zero);

	if (!r)
		return false;
	if (position != r->position || !bpf_ringbuf_query(&held, BPF_RB_AVAIL_DATA)) {
		r->position = position;
		r->since_ns = now_ns;
		return true;
	}
	return now_ns - r->since_ns < SLR_UNREAD_MS * 1000000ULL;
}

/* Gives the daemon a packet that no host of its slot has. p holds where the ring points. Returns the reason to end with. */
separate int hold(struct xdp_md *ctx, struct pkt *p)
{
	__u32 zero = 0, len, limited = SLR_R_drop_orphan_limit, per_s = SLR_HELD_PER_S, burst = SLR_HELD_BURST;
	__u64 now_ns = bpf_ktime_get_ns();
	struct bucket *b;
	struct held *h;
	long loaded;
	bool read;

	if (!p)
		return SLR_R_unset;
	read = is_read(now_ns); /* whatever is given from now on is unread since now, segments too */
	if (p->proto == IPPROTO_UDP) {
		limited = SLR_R_fwd_search_limit;
		b = map_lookup(&held_udp_bucket, &zero);
		if (!read)
			return limited;
	} else if (!p->hop) {
		b = map_lookup(&kept_bucket, &zero);
		per_s = SLR_KEPT_PER_S;
		burst = SLR_KEPT_BURST;
	} else {
		b = map_lookup(&held_bucket, &zero);
	}
	if (!b)
		return SLR_R_unset;
	len = p->len;
	if (len < 1 || len > SLR_HELD_LEN_MAX)
		return limited;
	/* One half is anybody's. The other is for prefixes within their own budget: one that floods leaves it to the others. */
	if (b->credit < burst / 2 * TOKEN && !may_hold(p))
		return limited;
	if (!take_token(b, now_ns, per_s, burst))
		return limited;
	/* The kernel wants constants. */
	if (len <= SLR_HELD_LEN_USUAL) {
		h = bpf_ringbuf_reserve(&held, sizeof(*h) + SLR_HELD_LEN_USUAL, 0);
		loaded = h ? load_bytes(ctx, p->l3 & 0x1f, h + 1, len, SLR_HELD_LEN_USUAL) : 0;
	} else {
		h = bpf_ringbuf_reserve(&held, sizeof(*h) + SLR_HELD_LEN_MAX, 0);
		loaded = h ? load_bytes(ctx, p->l3 & 0x1f, h + 1, len, SLR_HELD_LEN_MAX) : 0;
	}
	if (!h)
		return limited;
	h->hop = p->hop;
	h->hop_gen = p->hop_gen;
	h->subnet = p->subnet;
	h->entropy = p->entropy;
	h->family = p->family;
	h->len = len;
	if (loaded) {
		bpf_ringbuf_discard(h, 0);
		return SLR_R_drop_tunnel_inner;
	}
	bpf_ringbuf_submit(h, 0);
	return SLR_R_drop_orphan_held;
}
