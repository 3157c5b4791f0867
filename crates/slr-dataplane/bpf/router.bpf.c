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
#include "icmp.h"

struct abi_anchor abi_anchor SEC(".data.abi");

static __always_inline void count_usage(void *map, __u32 n, __u32 bytes, bool new_flow)
{
	struct usage *u = bpf_map_lookup_elem(map, &n);

	if (u) {
		u->packets++;
		u->bytes += bytes;
		if (new_flow)
			u->flows++;
	}
}

/* Into the hop's tunnel. Returns the reason to end with: `why`, unless something is in the way. */
static __always_inline int forward(struct xdp_md *ctx, struct pkt *p, struct hop *h, int why, int *action)
{
	int err;

	if (unlikely(!(h->flags & HOP_UP)))
		return SLR_R_drop_hop_unusable;
	if (unlikely(p->len + outer_len(h) > h->mtu)) {
		err = too_big(ctx, p, h);
		if (err)
			return err;
	}
	if (unlikely(p->frag == FRAG_FIRST))
		record_fragment(p);
	err = h->flags & HOP_V6 ? push_v6(ctx, p, h) : push_v4(ctx, p, h);
	if (unlikely(err))
		return err;
	count_usage(&hop_usage, p->hop, p->len, why == SLR_R_fwd_new);
	count_usage(&subnet_usage, p->subnet, p->len, why == SLR_R_fwd_new);
	*action = h->ifindex && h->ifindex != ctx->ingress_ifindex ? bpf_redirect(h->ifindex, 0) : XDP_TX;
	return why;
}

/* A packet whose flow is not pinned, or pinned to a hop that is gone. */
static __noinline int miss(struct pkt *p)
{
	struct router_config *cfg = get_config();
	struct new_flow *nf;
	struct service *s;
	struct subnet *sn;
	__u64 hash;
	int err;

	if (!p || !cfg)
		return SLR_R_unset;
	sn = find_subnet(p);
	if (!sn)
		return SLR_R_pass_not_ours;
	nf = find_new(p);
	if (nf && hop_of_flow(&nf->flow)) {
		take_path(p, &nf->flow);
		return two_ended(p, nf) ? pin(p, cfg) : SLR_R_fwd_pending;
	}
	if (p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP)
		return sn->flags & SUBNET_PORTS ? SLR_R_pass_not_served : SLR_R_drop_protocol;
	s = find_service(p, sn);
	if (!s)
		return sn->flags & SUBNET_PORTS ? SLR_R_pass_not_served : SLR_R_drop_no_active_host;
	hash = flow_hash(p, cfg->seed, s->mask);
	if (p->proto == IPPROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) != TCP_SYN) {
		if (sn->flags & SUBNET_ORPHAN_DROP)
			return SLR_R_drop_orphan;
		err = pick(p, s, hash);
		return err ? err : SLR_R_fwd_orphan_ring;
	}
	err = pick(p, s, hash);
	if (err)
		return err;
	record_new(p);
	return SLR_R_fwd_new;
}

/* A later fragment: no ports, so only its first fragment knows. */
static __noinline int fragment(struct pkt *p)
{
	struct frag_key key;
	struct flow *f;

	if (!p)
		return SLR_R_unset;
	key = frag_key_of(p);
	f = bpf_map_lookup_elem(&frags, &key);
	if (f && hop_of_flow(f)) {
		take_path(p, f);
		return SLR_R_fwd_fragment;
	}
	return find_subnet(p) ? SLR_R_drop_fragment : SLR_R_pass_not_ours;
}

/* A packet that could not be parsed to its end: ours to drop only if it was meant for us. */
static __noinline int refuse(struct pkt *p, int reason)
{
	if (!p || !p->family || reason == SLR_R_pass_truncated)
		return SLR_R_pass_truncated;
	return find_subnet(p) ? reason : SLR_R_pass_not_ours;
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

/* A tunnel packet: if it is for us and from a registered upstream, only the datagram inside remains. */
static __noinline int strip(struct xdp_md *ctx, struct pkt *p)
{
	struct prefix_v6 from = { .len = 128 };
	struct slr_addr to;
	__u64 l2, header;
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
	if (!bpf_map_lookup_elem(&tunnel_addrs, &to))
		return 0;
	if (!bpf_map_lookup_elem(&upstreams, &from))
		return SLR_R_drop_tunnel_stranger;
	if (p->frag)
		return SLR_R_drop_tunnel_fragment;
	l2 = p->l3;
	header = (p->l4 - l2) & OFFSET_MAX;
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
	if (err) {
		err = refuse(p, err);
		return err == SLR_R_pass_not_ours || err == SLR_R_pass_truncated ? SLR_R_drop_tunnel_inner : err;
	}
	if (p->proto == IPPROTO_IPIP || p->proto == IPPROTO_IPV6)
		return SLR_R_drop_tunnel_nested;
	return find_subnet(p) ? 0 : SLR_R_drop_tunnel_inner;
}

/* The hop of a pinned flow; p holds the path. */
static __always_inline struct hop *recall(struct pkt *p)
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
	touch(p, f);
	take_path(p, f);
	return h;
}

static __always_inline int route(struct xdp_md *ctx, struct pkt *p, int *action)
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
	p->family = 0;
	why = parse_network(ctx, p, off, type);
	if (unlikely(why))
		return why == SLR_R_pass_not_ip ? why : refuse(p, why);
	if (unlikely(p->proto == IPPROTO_IPIP || p->proto == IPPROTO_IPV6)) {
		why = strip(ctx, p);
		if (why)
			return why;
	}
	p->now = now_tick();
	if (unlikely(p->frag == FRAG_LATER)) {
		why = fragment(p);
	} else if (unlikely(p->proto == IPPROTO_ICMP || p->proto == IPPROTO_ICMPV6)) {
		why = icmp(ctx, p);
	} else {
		h = recall(p);
		if (likely(h))
			return forward(ctx, p, h, SLR_R_fwd_established, action);
		why = miss(p);
	}
	if (why < SLR_R_fwd_established || why > SLR_R_fwd_echo)
		return why;
	n = p->hop;
	h = bpf_map_lookup_elem(&hops, &n);
	if (!h)
		return SLR_R_drop_hop_unusable;
	return forward(ctx, p, h, why, action);
}

#define REASON(n, name, verdict, text) [n] = SLR_##verdict,
static const __u8 verdict_of[SLR_R_NUM] = {
#include "router_reasons.def"
};
#undef REASON

/* The one place where a reason becomes a verdict, and is counted. */
static __always_inline int conclude(struct xdp_md *ctx, struct pkt *p, __u32 why, int action)
{
	__u32 key = why;
	struct counter *c = bpf_map_lookup_elem(&reasons, &key);

	if (!c || why >= SLR_R_NUM)
		return XDP_ABORTED;
	c->packets++;
	c->bytes += p->family ? p->len : (__u32)(ctx->data_end - ctx->data);
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

SEC("xdp")
int slr_router(struct xdp_md *ctx)
{
	struct pkt p;
	int action = XDP_ABORTED;
	int why = route(ctx, &p, &action);

	return conclude(ctx, &p, why, action);
}

char _license[] SEC("license") = "Dual BSD/GPL";
