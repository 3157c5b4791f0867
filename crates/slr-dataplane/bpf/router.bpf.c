// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* router.bpf.c - the service level router's data plane.
 *
 * Contract: every packet ends with exactly one reason, counted; conclude() alone turns a reason into a verdict. A packet
 * that is not for a virtual subnet, nor a tunnel packet for us, passes to the kernel untouched. A malformed packet is
 * dropped only if its destination is ours. See ARCHITECTURE.md, "A packet's walk".
 */
#include "packet.h"
#include "router_maps.h"
#include "flows.h"
#include "place.h"
#include "tunnel.h"
#include "held.h"
#include "icmp.h"
#include "forward.h"
#include "capture.h"

struct abi_anchor abi_anchor SEC(".data.abi");

/* Is this a packet of the connection that is pending, or of a later one on the same ports? A short connection stays pending
 * (its second chance keeps it from being pinned) and leaves its path behind: the next one on its port is placed by the ring
 * of its own time; and if it began at another router, it is searched for. What goes beyond the first window is searched for
 * too, and found where it is. */
static __always_inline bool is_of_pending(struct pkt *p, __u32 isn)
{
	if (p->proto != IPPROTO_TCP)
		return true;
	return is_first_syn(p) ? p->seq == isn : p->seq - isn - 1 <= 0xffff;
}

/* A connection that begins again, or whose SYN is sent again, while its host is in doubt: the first SYN may be lost with it.
 * One that comes again within the time of a second chance was doubled by the network. */
static __always_inline bool begins_in_doubt(struct pkt *p, struct hop *h, __u64 second)
{
	return unlikely(h->flags & HOP_DOUBTED) && is_first_syn(p) && bpf_ktime_get_ns() >= (second & ~0xffffULL);
}

/* A packet of a pending flow: p holds its path. */
static __always_inline int proceed(struct pkt *p, struct pending_head *set, __u32 way, struct router_config *cfg,
				   bool chains)
{
	int why;

	set->seen[way] = p->now;
	if (p->proto == IPPROTO_UDP) {
		if (chains && is_searched(p, set, way))
			return SLR_R_fwd_pending;
	} else if (is_first_syn(p)) {
		set->isn[way] = p->seq; /* the port is used again: the next ACK continues this SYN */
		if (chains && !p->frag) {
			p->second = set->second[way];
			give_second_chance(p, set, way);
		}
	} else if (chains && has_second_chance(p, set, way)) {
		return SLR_R_fwd_pending;
	}
	if (!two_ended(p, set->isn[way]))
		return SLR_R_fwd_pending;
	why = pin(p, cfg);
	if (why == SLR_R_fwd_promoted)
		*(volatile __u64 *)&set->path[way] = 0;
	return why;
}

/* A packet whose flow is not pinned, or pinned to a hop that is gone. `hash`: of its whole key, 0 if not known yet. */
separate int miss(struct pkt *p, __u64 hash)
{
	struct router_config *cfg = get_config();
	struct subnet *sn;
	struct pending set;
	struct service s;
	struct hop *h;
	bool chains;
	__u64 path;
	__u32 way;
	int err;

	if (!p || !cfg)
		return SLR_R_unset;
	sn = find_subnet(p);
	if (!sn)
		return SLR_R_pass_not_ours;
	if (p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP)
		return unserved(sn, SLR_R_drop_protocol);
	if (!hash)
		hash = flow_hash(p, cfg->seed, MASK_ALL);
	set = find_set(p, hash, cfg->pending_sets);
	if (!set.head)
		return SLR_R_unset;
	chains = sn->flags & (p->proto == IPPROTO_TCP ? SUBNET_ORPHAN_CHAIN : SUBNET_UDP_CHAIN) && !(p->came & CAME_END);
	way = find_way(p, &set, hash);
	if (way < SLR_PENDING_WAYS) {
		path = set.head->path[way];
		h = hop_of_path(path);
		if (h && (!chains || is_of_pending(p, set.head->isn[way])) && !begins_in_doubt(p, h, set.head->second[way])) {
			take_path_word(p, path);
			if (p->came & CAME_END && p->proto == IPPROTO_UDP && set.head->isn[way])
				return SLR_R_drop_orphan_held; /* that it is searched for is all that is known */
			return proceed(p, set.head, way, cfg, chains);
		}
		/* Its host is gone or in doubt, or it is another flow: placed anew. */
		*(volatile __u64 *)&set.head->path[way] = 0;
	}
	if (is_martian(p))
		return SLR_R_drop_martian;
	if (!find_service(p, sn, &s))
		return unserved(sn, SLR_R_unset);
	if (p->proto == IPPROTO_TCP && !is_first_syn(p) && sn->flags & SUBNET_ORPHAN_DROP)
		return cfg->hold_orphans && !p->frag ? SLR_R_drop_orphan_held : SLR_R_drop_orphan; /* p->hop is none */
	p->entropy = hash;
	err = pick(p, s.ring, s.mask == MASK_ALL ? hash : flow_hash(p, cfg->seed, s.mask));
	if (err)
		return err;
	if (p->came & CAME_END)
		return SLR_R_drop_orphan_held; /* a received chain is never extended */
	if (p->proto == IPPROTO_TCP && !is_first_syn(p)) {
		if (!chains || p->frag)
			return SLR_R_fwd_orphan_ring;
		p->mark = SLR_MARK_SEARCH;
		return SLR_R_fwd_orphan_chain;
	}
	/* A search ends with a pin, wherever the flow is: it is paid for here, out of the budget of the client's prefix. */
	p->to_end = chains && p->proto == IPPROTO_UDP && sn->flags & SUBNET_UDP_SEARCH && !p->frag &&
		    !(p->came & CAME_FINAL) && has_search_end(p) && may_pin(p, cfg);
	record_new(p, &set, hash, chains);
	return p->mark == SLR_MARK_SEARCH ? SLR_R_fwd_new_chain : SLR_R_fwd_new;
}

/* A later fragment: no ports, so only its first fragment knows. */
separate int fragment(struct pkt *p)
{
	struct frag_key key;
	struct flow *f;

	if (!p)
		return SLR_R_unset;
	key = frag_key_of(p);
	f = map_lookup(&frags, &key);
	if (f && !f->hop)
		return SLR_R_pass_not_served; /* the first one went to the kernel */
	if (f && hop_of_flow(f)) {
		take_path(p, f);
		return SLR_R_fwd_fragment;
	}
	return find_subnet(p) ? SLR_R_drop_fragment : SLR_R_pass_not_ours;
}

static __always_inline int parse_network(struct xdp_md *ctx, struct pkt *p, __u64 off, __be16 type)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (type == bpf_htons(ETH_P_IP))
		return parse_v4(p, data, end, off);
	if (type == bpf_htons(ETH_P_IPV6))
		return parse_v6(ctx, p, data, end, off);
	return SLR_R_pass_not_ip;
}

/* No reason, but what strip() finds: the content is for no virtual address. */
#define NOT_VIRTUAL (-1)

/* The mark in the tunnel header of a packet whose outer addresses were parsed: SLR_MARK_*, or 0. */
separate int mark_of(struct xdp_md *ctx, struct pkt *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u8 *at;
	__u32 mark;

	if (!p)
		return 0;
	at = data + (p->l3 & 0x1f);
	if ((void *)(at + sizeof(struct iphdr)) > end)
		return 0;
	mark = p->family == AF_V4 ? bpf_ntohs(((struct iphdr *)at)->id) : at[1] & 0xfU;
	return mark <= SLR_MARK_FINAL ? mark : 0;
}

/* Who has sent a tunnel packet: CAME_* into p, or a reason to drop it. The end of a chain is believed of hosts alone, and of
 * a host nothing else. */
static __always_inline int take_sender(struct xdp_md *ctx, struct pkt *p, struct prefix_v6 *from)
{
	int mark = mark_of(ctx, p);
	__u32 *upstream;

	p->came = 0;
	if (mark == SLR_MARK_END && map_lookup(&hop_by_addr, from->addr)) {
		p->came = CAME_END;
		return 0;
	}
	upstream = map_lookup(&upstreams, from);
	if (!upstream)
		return SLR_R_drop_tunnel_stranger;
	if (*upstream == UPSTREAM_NEIGHBOUR)
		p->came = CAME_NEIGHBOUR;
	if (mark == SLR_MARK_FINAL)
		p->came |= CAME_FINAL;
	return 0;
}

/* Is this what a chain may end with: a mid-flow segment, or a datagram of a subnet whose UDP flows are asked about? */
static __always_inline bool is_orphan(struct pkt *p, struct subnet *sn)
{
	if (p->frag || !sn)
		return false;
	if (p->proto == IPPROTO_UDP)
		return sn->flags & SUBNET_UDP_SEARCH;
	return p->proto == IPPROTO_TCP && !is_first_syn(p);
}

/* A tunnel packet: if it is for us and from a registered upstream, or a chain that ends here, only the datagram inside
 * remains. */
separate int strip(struct xdp_md *ctx, struct pkt *p)
{
	struct prefix_v6 from = { .len = 128 };
	struct subnet *sn;
	struct slr_addr to;
	__u64 l2, header;
	__u32 room;
	__u8 outer_tos, proto;
	__be16 type;
	int err;

	if (!p)
		return SLR_R_unset;
	if (p->family == AF_V4) {
		to = mapped_v4(p->k4.vaddr);
		*(struct slr_addr *)from.addr = mapped_v4(p->k4.client);
	} else {
		__builtin_memcpy(&to, p->k6.vaddr, 16);
		__builtin_memcpy(from.addr, p->k6.client, 16);
	}
	if (!map_lookup(&tunnel_addrs, &to))
		return 0;
	err = take_sender(ctx, p, &from);
	if (err)
		return err;
	if (p->frag)
		return SLR_R_drop_tunnel_fragment;
	l2 = p->l3;
	header = (p->l4 - l2) & OFFSET_MAX;
	room = p->len - header;
	proto = p->proto;
	outer_tos = p->tos;
	type = proto == IPPROTO_IPIP ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	err = combine_ecn((void *)(long)ctx->data, (void *)(long)ctx->data_end, p->l4 & OFFSET_MAX, outer_tos,
			  proto == IPPROTO_IPV6);
	if (err)
		return err == SLR_R_drop_ecn ? err : SLR_R_drop_tunnel_inner;
	if (pull(ctx, l2, header, type))
		return SLR_R_drop_tunnel_inner;
	p->family = 0;
	err = parse_network(ctx, p, l2 & 0x1f, type);
	if (!err && p->len > room)
		err = SLR_R_drop_malformed_ip; /* what follows the tunnel packet in the frame is not of it */
	if (err) {
		err = refuse(p, err);
		return err == SLR_R_pass_not_ours || err == SLR_R_pass_truncated ? SLR_R_drop_tunnel_inner : err;
	}
	if (p->proto == IPPROTO_IPIP || p->proto == IPPROTO_IPV6)
		return SLR_R_drop_tunnel_nested;
	sn = find_subnet(p);
	if (p->came & CAME_END && !is_orphan(p, sn))
		return SLR_R_drop_tunnel_inner;
	return sn ? 0 : NOT_VIRTUAL;
}

/* The hop of a pinned flow; p holds the path. NULL if the packet has to be placed, or, with a reason in *why, is. */
static __always_inline struct hop *recall(struct pkt *p, __u64 hash, int *why)
{
	struct flow *f = find_flow(p);
	struct hop *h;

	if (!f)
		return NULL;
	h = hop_of_flow(f);
	if (unlikely(!h)) {
		forget_flow(p);
		return NULL;
	}
	if (unlikely(p->came & CAME_NEIGHBOUR && h->flags & HOP_NEIGHBOUR))
		return NULL; /* each of two neighbours believes that the other has it */
	if (unlikely(f->flags & FLOW_CLOSING)) {
		if (is_first_syn(p))
			return NULL;
		*why = used_again(p, hash);
		if (*why)
			return NULL;
	}
	touch(f, p->now, p->proto == IPPROTO_TCP ? p->tcp_flags : 0);
	take_path(p, f);
	return h;
}

#define REASON(n, name, verdict, text) [n] = SLR_##verdict,
static const __u8 verdict_of[SLR_R_NUM] = {
#include "router_reasons.def"
};
#undef REASON

/* The one place where a reason becomes a verdict, and is counted. */
static __always_inline int conclude(__u32 why, __u32 bytes, int action)
{
	__u32 key = why;
	struct counter *c = map_lookup(&reasons, &key);

	if (!c || why >= SLR_R_NUM)
		return XDP_ABORTED;
	c->packets++;
	c->bytes += bytes;
	switch (verdict_of[why]) {
	case SLR_FORWARD:
		return action;
	case SLR_REPLY:
		return XDP_TX;
	case SLR_PASS:
		return XDP_PASS;
	default:
		return XDP_DROP;
	}
}

static __always_inline int decide(struct xdp_md *ctx, struct pkt *p, bool unpinned, __u64 hash, int *action)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct hop *h;
	__be16 type;
	__u32 n;
	__u64 off;
	int why;

	off = parse_link(data, end, &type);
	if (!off)
		return SLR_R_pass_truncated;
	if (((struct ethhdr *)data)->h_dest[0] & 1)
		return SLR_R_pass_group; /* a router forwards no unicast out of a link broadcast: RFC 1812 5.3.4 */
	why = parse_network(ctx, p, off, type);
	if (unlikely(why))
		return why == SLR_R_pass_not_ip ? why : refuse(p, why);
	if (unlikely(p->proto == IPPROTO_IPIP || p->proto == IPPROTO_IPV6)) {
		why = strip(ctx, p);
		if (why == NOT_VIRTUAL)
			why = answer_keepalive(ctx, p); /* not called there: the stack has no room for it below strip() */
		if (why)
			return why;
	}
	p->now = now_s();
	if (unlikely(p->frag == FRAG_LATER)) {
		why = fragment(p);
	} else if (unlikely(p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6)) {
		why = icmp(ctx, p);
	} else {
		h = unpinned ? NULL : recall(p, hash, &why);
		if (h && likely(!(p->came & CAME_END)))
			return forward(ctx, p, h, SLR_R_fwd_established, action);
		if (h)
			why = SLR_R_fwd_established;
		else if (!why)
			why = miss(p, hash);
	}
	if (unlikely(why == SLR_R_drop_orphan_held))
		why = hold(ctx, p);
	if (unlikely(p->came & CAME_END)) {
		if (why >= SLR_R_fwd_established && why <= SLR_R_fwd_echo)
			why = SLR_R_fwd_chain_end;
		p->mark = SLR_MARK_FINAL;
	}
	if (why == SLR_R_pass_not_served && p->frag == FRAG_FIRST) {
		p->hop = 0; /* the fragments that follow are the kernel's too */
		record_fragment(p);
	}
	if ((why < SLR_R_fwd_established || why > SLR_R_fwd_echo) && why != SLR_R_fwd_orphan_chain &&
	    why != SLR_R_fwd_new_chain && why != SLR_R_fwd_chain_end && why != SLR_R_fwd_search_limit)
		return why;
	n = p->hop;
	if (unlikely(p->mark == SLR_MARK_SEARCH && p->proto == IPPROTO_UDP))
		n = p->first = oldest_first(p);
	h = map_lookup(&hops, &n);
	if (!h)
		return SLR_R_drop_hop_unusable;
	return forward(ctx, p, h, why, action);
}

/* Bytes that a packet counts with. What is no datagram counts as the frame that came, with the tunnel header that strip() took off.
 * Measured at the end: kept until there, the frame's length would be eight bytes of stack too many (kernel 6.1 rounds each
 * function's up to 32). */
static __always_inline __u32 counted_len(struct xdp_md *ctx, struct pkt *p)
{
	return p->family ? p->len : ctx->data_end - ctx->data + (p->l4 - p->l3);
}

/* The whole way, for every shape of packet. `unpinned`: the flow table was asked already; `hash` as in miss(). */
separate int route(struct xdp_md *ctx, int unpinned, __u64 hash)
{
	int action = XDP_ABORTED, why;
	struct pkt p = {};

	why = decide(ctx, &p, unpinned, hash, &action);
	return conclude(why, counted_len(ctx, &p), action);
}

SEC("xdp")
int slr_router(struct xdp_md *ctx)
{
	int action = XDP_ABORTED, lane;
	__u32 len = 0;
	__u64 hash = 0;

	lane = express(ctx, &len, &hash, &action);
	if (likely(lane == LANE_TAKEN))
		return conclude(SLR_R_fwd_established, len, action);
	return route(ctx, lane == LANE_UNPINNED, hash);
}

/* What became of a packet, for whoever captures. */
static __always_inline void note_decision(struct pkt *p, __u32 why, int action)
{
	struct capture_note *note = capture_note();
	__u32 hop = p->first ? p->first : p->hop;
	struct hop *h;

	if (!note)
		return;
	note->record.reason = why;
	note->record.hop = hop;
	note->record.out_ifindex = note->record.ifindex;
	note_frame();
	if (action != XDP_REDIRECT)
		return;
	h = map_lookup(&hops, &hop);
	if (h)
		note->record.out_ifindex = h->ifindex;
}

/* route(), noting what becomes of the packet. */
separate int route_noted(struct xdp_md *ctx, int unpinned, __u64 hash)
{
	int action = XDP_ABORTED, why;
	struct pkt p = {};

	why = decide(ctx, &p, unpinned, hash, &action);
	action = conclude(why, counted_len(ctx, &p), action);
	note_decision(&p, why, action);
	return action;
}

/* Attached while somebody captures. A packet that is looked at takes the whole way, which knows more of it. */
SEC("xdp")
int slr_router_capture(struct xdp_md *ctx)
{
	int action = XDP_ABORTED, lane;
	__u32 len = 0;
	__u64 hash = 0;

	if (unlikely(is_chosen()) && capture_before(ctx, SLR_CAPTURE_SNAP)) {
		action = route_noted(ctx, false, 0);
		capture_after(ctx, action);
		return action;
	}
	lane = express(ctx, &len, &hash, &action);
	if (likely(lane == LANE_TAKEN))
		return conclude(SLR_R_fwd_established, len, action);
	return route_noted(ctx, lane == LANE_UNPINNED, hash);
}

char _license[] SEC("license") = "Dual BSD/GPL";
