/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* tunnel.h - outer headers on and off. IP in IP: RFC 2003 (4 in 4), RFC 2473 (x in 6), RFC 4213 (6 in 4); ECN: RFC 6040.
 * The outer header has DF: nothing of ours is ever fragmented on the way. */
#pragma once

#include "packet.h"
#include "router_maps.h"

/* What goes into a tunnel. Small and passed by value: inlined, it lives in registers. */
struct cargo {
	__u64 l2; /* length of the link header in front of the datagram */
	__u32 len; /* of the datagram */
	__u16 entropy;
	__u8 tos;
	__u8 proto; /* the outer header's: IPPROTO_IPIP or IPPROTO_IPV6 */
	__u8 mark; /* SLR_MARK_*, or 0 */
};

static __always_inline __u32 outer_len(struct hop *h)
{
	return h->flags & HOP_V6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
}

/* Words, not memcpy: clang cannot assume an alignment in packets and would copy byte by byte. */
static __always_inline void put_eth(void *data, struct hop *h)
{
	*(__u64 *)data = *(__u64 *)h->eth;
	*(__u32 *)(data + 8) = *(__u32 *)(h->eth + 8);
	*(__u16 *)(data + 12) = *(__u16 *)(h->eth + 12);
}

static __always_inline int push_v4(struct xdp_md *ctx, struct hop *h, struct cargo c)
{
	__be16 vary = bpf_htons(c.entropy) & h->src_mask;
	__be16 head = bpf_htons(0x4500 | c.tos), len = bpf_htons(c.len + sizeof(struct iphdr));
	__be16 ttl_proto = bpf_htons(SLR_TTL << 8 | c.proto);
	__u32 sum = h->v4.csum + head + len + ttl_proto + vary + bpf_htons(c.mark);
	struct iphdr *ip;
	void *data, *end;

	if (bpf_xdp_adjust_head(ctx, (int)c.l2 - (int)(ETH_HLEN + sizeof(*ip))))
		return SLR_R_drop_headroom;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	ip = data + ETH_HLEN;
	if ((void *)(ip + 1) > end)
		return SLR_R_drop_headroom;
	put_eth(data, h);
	*(__be16 *)ip = head;
	ip->tot_len = len;
	*(__be32 *)&ip->id = bpf_htonl((__u32)c.mark << 16 | IP_DF); /* an atomic datagram's id means nothing: RFC 6864 4.1 */
	*(__be16 *)&ip->ttl = ttl_proto;
	ip->check = csum_fold(sum);
	ip->saddr = h->v4.src | (__u32)vary << 16;
	ip->daddr = h->v4.dst;
	return 0;
}

static __always_inline int push_v6(struct xdp_md *ctx, struct hop *h, struct cargo c)
{
	struct ipv6hdr *ip;
	void *data, *end;

	if (bpf_xdp_adjust_head(ctx, (int)c.l2 - (int)(ETH_HLEN + sizeof(*ip))))
		return SLR_R_drop_headroom;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	ip = data + ETH_HLEN;
	if ((void *)(ip + 1) > end)
		return SLR_R_drop_headroom;
	put_eth(data, h);
	/* Flow label from the flow's entropy (RFC 6438): paths that hash on it see flows apart. */
	*(__be32 *)ip = bpf_htonl(0x60000000 | (__u32)c.tos << 20 | (__u32)c.mark << 16 | c.entropy);
	*(__be32 *)&ip->payload_len = bpf_htonl(c.len << 16 | (__u32)c.proto << 8 | SLR_TTL);
	((__be32 *)&ip->saddr)[0] = h->v6.src[0];
	((__be32 *)&ip->saddr)[1] = h->v6.src[1];
	((__be32 *)&ip->saddr)[2] = h->v6.src[2];
	((__be32 *)&ip->saddr)[3] = h->v6.src[3] | (__u32)(bpf_htons(c.entropy) & h->src_mask) << 16;
	((__be32 *)&ip->daddr)[0] = h->v6.dst[0];
	((__be32 *)&ip->daddr)[1] = h->v6.dst[1];
	((__be32 *)&ip->daddr)[2] = h->v6.dst[2];
	((__be32 *)&ip->daddr)[3] = h->v6.dst[3];
	return 0;
}

static __always_inline int push(struct xdp_md *ctx, struct hop *h, struct cargo c)
{
	return h->flags & HOP_V6 ? push_v6(ctx, h, c) : push_v4(ctx, h, c);
}
