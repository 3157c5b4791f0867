/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* forward.h - into a hop's tunnel, with its accounts; and the express lane, which most packets take. */
#pragma once

#include "flows.h"
#include "icmp.h"
#include "tunnel.h"

static __always_inline void add_usage(struct usage *u, __u32 bytes, bool new_flow)
{
	if (!u)
		return;
	u->packets++;
	u->bytes += bytes;
	if (new_flow)
		u->flows++;
}

static __always_inline void account(__u32 hop, __u32 subnet, __u32 bytes, bool new_flow)
{
	add_usage(map_lookup(&hop_usage, &hop), bytes, new_flow);
	add_usage(map_lookup(&subnet_usage, &subnet), bytes, new_flow);
}

static __always_inline int way_out(struct xdp_md *ctx, struct hop *h)
{
	return h->ifindex && h->ifindex != ctx->ingress_ifindex ? bpf_redirect(h->ifindex, 0) : XDP_TX;
}

/* A UDP flow that is searched for: the hop that its packet goes to first, the oldest one of its slot; the others, the current
 * host last, are then in p->older, as add_older() has them. Who is not up, of another outer family than the current host, or
 * has no room for the headers that he would get is left out; never the current host. */
separate int oldest_first(struct pkt *p)
{
	__u32 current, first, after = 0, n = 0, older, header, len;
	struct hop *h;
	__u16 v6;

	if (!p)
		return 0;
	current = first = p->hop;
	older = p->older;
	p->older = 0;
	h = map_lookup(&hops, &current);
	if (!h)
		return current;
	v6 = h->flags & HOP_V6;
	header = outer_len(h);
	len = p->len + header;
	if (len > h->mtu)
		return current; /* whose MTU the client is told */
	for (int i = 0; i < SLR_CHAIN_MAX - 1; i++, older >>= 16) {
		n = older & 0xffff;
		h = map_lookup(&hops, &n);
		if (!n || !h || (h->flags & (HOP_UP | HOP_V6)) != (HOP_UP | v6) || len + header > h->mtu)
			continue;
		after = first == current ? current << 16 : after | first;
		first = n;
		len += header;
	}
	p->older = after;
	return first;
}

/* Does the chain of this packet end at a router? Of a UDP flow the last host delivers, unless other routers are to be asked; and
 * what was searched for already ends with it too. */
static __always_inline bool is_searched_to_the_end(struct pkt *p)
{
	return p->mark == SLR_MARK_SEARCH && (p->proto == IPPROTO_TCP || p->to_end) && !(p->came & CAME_FINAL);
}

/* The header of that router. */
static __always_inline struct hop *end_of_chain(struct pkt *p, __u32 v6)
{
	if (!is_searched_to_the_end(p))
		return NULL;
	return p->to_end ? map_lookup(&search_ends, &v6) : map_lookup(&chain_ends, &v6);
}

/* A chain: headers for those that are to be tried after the first, the last one's innermost, as many as fit into `room`
 * bytes: of an orphan the hosts that had its slot before, then the router where chains end; of a new connection its slot's
 * second choice, of a UDP flow as oldest_first() has it. A relay puts its own address in as source, so that all headers are of
 * the first one's family (`v6`: HOP_V6 or 0): a host need not have an address of the other. p is then what is to be sent to
 * the first host. Returns the bytes added, or -1. */
separate int add_older(struct xdp_md *ctx, struct pkt *p, __u32 room, __u32 v6)
{
	struct cargo c = {};
	int added = 0;

	if (!p)
		return -1;
	c.entropy = p->entropy;
	c.tos = p->tos;
	for (int i = 0; i < SLR_CHAIN_MAX; i++) {
		__u32 n = !i ? !!v6 : i == 1 ? p->older >> 16 : p->older & 0xffff, header;
		struct hop *h;

		if (i) {
			h = n ? map_lookup(&hops, &n) : NULL;
			c.mark = p->mark;
		} else {
			h = end_of_chain(p, n);
			c.mark = SLR_MARK_END;
		}
		if (!h || (h->flags & (HOP_UP | HOP_V6)) != (HOP_UP | v6))
			continue;
		header = outer_len(h);
		if (header > room || p->len + header > h->mtu)
			continue;
		c.l2 = p->l3;
		c.len = p->len;
		c.proto = p->family == AF_V4 ? IPPROTO_IPIP : IPPROTO_IPV6;
		if (push(ctx, h, c))
			return -1;
		p->l3 = ETH_HLEN;
		p->len += header;
		p->family = v6 ? AF_V6 : AF_V4;
		room -= header;
		added += header;
	}
	return added;
}

/* Into the hop's tunnel. Returns the reason to end with: `why`, unless something is in the way. */
static __always_inline int forward(struct xdp_md *ctx, struct pkt *p, struct hop *h, int why, int *action)
{
	struct cargo c;
	int err, added = 0;

	if (unlikely(!(h->flags & HOP_UP)))
		return SLR_R_drop_hop_unusable;
	if (unlikely(p->len + outer_len(h) > h->mtu)) {
		err = too_big(ctx, p, h);
		if (err)
			return err;
	}
	if (unlikely(p->frag == FRAG_FIRST))
		record_fragment(p);
	if (unlikely(p->mark == SLR_MARK_SEARCH || p->mark == SLR_MARK_SECOND)) {
		added = add_older(ctx, p, h->mtu - outer_len(h) - p->len, h->flags & HOP_V6);
		if (added < 0)
			return SLR_R_drop_headroom;
	}
	c = (struct cargo){
		.l2 = p->l3,
		.len = p->len,
		.entropy = p->entropy,
		.tos = p->tos,
		.proto = p->family == AF_V4 ? IPPROTO_IPIP : IPPROTO_IPV6,
		.mark = p->mark,
	};
	err = push(ctx, h, c);
	if (unlikely(err))
		return err;
	p->len -= added;
	account(p->hop, p->subnet, p->len, why == SLR_R_fwd_new || why == SLR_R_fwd_new_chain);
	*action = way_out(ctx, h);
	return why;
}

/* The shape that nearly all packets have: no tag, no option, no extension header, no fragment, and 20 bytes from the
 * transport header on. It is handled in registers, without `struct pkt`, at two thirds of the cost. */

/* Is the transport header whole, by its own account? TCP's flags go to *flags. */
static __always_inline bool plain_l4(struct tcphdr *th, __u8 proto, __u32 room, __u8 *flags)
{
	if (proto == IPPROTO_TCP) {
		*flags = ((__u8 *)th)[13];
		return th->doff >= 5 && th->doff * 4 <= room;
	}
	if (proto == IPPROTO_UDP) {
		__u32 len = bpf_ntohs(((struct udphdr *)th)->len);

		return len >= sizeof(struct udphdr) && len <= room;
	}
	return false;
}

/* How a packet fared on the express lane. */
#define LANE_REFUSED 0 /* nothing was changed: take the whole way */
#define LANE_UNPINNED 1 /* likewise; and its flow is not in the table */
#define LANE_TAKEN 2 /* forwarded as fwd_established */

/* A pinned flow that fits its hop, on its way. */
static __always_inline int express_flow(struct xdp_md *ctx, struct flow *f, struct cargo c, __u8 tcp_flags, int *action)
{
	__u32 n, subnet;
	struct hop *h;

	if (!f)
		return LANE_UNPINNED;
	if (unlikely(f->flags & FLOW_CLOSING))
		return LANE_REFUSED;
	n = f->hop;
	h = map_lookup(&hops, &n);
	if (!h || h->gen != f->hop_gen || !(h->flags & HOP_UP) || c.len + outer_len(h) > h->mtu)
		return LANE_REFUSED;
	c.entropy = f->entropy;
	subnet = f->subnet;
	touch(f, now_s(), tcp_flags);
	if (push(ctx, h, c))
		return LANE_REFUSED; /* no headroom: adjust_head changed nothing; the whole way fails likewise, and says so */
	account(n, subnet, c.len, false);
	*action = way_out(ctx, h);
	return LANE_TAKEN;
}

/* One place on the stack for both families' keys. */
union flow_key {
	struct flow_key_v4 v4;
	struct flow_key_v6 v6;
};

static __always_inline int express_v4(struct xdp_md *ctx, union flow_key *k, void *data, void *end, __u32 *len,
				      __u64 *hash, int *action)
{
	struct cargo c = { .l2 = ETH_HLEN, .proto = IPPROTO_IPIP };
	struct iphdr *ip = data + ETH_HLEN;
	struct tcphdr *th = (void *)(ip + 1);
	struct flow_key_v4 *key = &k->v4;
	__u8 tcp_flags = 0;

	if ((void *)(th + 1) > end)
		return LANE_REFUSED;
	c.len = bpf_ntohs(ip->tot_len);
	c.tos = ip->tos;
	if (*(__u8 *)ip != 0x45 || ip->frag_off & bpf_htons(IP_MF | IP_OFFSET) || (void *)ip + c.len > end ||
	    c.len < sizeof(*ip) || !plain_l4(th, ip->protocol, c.len - sizeof(*ip), &tcp_flags))
		return LANE_REFUSED;
	key->client = ip->saddr;
	key->vaddr = ip->daddr;
	*(__be32 *)&key->client_port = *(__be32 *)&th->source; /* both ports */
	key->proto = ip->protocol;
	*len = c.len;
	if ((tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		*hash = foresee_v4(key);
	return express_flow(ctx, map_lookup(&flows_v4, key), c, tcp_flags, action);
}

static __always_inline int express_v6(struct xdp_md *ctx, union flow_key *k, void *data, void *end, __u32 *len,
				      __u64 *hash, int *action)
{
	struct cargo c = { .l2 = ETH_HLEN, .proto = IPPROTO_IPV6 };
	struct ipv6hdr *ip = data + ETH_HLEN;
	struct tcphdr *th = (void *)(ip + 1);
	struct flow_key_v6 *key = &k->v6;
	__u32 payload, head;
	__u8 tcp_flags = 0;

	if ((void *)(th + 1) > end)
		return LANE_REFUSED;
	payload = bpf_ntohs(ip->payload_len);
	head = bpf_ntohl(*(__be32 *)ip);
	c.len = payload + sizeof(*ip);
	c.tos = head >> 20;
	if (head >> 28 != 6 || (void *)ip + c.len > end || !plain_l4(th, ip->nexthdr, payload, &tcp_flags))
		return LANE_REFUSED;
	__builtin_memcpy(key->client, &ip->saddr, 16);
	__builtin_memcpy(key->vaddr, &ip->daddr, 16);
	*(__be32 *)&key->client_port = *(__be32 *)&th->source; /* both ports */
	key->proto = ip->nexthdr;
	*len = c.len;
	if ((tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		*hash = foresee_v6(key);
	return express_flow(ctx, map_lookup(&flows_v6, key), c, tcp_flags, action);
}

/* The express lane. Leaves the length of what it took, and the hash of a first packet that it did not take. */
static __always_inline int express(struct xdp_md *ctx, __u32 *len, __u64 *hash, int *action)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	union flow_key key;

	if ((void *)(eth + 1) > end || eth->h_dest[0] & 1)
		return LANE_REFUSED;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		return express_v4(ctx, &key, data, end, len, hash, action);
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return express_v6(ctx, &key, data, end, len, hash, action);
	return LANE_REFUSED;
}
