/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* host_egress.h - replies bypass the routers, so they are counted here, by virtual subnet; and the MSS of their SYNs is
 * lowered to what still fits when the client's segments come back through tunnels (docs/decisions/0002). */
#pragma once

#include <linux/pkt_cls.h>

#include "frame.h"
#include "host_watch.h"

#define TCP_OPTION_END 0
#define TCP_OPTION_NOP 1
#define TCP_OPTION_MSS 2

#define TCP_CSUM_AT 16 /* in the TCP header */
#define UDP_CSUM_AT 6
#define IP_CSUM_AT 10

/* A datagram about to leave. */
struct sent {
	__u32 l3;
	__u32 l4;
	__u8 proto;
	bool v6;
	bool later; /* a fragment without transport header */
	__u32 subnet; /* of its source */
};

/* Lower the MSS option's value at `at` if it is above `most`. The checksum's words are even, the option may be odd. */
static __always_inline int clamp_option(struct __sk_buff *skb, __u32 l4, __u32 at, __u16 most)
{
	__be16 now, new = bpf_htons(most), from, to;

	if (bpf_skb_load_bytes(skb, at, &now, sizeof(now)) || bpf_ntohs(now) <= most)
		return 0;
	from = now;
	to = new;
	if ((at - l4) & 1) {
		from = __builtin_bswap16(from);
		to = __builtin_bswap16(to);
	}
	/* With a partial checksum this leaves the field alone: it will be computed over what we store. */
	if (bpf_l4_csum_replace(skb, l4 + TCP_CSUM_AT, from, to, sizeof(to)) ||
	    bpf_skb_store_bytes(skb, at, &new, sizeof(new), 0))
		return 0;
	return SLR_H_pass_mss_clamped;
}

/* Find the MSS among the options of a SYN. */
separate int clamp_mss(struct __sk_buff *skb, __u32 l4, __u32 most)
{
	struct tcphdr th;
	__u32 at, end;

	if (bpf_skb_load_bytes(skb, l4, &th, sizeof(th)))
		return 0;
	at = l4 + sizeof(th);
	end = l4 + th.doff * 4;
	for (int i = 0; i < SLR_TCP_OPTIONS_MAX && at + 4 <= end; i++) {
		__u8 option[2]; /* kind, length */

		if (bpf_skb_load_bytes(skb, at, option, sizeof(option)) || option[0] == TCP_OPTION_END)
			return 0;
		if (option[0] == TCP_OPTION_NOP) {
			at++;
			continue;
		}
		if (option[0] == TCP_OPTION_MSS && option[1] == 4)
			return clamp_option(skb, l4, at + 2, most);
		if (option[1] < 2)
			return 0;
		at += option[1];
	}
	return 0;
}

/* Give a datagram of a connected socket the virtual address as source (host_udp.h says when that is needed). */
separate int rewrite_source(struct __sk_buff *skb, struct sent *s, struct host_config *cfg)
{
	__u64 pseudo = BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0;
	struct bpf_sock *sk = skb->sk;
	struct slr_addr from = {}, client = {};
	struct udp_source *known;
	struct udphdr udp;
	__u32 at, words;

	if (!s || !cfg || s->later || !sk)
		return 0;
	known = bpf_sk_storage_get(&udp_connected, sk, NULL, 0);
	if (likely(!known) || bpf_skb_load_bytes(skb, s->l4, &udp, sizeof(udp)))
		return 0;
	if (s->v6) {
		at = s->l3 + __builtin_offsetof(struct ipv6hdr, saddr);
		words = 4;
		if (bpf_skb_load_bytes(skb, at, &from, 16) || bpf_skb_load_bytes(skb, at + 16, &client, 16))
			return 0;
	} else {
		at = s->l3 + __builtin_offsetof(struct iphdr, saddr);
		words = 1;
		client.word[2] = bpf_htonl(0xffff);
		if (bpf_skb_load_bytes(skb, at, &from, 4) || bpf_skb_load_bytes(skb, at + 4, &client.word[3], 4))
			return 0;
	}
	if (known->client_port != udp.dest || !same_v6(known->client.word, client.word))
		return 0;
	s->subnet = s->v6 ? subnet_of_v6(cfg, &known->source) : subnet_of_v4(cfg, known->source.word[3]);
	if (s->subnet == NOT_SERVED) /* not any more */
		return 0;
	for (__u32 i = 0; i < 4 && i < words; i++) {
		__be32 new = known->source.word[s->v6 ? i : 3];

		if (bpf_l4_csum_replace(skb, s->l4 + UDP_CSUM_AT, from.word[i], new, pseudo | 4))
			return 0;
		if (!s->v6)
			bpf_l3_csum_replace(skb, s->l3 + IP_CSUM_AT, from.word[i], new, 4);
		bpf_skb_store_bytes(skb, at + 4 * i, &new, 4, 0);
	}
	return SLR_H_pass_udp_source;
}

/* A datagram leaves from a virtual address: this host serves the flow, and may claim it. Only what a socket here has sent
 * comes by, so a stranger makes no host claim what it does not serve. */
separate int note_answered(struct __sk_buff *skb, struct sent *s)
{
	struct claim flow = { .proto = IPPROTO_UDP };
	__u64 now, *noted;
	struct udphdr udp;

	if (!s || s->later || bpf_skb_load_bytes(skb, s->l4, &udp, sizeof(udp)))
		return 0;
	if (s->v6) {
		struct slr_addr ends[2];

		if (bpf_skb_load_bytes(skb, s->l3 + __builtin_offsetof(struct ipv6hdr, saddr), ends, sizeof(ends)))
			return 0;
		flow.vaddr = ends[0];
		flow.client = ends[1];
	} else {
		__be32 ends[2];

		if (bpf_skb_load_bytes(skb, s->l3 + __builtin_offsetof(struct iphdr, saddr), ends, sizeof(ends)))
			return 0;
		flow.vaddr = mapped_v4(ends[0]);
		flow.client = mapped_v4(ends[1]);
	}
	flow.vport = udp.source;
	flow.client_port = udp.dest;
	now = bpf_ktime_get_coarse_ns();
	noted = bpf_map_lookup_elem(&udp_answered, &flow);
	if (!noted)
		return bpf_map_update_elem(&udp_answered, &flow, &now, BPF_ANY);
	if (is_watched(s->subnet))
		speak_datagram(&flow, now);
	if ((__s64)(now - *noted) > (__s64)(SLR_UDP_NOTED_S * NS_PER_S))
		*noted = now;
	return 0;
}

/* The network header, and whose traffic it is. */
static __always_inline void read_sender(struct host_config *cfg, struct sent *s, void *data, void *end, __be16 type)
{
	if (type == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + s->l3;

		if ((void *)(ip + 1) > end)
			return;
		s->l4 = s->l3 + ip->ihl * 4;
		s->proto = ip->protocol;
		s->later = !!(ip->frag_off & bpf_htons(0x1fff));
		s->subnet = subnet_of_v4(cfg, ip->saddr);
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data + s->l3;

		if ((void *)(ip + 1) > end)
			return;
		s->v6 = true;
		s->l4 = s->l3 + sizeof(*ip);
		s->proto = ip->nexthdr;
		s->subnet = subnet_of_v6(cfg, &ip->saddr);
	}
}

/* Of a TCP segment with a virtual source; returns the bytes of its header, and does to a SYN what has to be done. */
static __always_inline __u32 leave_tcp(struct __sk_buff *skb, struct sent *s, struct host_config *cfg)
{
	struct tcphdr th;
	__u16 most;

	if (bpf_skb_load_bytes(skb, s->l4, &th, sizeof(th)))
		return 0;
	if (th.syn) {
		most = s->v6 ? cfg->mss_v6 : cfg->mss_v4;
		if (most && clamp_mss(skb, s->l4, most))
			count(SLR_H_pass_mss_clamped, skb->len - s->l3);
	} else {
		watch_tcp(skb, s->subnet);
	}
	return th.doff * 4;
}

static __always_inline void leave(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct sent s = { .subnet = NOT_SERVED };
	struct host_config *cfg = get_config();
	__u32 headers = sizeof(struct udphdr), segments;
	__be16 type;

	s.l3 = parse_link(data, end, &type);
	if (!s.l3 || !cfg)
		return;
	read_sender(cfg, &s, data, end, type);
	if (s.subnet == NOT_SERVED) {
		if (s.proto != IPPROTO_UDP || !rewrite_source(skb, &s, cfg))
			return;
		count(SLR_H_pass_udp_source, skb->len - s.l3);
	} else if (s.proto == IPPROTO_TCP && !s.later) {
		headers = leave_tcp(skb, &s, cfg);
	}
	if (s.proto == IPPROTO_UDP)
		note_answered(skb, &s);
	/* As the wire will see it: a large buffer counts as the segments it becomes. */
	segments = skb->gso_segs ? skb->gso_segs : 1;
	headers += s.l4 - s.l3;
	count_sent(s.subnet, segments, skb->len - s.l3 + (__u64)(segments - 1) * headers);
}

SEC("tc")
int slr_host_egress(struct __sk_buff *skb)
{
	leave(skb);
	return TC_ACT_UNSPEC; /* whatever other filters there are have their say */
}
