/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* host_chain.h - chains: nested tunnel headers through the hosts that may know a flow (DESIGN 5, R2). A host that has the
 * socket, or has answered the UDP flow, takes all headers off; another takes its own off and sends the rest on. No open relay: chains come from
 * registered sources only, go on to listed addresses only, and are one header shorter each time. */
#pragma once

#include "host_claim.h"
#include "host_packet.h"

/* The datagram inside all headers. */
struct innermost {
	__u64 at; /* its offset */
	__u64 end;
	__u8 proto; /* IPPROTO_IPIP or IPPROTO_IPV6: its family */
	__u8 upper; /* its own protocol */
	__u8 plain; /* its transport header follows the fixed IP header, and it is no fragment */
	__u8 tos; /* ECN_CE if any header saw congestion */
};

#define OFFSET_MASK 0xff /* 22 bytes of link header, 60 + 3 * 40 of tunnel headers, fits; also the verifier's bound */

static __always_inline int peel_v4(struct innermost *in, void *data, void *end)
{
	struct iphdr *ip = data + in->at;
	__u32 len;

	if ((void *)(ip + 1) > end)
		return SLR_H_drop_malformed_inner;
	len = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || ip->ihl < 5 || len < ip->ihl * 4u || in->at + len > in->end)
		return SLR_H_drop_malformed_inner;
	in->upper = ip->protocol;
	in->plain = ip->ihl == 5 && !(ip->frag_off & bpf_htons(IP_MF_OFFSET));
	in->end = in->at + len;
	if (!is_tunnel(in->upper))
		return 0;
	if (!in->plain)
		return SLR_H_drop_malformed_inner;
	if ((ip->tos & ECN_MASK) == ECN_CE)
		in->tos = ECN_CE;
	in->at += sizeof(*ip);
	return CONTENT_TUNNEL;
}

static __always_inline int peel_v6(struct innermost *in, void *data, void *end)
{
	struct ipv6hdr *ip = data + in->at;
	__u32 len;

	if ((void *)(ip + 1) > end)
		return SLR_H_drop_malformed_inner;
	len = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	if (ip->version != 6 || in->at + len > in->end)
		return SLR_H_drop_malformed_inner;
	in->upper = ip->nexthdr;
	in->plain = 1;
	in->end = in->at + len;
	if (!is_tunnel(in->upper))
		return 0;
	if ((ip->flow_lbl[0] >> 4 & ECN_MASK) == ECN_CE)
		in->tos = ECN_CE;
	in->at += sizeof(*ip);
	return CONTENT_TUNNEL;
}

/* Through all headers to the innermost datagram. On its own, as its callers: the verifier would follow each of the ways through
 * up to four headers of two families for every state of what comes before and after, more than kernel 6.1 has patience for. */
separate int peel(struct xdp_md *ctx, struct innermost *in)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (!in)
		return SLR_H_unset;
	for (int header = 1; header <= SLR_CHAIN_HEADERS; header++) {
		int what;

		in->at &= OFFSET_MASK;
		what = in->proto == IPPROTO_IPIP ? peel_v4(in, data, end) : peel_v6(in, data, end);
		if (what != CONTENT_TUNNEL)
			return what;
		in->proto = in->upper;
	}
	return SLR_H_drop_chain_deep;
}

/* What a socket is to a segment. */
#define WANTS_NOT 0
#define WANTS_NEW 1 /* a listener, and a SYN */
#define WANTS_OWN 2 /* the flow is this socket's, or continues a cookie of this listener's */

static __always_inline int wants(struct bpf_sock *sk, void *ip, __u32 ip_len, struct tcphdr *th)
{
	if (sk->state != BPF_TCP_LISTEN)
		return WANTS_OWN;
	if (th->syn && !th->ack && !th->rst)
		return WANTS_NEW;
	if (th->ack && !th->syn && !th->rst && !bpf_tcp_check_syncookie(sk, ip, ip_len, th, sizeof(*th)))
		return WANTS_OWN;
	return WANTS_NOT;
}

static __always_inline int socket_of_v4(struct xdp_md *ctx, struct innermost *in, __u32 netns)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + (in->at & OFFSET_MASK);
	struct tcphdr *th = (void *)(ip + 1);
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	int wanted;

	if ((void *)(th + 1) > end || in->end - in->at < sizeof(*ip) + sizeof(*th))
		return WANTS_NOT;
	tuple.ipv4.saddr = ip->saddr;
	tuple.ipv4.daddr = ip->daddr;
	tuple.ipv4.sport = th->source;
	tuple.ipv4.dport = th->dest;
	sk = bpf_skc_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), netns, 0);
	if (!sk)
		return WANTS_NOT;
	wanted = wants(sk, ip, sizeof(*ip), th);
	bpf_sk_release(sk);
	return wanted;
}

static __always_inline int socket_of_v6(struct xdp_md *ctx, struct innermost *in, __u32 netns)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipv6hdr *ip = data + (in->at & OFFSET_MASK);
	struct tcphdr *th = (void *)(ip + 1);
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	int wanted;

	if ((void *)(th + 1) > end || in->end - in->at < sizeof(*ip) + sizeof(*th))
		return false;
	__builtin_memcpy(tuple.ipv6.saddr, &ip->saddr, 16);
	__builtin_memcpy(tuple.ipv6.daddr, &ip->daddr, 16);
	tuple.ipv6.sport = th->source;
	tuple.ipv6.dport = th->dest;
	sk = bpf_skc_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv6), netns, 0);
	if (!sk)
		return WANTS_NOT;
	wanted = wants(sk, ip, sizeof(*ip), th);
	bpf_sk_release(sk);
	return wanted;
}

separate int socket_of(struct xdp_md *ctx, struct innermost *in, __u32 netns)
{
	if (!in)
		return WANTS_NOT;
	return in->proto == IPPROTO_IPIP ? socket_of_v4(ctx, in, netns) : socket_of_v6(ctx, in, netns);
}

/* Does anybody here listen where this flow goes? */
static __always_inline bool has_udp_socket(struct xdp_md *ctx, struct claim *flow, bool v6, __u32 netns)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;

	if (v6) {
		__builtin_memcpy(tuple.ipv6.saddr, &flow->client, 16);
		__builtin_memcpy(tuple.ipv6.daddr, &flow->vaddr, 16);
		tuple.ipv6.sport = flow->client_port;
		tuple.ipv6.dport = flow->vport;
		sk = bpf_sk_lookup_udp(ctx, &tuple, sizeof(tuple.ipv6), netns, 0);
	} else {
		tuple.ipv4.saddr = flow->client.word[3];
		tuple.ipv4.daddr = flow->vaddr.word[3];
		tuple.ipv4.sport = flow->client_port;
		tuple.ipv4.dport = flow->vport;
		sk = bpf_sk_lookup_udp(ctx, &tuple, sizeof(tuple.ipv4), netns, 0);
	}
	if (!sk)
		return false;
	bpf_sk_release(sk);
	return true;
}

/* A UDP flow is this host's if it has answered it, not too long ago, and if there still is a socket: a server that is gone
 * does not keep its flows. */
separate int answers(struct xdp_md *ctx, struct innermost *in, __u32 netns)
{
	struct claim flow;
	__u64 *noted;

	if (!in || !flow_at(ctx, in->at, in->proto, IPPROTO_UDP, &flow))
		return WANTS_NOT;
	noted = bpf_map_lookup_elem(&udp_answered, &flow);
	if (!noted || (__s64)(bpf_ktime_get_coarse_ns() - *noted) > (__s64)(SLR_UDP_SERVED_S * NS_PER_S))
		return WANTS_NOT;
	return has_udp_socket(ctx, &flow, in->proto == IPPROTO_IPV6, netns) ? WANTS_OWN : WANTS_NOT;
}

/* What is this host to what a chain carries? */
static __always_inline int wanted_here(struct xdp_md *ctx, struct innermost *in, __u32 netns)
{
	if (!in->plain)
		return WANTS_NOT;
	if (in->upper == IPPROTO_TCP)
		return socket_of(ctx, in, netns);
	return in->upper == IPPROTO_UDP ? answers(ctx, in, netns) : WANTS_NOT;
}

/* Shall the routers hear that this host has the flow? What is searched for: if the flow is a socket's already. A new
 * connection with a second chance: if another host has passed it on, since a router takes the first for its own. */
static __always_inline bool is_to_claim(struct tunnel *t, int wanted)
{
	if (likely(!t->mark))
		return false;
	if (t->mark == SLR_MARK_SEARCH || t->mark == SLR_MARK_FINAL)
		return wanted == WANTS_OWN;
	return t->mark == SLR_MARK_SECOND && wanted != WANTS_NOT && !(t->peer & TUNNEL_ROUTER);
}

/* The last header of a chain: it is delivered in any case, but is it this host's? A UDP flow is not claimed by the last
 * host: the router pins it there by itself when nobody else does, within the budget of the client's prefix. A claim has no such
 * budget, and clients that do not exist are answered too. */
separate int ask_socket(struct xdp_md *ctx, struct tunnel *t)
{
	struct host_config *cfg = get_config();
	struct innermost in = {};

	if (!t || !cfg)
		return 0;
	in.at = t->content;
	in.end = t->end;
	in.proto = t->proto;
	if (peel(ctx, &in) || in.upper != IPPROTO_TCP)
		return 0;
	if (is_to_claim(t, wanted_here(ctx, &in, cfg->socket_netns)))
		return claim(ctx, in.at, in.proto, in.upper);
	return 0;
}

/* The innermost datagram's addresses: t->subnet and 1 if it is for a subnet of ours, 0 if not, or a reason. */
static __always_inline int whose(struct host_config *cfg, struct tunnel *t, struct innermost *in, void *data, void *end)
{
	void *at = data + (in->at & OFFSET_MASK);
	__u32 spoofed;

	if (in->proto == IPPROTO_IPIP) {
		struct iphdr *ip = at;

		if ((void *)(ip + 1) > end)
			return SLR_H_drop_malformed_inner;
		t->subnet = subnet_of_v4(cfg, ip->daddr);
		spoofed = subnet_of_v4(cfg, ip->saddr);
	} else {
		struct ipv6hdr *ip = at;

		if ((void *)(ip + 1) > end)
			return SLR_H_drop_malformed_inner;
		t->subnet = subnet_of_v6(cfg, &ip->daddr);
		spoofed = subnet_of_v6(cfg, &ip->saddr);
	}
	if (spoofed != NOT_SERVED)
		return SLR_H_drop_spoofed_source;
	return t->subnet != NOT_SERVED;
}

/* May the next header's packet be sent where it says? Gives it our address and a fresh TTL. */
static __always_inline int readdress(struct host_config *cfg, __u8 proto, void *data, void *end, __u64 off)
{
	if (proto == IPPROTO_IPIP) {
		struct iphdr *ip = data + off;

		if ((void *)(ip + 1) > end)
			return SLR_H_drop_malformed_inner;
		if (!rights_v4(ip->daddr))
			return SLR_H_drop_relay_unlisted;
		if (!cfg->tunnel_v4)
			return SLR_H_drop_relay_rewrite;
		ip->saddr = cfg->tunnel_v4;
		ip->ttl = SLR_TTL;
		ip->check = 0;
		ip->check = header_csum(ip);
	} else {
		struct ipv6hdr *ip = data + off;

		if ((void *)(ip + 1) > end)
			return SLR_H_drop_malformed_inner;
		if (!rights_v6(&ip->daddr))
			return SLR_H_drop_relay_unlisted;
		if (!is_set(cfg->tunnel_v6))
			return SLR_H_drop_relay_rewrite;
		__builtin_memcpy(&ip->saddr, cfg->tunnel_v6, 16);
		ip->hop_limit = SLR_TTL;
	}
	return 0;
}

static __always_inline int relay(struct xdp_md *ctx, struct tunnel *t, struct host_config *cfg)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 next = t->content & OFFSET_MASK;
	int err;

	err = readdress(cfg, t->proto, data, end, next);
	if (err)
		return err;
	if (combine_ecn(data, end, next, t->tos, t->proto == IPPROTO_IPV6))
		return SLR_H_drop_ecn;
	if (pull(ctx, t->l3, next - t->l3, type_of(t->proto)) || swap_macs(ctx))
		return SLR_H_drop_malformed_outer;
	return SLR_H_relay_chain;
}

/* A tunnel packet that carries a tunnel packet. */
separate int chain(struct xdp_md *ctx, struct tunnel *t)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct host_config *cfg = get_config();
	struct innermost in = {};
	int mine = WANTS_NOT, what;

	if (!t || !cfg)
		return SLR_H_unset;
	in.at = t->content;
	in.end = t->end;
	in.proto = t->proto;
	in.tos = t->tos & ECN_MASK;
	what = peel(ctx, &in);
	if (what)
		return what;
	what = whose(cfg, t, &in, data, end);
	if (what > 1)
		return what;
	if (what)
		mine = wanted_here(ctx, &in, cfg->socket_netns);
	if (!mine)
		return relay(ctx, t, cfg);
	if (is_to_claim(t, mine))
		claim(ctx, in.at, in.proto, in.upper);
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	in.at &= OFFSET_MASK;
	if (combine_ecn(data, end, in.at, in.tos, in.proto == IPPROTO_IPV6))
		return SLR_H_drop_ecn;
	if (pull(ctx, t->l3, in.at - t->l3, type_of(in.proto)))
		return SLR_H_drop_malformed_outer;
	t->len = in.end - in.at;
	return SLR_H_deliver_chain;
}
