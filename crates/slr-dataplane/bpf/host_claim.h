/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* host_claim.h - claims: what a router searches for and this host has is told to the daemon, which tells all routers
 * (docs/wire.md, "A chain"). Only what a registered sender has marked, and only what a socket of this host wants, or what it
 * has answered. */
#pragma once

#include "host_packet.h"
#include "limit.h"

static __always_inline void count_claim(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&claim_counts, &what);

	if (n)
		(*n)++;
}

/* Was the flow claimed a moment ago? Every packet of a flow that no router knows is marked; one claim is enough. */
static __always_inline bool is_repeated(struct claim *c, __u64 now)
{
	__u64 *last = bpf_map_lookup_elem(&claimed, c);

	return last && now - *last < SLR_CLAIM_EVERY_MS * 1000000ULL;
}

static __always_inline bool may_claim(__u64 now)
{
	__u32 zero = 0;
	struct bucket *b = bpf_map_lookup_elem(&claim_bucket, &zero);

	return b && take_token(b, now, SLR_CLAIMS_PER_S, SLR_CLAIMS_BURST);
}

static __always_inline void tell(struct claim *c)
{
	__u64 now = bpf_ktime_get_ns();

	if (is_repeated(c, now)) {
		count_claim(CLAIM_REPEATED);
		return;
	}
	if (!may_claim(now)) {
		count_claim(CLAIM_LIMITED);
		return;
	}
	if (bpf_ringbuf_output(&claims, c, sizeof(*c), 0)) {
		count_claim(CLAIM_LOST);
		return;
	}
	bpf_map_update_elem(&claimed, c, &now, BPF_ANY);
	count_claim(CLAIM_TOLD);
}

/* The flow of the TCP segment or UDP datagram at `at`, whose IP header is a plain one of the family that `family` says:
 * IPPROTO_IPIP or IPPROTO_IPV6. */
static __always_inline bool flow_at(struct xdp_md *ctx, __u64 at, __u32 family, __u32 proto, struct claim *c)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__be16 *ports;

	at &= 0xff;
	if (family == IPPROTO_IPIP) {
		struct iphdr *ip = data + at;

		if ((void *)(ip + 1) + 4 > end)
			return false;
		c->client = mapped_v4(ip->saddr);
		c->vaddr = mapped_v4(ip->daddr);
		ports = (void *)(ip + 1);
	} else {
		struct ipv6hdr *ip = data + at;

		if ((void *)(ip + 1) + 4 > end)
			return false;
		__builtin_memcpy(&c->client, &ip->saddr, 16);
		__builtin_memcpy(&c->vaddr, &ip->daddr, 16);
		ports = (void *)(ip + 1);
	}
	c->client_port = ports[0];
	c->vport = ports[1];
	c->proto = proto;
	return true;
}

/* Tells of the flow of what is at `at`. */
separate int claim(struct xdp_md *ctx, __u64 at, __u32 family, __u32 proto)
{
	struct claim c;

	if (!flow_at(ctx, at, family, proto, &c))
		return 0;
	tell(&c);
	return 1;
}
