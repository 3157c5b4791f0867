/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* answer.h - what the router says itself. In the virtual address's name: echo replies, and the right MTU to whoever sent a
 * datagram that does not fit, at a bounded rate. In its own: that it is there, to routers above that ask. */
#pragma once

#include "flows.h"
#include "keepalive.h"
#include "place.h"
#include "tunnel.h"

#define QUOTE_V4 504 /* with the ICMP header 512 bytes: one bpf_csum_diff, and within the 576 of RFC 1812 4.3.2.3 */
#define QUOTE_V6 1016 /* two of them, and within the 1,280 of RFC 4443 2.4 (c) */
#define V6_MTU_MIN 1280

static __always_inline bool icmp_allowed(void)
{
	struct router_config *cfg = get_config();
	__u32 zero = 0;
	struct bucket *b = map_lookup(&icmp_bucket, &zero);

	return cfg && b && take_token(b, bpf_ktime_get_ns(), cfg->icmp_per_s, cfg->icmp_burst);
}

/* Copy a link header that `link` holds to `data`, with the addresses exchanged. */
static __always_inline void link_back(void *data, __be16 *link, __u64 l2)
{
	__builtin_memcpy(data, &link[3], 6);
	__builtin_memcpy(data + 6, link, 6);
	if (l2 == 22)
		__builtin_memcpy(data + 12, &link[6], 10);
	else if (l2 == 18)
		__builtin_memcpy(data + 12, &link[6], 6);
	else
		__builtin_memcpy(data + 12, &link[6], 2);
}

static __always_inline void write_frag_needed(struct iphdr *ip, struct pkt *p, __u32 mtu)
{
	struct icmp_header *icmp = (void *)(ip + 1);
	__u32 sum = 0;

	*(__be16 *)ip = bpf_htons(0x45c0); /* internetwork control, RFC 1812 4.3.2.5 */
	ip->tot_len = bpf_htons(sizeof(*ip) + sizeof(*icmp) + QUOTE_V4);
	ip->id = 0;
	ip->frag_off = bpf_htons(IP_DF);
	ip->ttl = SLR_TTL;
	ip->protocol = IPPROTO_ICMP;
	ip->check = 0;
	ip->saddr = p->k4.vaddr;
	ip->daddr = p->k4.client;
	for (int i = 0; i < 10; i++)
		sum += ((__u16 *)ip)[i];
	ip->check = csum_fold(sum);
	icmp->type = ICMP4_UNREACHABLE;
	icmp->code = ICMP4_FRAG_NEEDED;
	icmp->checksum = 0;
	icmp->v4.unused = 0;
	icmp->v4.mtu = bpf_htons(mtu);
	icmp->checksum = csum_fold(bpf_csum_diff(0, 0, (__be32 *)icmp, sizeof(*icmp) + QUOTE_V4, 0));
}

static __always_inline void write_packet_too_big(struct ipv6hdr *ip, struct pkt *p, __u32 mtu)
{
	struct icmp_header *icmp = (void *)(ip + 1);
	__be32 pseudo[2] = { bpf_htonl(sizeof(*icmp) + QUOTE_V6), bpf_htonl(IPPROTO_ICMPV6) };
	__s64 sum;

	*(__be32 *)ip = bpf_htonl(0x60000000);
	ip->payload_len = bpf_htons(sizeof(*icmp) + QUOTE_V6);
	ip->nexthdr = IPPROTO_ICMPV6;
	ip->hop_limit = SLR_TTL;
	__builtin_memcpy(&ip->saddr, p->k6.vaddr, 16);
	__builtin_memcpy(&ip->daddr, p->k6.client, 16);
	icmp->type = ICMP6_TOO_BIG;
	icmp->code = 0;
	icmp->checksum = 0;
	icmp->mtu6 = bpf_htonl(mtu);
	sum = bpf_csum_diff(0, 0, pseudo, sizeof(pseudo), 0);
	sum = bpf_csum_diff(0, 0, (__be32 *)&ip->saddr, 32, sum);
	sum = bpf_csum_diff(0, 0, (__be32 *)icmp, 512, sum);
	sum = bpf_csum_diff(0, 0, (void *)icmp + 512, sizeof(*icmp) + QUOTE_V6 - 512, sum);
	icmp->checksum = csum_fold(sum);
}

/* The datagram does not fit the hop's tunnel. 0: it does after all, a learned path MTU had expired. The message comes
 * from the virtual address, which the client talks to anyway and which exists in its address family. */
separate int too_big(struct xdp_md *ctx, struct pkt *p, struct hop *h)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 header, quote, mtu;
	__be16 link[11];
	__u64 l2;
	int grow;

	if (!p || !h)
		return SLR_R_unset;
	if (h->mtu_until && h->mtu_until <= p->now) {
		h->mtu = h->link_mtu;
		h->mtu_until = 0;
		if (p->len + outer_len(h) <= h->mtu)
			return 0;
	}
	if (!p->df || p->quiet || (p->family == AF_V4 && p->frag == FRAG_LATER))
		return SLR_R_drop_too_big; /* RFC 1122 3.2.2: no message about a message, nor about a later fragment */
	header = p->family == AF_V4 ? sizeof(struct iphdr) + 8 : sizeof(struct ipv6hdr) + 8;
	quote = p->family == AF_V4 ? QUOTE_V4 : QUOTE_V6;
	mtu = h->mtu - outer_len(h);
	if (p->family == AF_V6 && mtu < V6_MTU_MIN)
		mtu = V6_MTU_MIN; /* less would not be IPv6, and senders ignore it */
	if (p->len < quote || data + sizeof(link) > end)
		return SLR_R_drop_too_big;
	if (!icmp_allowed())
		return SLR_R_drop_icmp_limit;
	__builtin_memcpy(link, data, sizeof(link));
	l2 = p->l3 & 0x1f;
	grow = (int)(l2 + quote) - (int)(end - data);
	if (bpf_xdp_adjust_tail(ctx, grow) || bpf_xdp_adjust_head(ctx, -(int)header))
		return SLR_R_drop_headroom;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + sizeof(link) > end)
		return SLR_R_drop_headroom;
	link_back(data, link, l2);
	if (p->family == AF_V4) {
		if (data + l2 + sizeof(struct iphdr) + 8 + QUOTE_V4 > end)
			return SLR_R_drop_headroom;
		write_frag_needed(data + l2, p, mtu);
	} else {
		if (data + l2 + sizeof(struct ipv6hdr) + 8 + QUOTE_V6 > end)
			return SLR_R_drop_headroom;
		write_packet_too_big(data + l2, p, mtu);
	}
	return SLR_R_reply_too_big;
}

static __always_inline int answer_echo(struct xdp_md *ctx, struct pkt *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 l3 = p->l3 & 0x1f;
	__be16 link[11];
	__be16 *word;

	if (!icmp_allowed())
		return SLR_R_drop_icmp_limit;
	if (data + sizeof(link) > end)
		return SLR_R_drop_truncated_l4;
	__builtin_memcpy(link, data, sizeof(link));
	link_back(data, link, l3);
	word = data + (p->l4 & OFFSET_MAX);
	if (p->family == AF_V4) {
		struct iphdr *ip = data + l3;
		__be16 before;

		if ((void *)(ip + 1) > end || (void *)(word + 4) > end)
			return SLR_R_drop_truncated_l4;
		ip->saddr = p->k4.vaddr;
		ip->daddr = p->k4.client;
		before = ((__be16 *)ip)[4];
		ip->ttl = SLR_TTL;
		ip->check = csum_replace(ip->check, before, ((__be16 *)ip)[4]);
		before = word[0];
		*(__u8 *)word = ICMP4_ECHO_REPLY;
		word[1] = csum_replace(word[1], before, word[0]);
	} else {
		struct ipv6hdr *ip = data + l3;
		__be16 before;

		if ((void *)(ip + 1) > end || (void *)(word + 4) > end)
			return SLR_R_drop_truncated_l4;
		__builtin_memcpy(&ip->saddr, p->k6.vaddr, 16);
		__builtin_memcpy(&ip->daddr, p->k6.client, 16);
		ip->hop_limit = SLR_TTL;
		before = word[0];
		*(__u8 *)word = ICMP6_ECHO_REPLY;
		word[1] = csum_replace(word[1], before, word[0]);
	}
	return SLR_R_reply_echo;
}

/* What an upstream's tunnel carried is for no virtual address: a keepalive for a tunnel address of ours, or nothing that
 * belongs into a tunnel. p is the datagram inside; its tunnel header is off. At no bounded rate: whoever asks is
 * registered, and is never sent more than it sent. */
separate int answer_keepalive(struct xdp_md *ctx, struct pkt *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct slr_addr to;
	__u64 l3, header;
	__be16 port;
	bool v6;

	if (!p)
		return SLR_R_unset;
	v6 = p->family == AF_V6;
	if (v6) {
		__builtin_memcpy(&to, p->k6.vaddr, 16);
		port = p->k6.vport;
	} else {
		to = mapped_v4(p->k4.vaddr);
		port = p->k4.vport;
	}
	l3 = p->l3 & 0x1f;
	header = v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	if (p->proto != IPPROTO_UDP || p->frag || p->l4 != l3 + header || port != bpf_htons(SLR_KEEPALIVE_PORT) ||
	    !map_lookup(&tunnel_addrs, &to))
		return SLR_R_drop_tunnel_inner;
	if (!is_request(data, end, l3 + header, l3 + p->len) || turn_round(ctx, l3, v6))
		return SLR_R_drop_keepalive;
	return SLR_R_reply_keepalive;
}
