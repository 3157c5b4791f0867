/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* icmp.h - ICMP and ICMPv6 to virtual addresses, and about our own tunnels: errors follow the flow of the datagram they
 * quote, echo requests are answered or forwarded, of echo replies adverts are taken. */
#pragma once

#include "advert.h"
#include "answer.h"

static __always_inline int forward_by_ring(struct pkt *p, struct subnet *sn, int why)
{
	struct router_config *cfg = get_config();
	struct service s;
	int err;

	if (!cfg)
		return SLR_R_unset;
	if (!find_service(p, sn, &s))
		return SLR_R_pass_not_served;
	p->entropy = flow_hash(p, cfg->seed, MASK_ALL);
	err = pick(p, s.ring, flow_hash(p, cfg->seed, s.mask));
	return err ? err : why;
}

/* What an ICMP error quotes: the header of a datagram that was sent, and where its transport header is. */
struct quote {
	__u64 l4;
	__u8 proto;
	__u32 len; /* of the whole datagram, by its own header */
};

static __always_inline int read_quote_v4(void *data, void *end, __u64 off, struct quote *q, struct flow_key_v4 *key)
{
	struct iphdr *ip = data + off;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5 || ip->frag_off & bpf_htons(IP_OFFSET))
		return SLR_R_drop_icmp_quote;
	q->l4 = off + ip->ihl * 4;
	q->proto = ip->protocol;
	q->len = bpf_ntohs(ip->tot_len);
	key->client = ip->daddr;
	key->vaddr = ip->saddr;
	key->proto = ip->protocol;
	return 0;
}

static __always_inline int read_quote_v6(void *data, void *end, __u64 off, struct quote *q, struct flow_key_v6 *key)
{
	struct ipv6hdr *ip = data + off;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return SLR_R_drop_icmp_quote;
	q->l4 = off + sizeof(*ip);
	q->proto = ip->nexthdr;
	q->len = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	__builtin_memcpy(key->client, &ip->daddr, 16);
	__builtin_memcpy(key->vaddr, &ip->saddr, 16);
	key->proto = ip->nexthdr;
	return 0;
}

/* Is the quoted header one that we put in front of datagrams to this hop? */
static __always_inline bool is_our_header(struct hop *h, struct pkt *p, struct flow_key_v6 *quoted)
{
	struct flow_key_v4 *q4 = (struct flow_key_v4 *)quoted;
	__u32 vary = (__u32)h->src_mask << 16; /* the low 16 bits, in network order */

	if (p->family == AF_V4)
		return !(h->flags & HOP_V6) && !((q4->vaddr ^ h->v4.src) & ~vary) && q4->vaddr == p->k4.vaddr;
	return h->flags & HOP_V6 && same_v6(quoted->vaddr, p->k6.vaddr) && quoted->vaddr[0] == h->v6.src[0] &&
	       quoted->vaddr[1] == h->v6.src[1] && quoted->vaddr[2] == h->v6.src[2] &&
	       !((quoted->vaddr[3] ^ h->v6.src[3]) & ~vary);
}

/* An error about a tunnel header that we wrote. About size, and plausible: the hop's path MTU is lowered for a while. */
static __always_inline int tunnel_error(struct pkt *p, struct hop *h, struct quote *q, bool size, __u32 mtu)
{
	struct router_config *cfg = get_config();
	__u32 floor;

	if (!cfg)
		return SLR_R_unset;
	if (!size)
		return SLR_R_pass_tunnel_error;
	floor = cfg->pmtu_floor;
	if (h->flags & HOP_V6 && floor < V6_MTU_MIN)
		floor = V6_MTU_MIN; /* RFC 8201 section 4 */
	if (mtu == h->mtu && mtu < h->link_mtu && q->len > mtu && q->len <= h->link_mtu)
		return SLR_R_drop_pmtu_known;
	if (mtu < floor || mtu >= h->mtu || q->len <= mtu || q->len > h->mtu)
		return SLR_R_drop_pmtu_refused;
	h->mtu = mtu;
	h->mtu_until = p->now + cfg->pmtu_s;
	return SLR_R_drop_pmtu_learned;
}

/* The hop whose tunnel header an ICMP error quotes, by index; 0 if it is none of ours. */
separate int quoted_hop(struct pkt *p, struct flow_key_v6 *quoted)
{
	struct slr_addr to;
	struct hop *h;
	__u32 *n, index;

	if (!p || !quoted)
		return 0;
	if (p->family == AF_V4)
		to = mapped_v4(((struct flow_key_v4 *)quoted)->client);
	else
		__builtin_memcpy(&to, quoted->client, 16);
	n = map_lookup(&hop_by_addr, &to);
	if (!n)
		return 0;
	index = *n;
	h = map_lookup(&hops, &index);
	return h && is_our_header(h, p, quoted) ? index : 0;
}

static __always_inline void swap_keys(struct flow_key_v6 *a, struct flow_key_v6 *b)
{
	__u64 *x = (__u64 *)a, *y = (__u64 *)b;

#pragma unroll
	for (int i = 0; i < (int)(sizeof(*a) / sizeof(*x)); i++) {
		__u64 held = x[i];

		x[i] = y[i];
		y[i] = held;
	}
}

/* An ICMP error follows the flow of the datagram that it quotes: a reply, so it came from the address that the error is
 * for. The flow's key stands in for p's own while that is looked up. */
static __always_inline int follow_quote(struct pkt *p, struct subnet *sn, __u8 proto, __be16 *ports, struct flow_key_v6 *quoted)
{
	struct router_config *cfg = get_config();
	int why = SLR_R_fwd_icmp_error;
	struct pending set;
	__u8 own_proto = p->proto;
	__u64 hash, path = 0;
	struct flow *f;
	__u32 way;

	if (p->family == AF_V4) {
		struct flow_key_v4 *q4 = (struct flow_key_v4 *)quoted;

		if (q4->vaddr != p->k4.vaddr)
			return SLR_R_drop_icmp_quote;
		q4->client_port = ports[1];
		q4->vport = ports[0];
	} else {
		if (!same_v6(quoted->vaddr, p->k6.vaddr))
			return SLR_R_drop_icmp_quote;
		quoted->client_port = ports[1];
		quoted->vport = ports[0];
	}
	/* Before the keys change places: kernel 6.1 takes a key from the stack, not out of p, which is an argument here. */
	if (p->family == AF_V4)
		f = map_lookup(&flows_v4, (struct flow_key_v4 *)quoted);
	else
		f = map_lookup(&flows_v6, quoted);
	swap_keys(&p->k6, quoted);
	p->proto = proto;
	p->quiet = 1;
	if (!f && cfg) {
		hash = flow_hash(p, cfg->seed, MASK_ALL);
		set = find_set(p, hash, cfg->pending_sets);
		way = set.head ? find_way(p, &set, hash) : SLR_PENDING_WAYS;
		if (way < SLR_PENDING_WAYS)
			path = set.head->path[way];
	}
	if (f && hop_of_flow(f))
		take_path(p, f);
	else if (path && hop_of_path(path))
		take_path_word(p, path);
	else
		why = forward_by_ring(p, sn, why);
	swap_keys(&p->k6, quoted);
	p->proto = own_proto;
	return why;
}

#define ECHO_REQUEST 1
#define ECHO_REPLY 2

/* Whatever is no error: echoes (ECHO_*), and what a virtual address has no use for. */
separate int icmp_query(struct xdp_md *ctx, struct pkt *p, int echo)
{
	struct subnet *sn;

	if (!p)
		return SLR_R_unset;
	sn = find_subnet_apart(p);
	if (!sn)
		return SLR_R_pass_not_ours;
	if (echo != ECHO_REQUEST && (echo != ECHO_REPLY || !is_advert(ctx, p)))
		return SLR_R_drop_icmp_type;
	if (is_martian(p))
		return SLR_R_drop_martian;
	if (echo == ECHO_REPLY)
		return advert(ctx, p);
	if (sn->flags & SUBNET_ECHO_FORWARD)
		return forward_by_ring(p, sn, SLR_R_fwd_echo);
	if (sn->flags & SUBNET_ECHO_DROP || p->frag != FRAG_NONE)
		return SLR_R_drop_echo; /* a fragment cannot be answered: the rest of the data is elsewhere */
	return answer_echo(ctx, p);
}

/* An error, `size` if it is about size and then with this MTU. */
separate int icmp_error(struct xdp_md *ctx, struct pkt *p, int size, __u32 mtu)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct flow_key_v6 quoted = {};
	struct quote q = {};
	struct subnet *sn;
	__be16 *ports;
	struct hop *h;
	__u64 off;
	__u32 n;
	int err;

	if (!p)
		return SLR_R_unset;
	off = (p->l4 & OFFSET_MAX) + 8;
	if (p->family == AF_V4)
		err = read_quote_v4(data, end, off, &q, (struct flow_key_v4 *)&quoted);
	else
		err = read_quote_v6(data, end, off, &q, &quoted);
	if (q.l4 > p->l3 + p->len)
		err = SLR_R_drop_icmp_quote; /* the quoted header is not of this datagram */
	if (!err && (q.proto == IPPROTO_IPIP || q.proto == IPPROTO_IPV6)) {
		n = quoted_hop(p, &quoted);
		h = n ? map_lookup(&hops, &n) : NULL;
		if (h)
			return tunnel_error(p, h, &q, size, mtu);
	}
	sn = find_subnet_apart(p);
	if (!sn)
		return SLR_R_pass_not_ours;
	ports = data + (q.l4 & OFFSET_MAX);
	if (err || q.l4 > OFFSET_MAX || (void *)(ports + 2) > end || q.l4 + 4 > p->l3 + p->len ||
	    (q.proto != IPPROTO_TCP && q.proto != IPPROTO_UDP))
		return SLR_R_drop_icmp_quote;
	return follow_quote(p, sn, q.proto, ports, &quoted);
}

static __always_inline int echo_of(__u8 type, __u8 request, __u8 reply)
{
	if (type == request)
		return ECHO_REQUEST;
	return type == reply ? ECHO_REPLY : 0;
}

/* p is an ICMP message, of its family's kind or not. */
static __always_inline int icmp(struct xdp_md *ctx, struct pkt *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u8 *head = data + (p->l4 & OFFSET_MAX);

	if (p->family == AF_V4 ? p->proto != IPPROTO_ICMP : p->proto != IPPROTO_ICMPV6)
		return refuse(p, SLR_R_drop_protocol);
	if (head + 8 > (__u8 *)end || p->l4 + 8 > p->l3 + p->len)
		return refuse(p, SLR_R_drop_truncated_l4);
	if (p->family == AF_V4) {
		if (head[0] == ICMP4_UNREACHABLE || head[0] == ICMP4_TIME_EXCEEDED || head[0] == ICMP4_PARAMETER)
			return icmp_error(ctx, p, head[0] == ICMP4_UNREACHABLE && head[1] == ICMP4_FRAG_NEEDED,
					  bpf_ntohs(*(__be16 *)(head + 6)));
		return icmp_query(ctx, p, echo_of(head[0], ICMP4_ECHO_REQUEST, ICMP4_ECHO_REPLY));
	}
	if (head[0] >= ICMP6_UNREACHABLE && head[0] <= ICMP6_PARAMETER)
		return icmp_error(ctx, p, head[0] == ICMP6_TOO_BIG, bpf_ntohl(*(__be32 *)(head + 4)));
	return icmp_query(ctx, p, echo_of(head[0], ICMP6_ECHO_REQUEST, ICMP6_ECHO_REPLY));
}
