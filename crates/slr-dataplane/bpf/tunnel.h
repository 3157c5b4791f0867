/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* tunnel.h - outer headers on and off. IP in IP: RFC 2003 (4 in 4), RFC 2473 (x in 6), RFC 4213 (6 in 4); ECN: RFC 6040.
 * The outer header has DF: nothing of ours is ever fragmented on the way. */
#pragma once

#include "packet.h"
#include "router_maps.h"

static __always_inline __u8 inner_proto(struct pkt *p)
{
	return p->family == AF_V4 ? IPPROTO_IPIP : IPPROTO_IPV6;
}

static __always_inline __u32 outer_len(struct hop *h)
{
	return h->flags & HOP_V6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
}

static __always_inline int push_v4(struct xdp_md *ctx, struct pkt *p, struct hop *h)
{
	__be16 vary = bpf_htons(p->entropy) & h->src_mask;
	__u8 proto = inner_proto(p);
	__u32 sum = h->v4.csum;
	struct iphdr *ip;
	void *data, *end;

	if (bpf_xdp_adjust_head(ctx, (int)p->l3 - (int)(ETH_HLEN + sizeof(*ip))))
		return SLR_R_drop_headroom;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	ip = data + ETH_HLEN;
	if ((void *)(ip + 1) > end)
		return SLR_R_drop_headroom;
	__builtin_memcpy(data, h->eth, ETH_HLEN);
	*(__u16 *)ip = bpf_htons(0x4500 | p->tos);
	ip->tot_len = bpf_htons(p->len + sizeof(*ip));
	ip->id = 0; /* RFC 6864 4.1: atomic datagram */
	ip->frag_off = bpf_htons(IP_DF);
	ip->ttl = SLR_TTL;
	ip->protocol = proto;
	ip->saddr = h->v4.src | (__u32)vary << 16;
	ip->daddr = h->v4.dst;
	sum += *(__u16 *)ip;
	sum += ip->tot_len;
	sum += bpf_htons(SLR_TTL << 8 | proto);
	sum += vary;
	ip->check = csum_fold(sum);
	return 0;
}

static __always_inline int push_v6(struct xdp_md *ctx, struct pkt *p, struct hop *h)
{
	struct ipv6hdr *ip;
	void *data, *end;

	if (bpf_xdp_adjust_head(ctx, (int)p->l3 - (int)(ETH_HLEN + sizeof(*ip))))
		return SLR_R_drop_headroom;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	ip = data + ETH_HLEN;
	if ((void *)(ip + 1) > end)
		return SLR_R_drop_headroom;
	__builtin_memcpy(data, h->eth, ETH_HLEN);
	/* Flow label from the flow's entropy (RFC 6438): paths that hash on it see flows apart. */
	*(__be32 *)ip = bpf_htonl(0x60000000 | (__u32)p->tos << 20 | p->entropy);
	ip->payload_len = bpf_htons(p->len);
	ip->nexthdr = inner_proto(p);
	ip->hop_limit = SLR_TTL;
	__builtin_memcpy(&ip->saddr, h->v6.src, 16);
	ip->saddr.in6_u.u6_addr16[7] |= bpf_htons(p->entropy) & h->src_mask;
	__builtin_memcpy(&ip->daddr, h->v6.dst, 16);
	return 0;
}
