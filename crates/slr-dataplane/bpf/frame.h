/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* frame.h - what both programs do to a frame around the datagram: find the link header's end, take a tunnel header out,
 * carry its congestion mark over. */
#pragma once

#include "base.h"

#define ECN_MASK 3
#define ECN_ECT1 1
#define ECN_ECT0 2
#define ECN_CE 3

static __always_inline bool is_vlan(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/* Offset of the network header and its type; 0 if the frame ends before. */
static __always_inline __u64 parse_link(void *data, void *end, __be16 *type)
{
	struct ethhdr *eth = data;
	__u64 off = sizeof(*eth);

	if ((void *)(eth + 1) > end)
		return 0;
	*type = eth->h_proto;
	for (int i = 0; i < SLR_VLAN_TAGS_MAX && is_vlan(*type); i++) {
		__be16 *tag = data + off;

		if ((void *)(tag + 2) > end)
			return 0;
		*type = tag[1];
		off += 4;
	}
	return off;
}

/* The datagram's ECN field once the outer header is off (RFC 6040, figure 4): congestion experienced wins, ECT(1) wins over
 * ECT(0) (RFC 9331 has use for it), and a datagram that cannot carry a mark loses against one. -1: drop. */
static __always_inline int ecn_after(__u8 outer, __u8 inner)
{
	if (outer == ECN_CE)
		return inner ? ECN_CE : -1;
	return outer == ECN_ECT1 && inner == ECN_ECT0 ? ECN_ECT1 : inner;
}

/* Put the mark of a removed header onto the datagram at `off`. */
static __always_inline int combine_ecn(void *data, void *end, __u64 off, __u8 outer_tos, bool v6)
{
	__u8 outer = outer_tos & ECN_MASK;
	int ecn;

	if (likely(outer == 0 || outer == ECN_ECT0))
		return 0;
	if (v6) {
		__be16 *word = data + off;

		if ((void *)(word + 1) > end)
			return SLR_R_pass_truncated;
		ecn = ecn_after(outer, bpf_ntohs(*word) >> 4 & ECN_MASK);
		if (ecn < 0)
			return SLR_R_drop_ecn;
		*word = (*word & ~bpf_htons(ECN_MASK << 4)) | bpf_htons(ecn << 4);
	} else {
		struct iphdr *ip = data + off;
		__be16 *word = data + off, before;

		if ((void *)(ip + 1) > end)
			return SLR_R_pass_truncated;
		ecn = ecn_after(outer, ip->tos & ECN_MASK);
		if (ecn < 0)
			return SLR_R_drop_ecn;
		before = *word;
		ip->tos = (ip->tos & ~ECN_MASK) | ecn;
		ip->check = csum_replace(ip->check, before, *word);
	}
	return 0;
}

/* Remove `len` bytes between the link header and what follows; the link header moves up, with `type` as its new type. */
static __always_inline int pull(struct xdp_md *ctx, __u64 l2, __u64 len, __be16 type)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 first;
	__u32 second, tags[2];

	/* Whole words, which any architecture that XDP runs on loads unaligned: a memcpy would go byte by byte. */
	if (data + 22 > end)
		return -1;
	first = *(__u64 *)data;
	second = *(__u32 *)(data + 8);
	tags[0] = *(__u32 *)(data + 12);
	tags[1] = *(__u32 *)(data + 16);
	if (bpf_xdp_adjust_head(ctx, len))
		return -1;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + 22 > end)
		return -1;
	*(__u64 *)data = first;
	*(__u32 *)(data + 8) = second;
	if (l2 == 22) {
		*(__u32 *)(data + 12) = tags[0];
		*(__u32 *)(data + 16) = tags[1];
		*(__be16 *)(data + 20) = type;
	} else if (l2 == 18) {
		*(__u32 *)(data + 12) = tags[0];
		*(__be16 *)(data + 16) = type;
	} else {
		*(__be16 *)(data + 12) = type;
	}
	return 0;
}

static __always_inline int swap_macs(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 to, from;
	__u16 to_rest, from_rest;

	if (data + ETH_HLEN > end)
		return -1;
	to = *(__u32 *)data;
	to_rest = *(__u16 *)(data + 4);
	from = *(__u32 *)(data + 6);
	from_rest = *(__u16 *)(data + 10);
	*(__u32 *)data = from;
	*(__u16 *)(data + 4) = from_rest;
	*(__u32 *)(data + 6) = to;
	*(__u16 *)(data + 10) = to_rest;
	return 0;
}

/* Checksum of an IPv4 header without options, whose checksum field is 0. */
static __always_inline __u16 header_csum(struct iphdr *ip)
{
	__u16 *word = (__u16 *)ip;
	__u32 sum = 0;

	for (int i = 0; i < 10; i++)
		sum += word[i];
	return csum_fold(sum);
}
