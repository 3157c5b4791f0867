/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* keepalive.h - a router asks through the tunnel whether its end is there: the question recognised, and turned round. Both
 * programs answer alike, straight back from here, so that neither an overloaded node nor a restarting daemon looks dead. A
 * request may be padded to probe the tunnel's MTU; the reply is always short, for it takes another way. */
#pragma once

#include "frame.h"

struct keepalive_datagram {
	struct udphdr udp;
	struct keepalive body;
} __attribute__((packed));

/* Is there a request at `off`, in a datagram that ends at `limit`? */
static __always_inline bool is_request(void *data, void *end, __u64 off, __u64 limit)
{
	struct keepalive_datagram *d = data + off;

	if ((void *)(d + 1) > end || off + sizeof(*d) > limit || bpf_ntohs(d->udp.len) < sizeof(*d) ||
	    off + bpf_ntohs(d->udp.len) > limit)
		return false;
	return d->body.magic == bpf_htonl(SLR_KEEPALIVE_MAGIC) && d->body.version == SLR_KEEPALIVE_VERSION &&
	       d->body.kind == SLR_KEEPALIVE_REQUEST;
}

/* Turn the datagram round. `sum` is that of the pseudo-header's addresses, the same both ways. */
static __always_inline void turn_udp(struct keepalive_datagram *d, __u32 sum)
{
	__be16 port = d->udp.source;
	__u16 *word = (__u16 *)d;

	d->udp.source = d->udp.dest;
	d->udp.dest = port;
	d->udp.len = bpf_htons(sizeof(*d));
	d->udp.check = 0;
	d->body.kind = SLR_KEEPALIVE_REPLY;
	sum += bpf_htons(IPPROTO_UDP) + d->udp.len;
	for (__u32 i = 0; i < sizeof(*d) / 2; i++)
		sum += word[i];
	d->udp.check = csum_fold(sum);
	if (!d->udp.check)
		d->udp.check = 0xffff; /* RFC 768: 0 would say "none", which IPv6 forbids */
}

static __always_inline __u32 sum_words(const void *from, __u32 words)
{
	const __u16 *word = from;
	__u32 sum = 0;

	for (__u32 i = 0; i < words; i++)
		sum += word[i];
	return sum;
}

static __always_inline int turn_v4(struct xdp_md *ctx, __u64 l3)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + l3;
	struct keepalive_datagram *d = (void *)(ip + 1);
	__be32 addr;

	if ((void *)(d + 1) > end)
		return -1;
	addr = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = addr;
	ip->tos = 0;
	ip->tot_len = bpf_htons(sizeof(*ip) + sizeof(*d));
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000); /* DF: an atomic datagram needs no id (RFC 6864) */
	ip->ttl = SLR_TTL;
	ip->check = 0;
	ip->check = header_csum(ip);
	turn_udp(d, sum_words(&ip->saddr, 4));
	return 0;
}

static __always_inline int turn_v6(struct xdp_md *ctx, __u64 l3)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipv6hdr *ip = data + l3;
	struct keepalive_datagram *d = (void *)(ip + 1);
	struct in6_addr addr;

	if ((void *)(d + 1) > end)
		return -1;
	addr = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = addr;
	*(__be32 *)ip = bpf_htonl(0x60000000);
	ip->payload_len = bpf_htons(sizeof(*d));
	ip->hop_limit = SLR_TTL;
	turn_udp(d, sum_words(&ip->saddr, 16));
	return 0;
}

static __always_inline __u32 reply_len(bool v6)
{
	return (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) + sizeof(struct keepalive_datagram);
}

/* The request at `l3`, its tunnel header taken off, becomes the reply and the end of the frame. */
static __always_inline int turn_round(struct xdp_md *ctx, __u64 l3, bool v6)
{
	if ((v6 ? turn_v6(ctx, l3) : turn_v4(ctx, l3)) || swap_macs(ctx))
		return -1;
	return bpf_xdp_adjust_tail(ctx, (int)(l3 + reply_len(v6)) - (int)bpf_xdp_get_buff_len(ctx));
}
