/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* icmp.h - ICMP and ICMPv6 to virtual addresses, and about our own tunnels: errors follow the flow of the datagram they
 * quote, echo requests are answered or forwarded, and a datagram that does not fit draws the message that says so. */
#pragma once

#include "flows.h"
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
	if (mtu < floor || mtu >= h->mtu || q->len <= mtu || q->len > h->mtu)
		return SLR_R_drop_pmtu_refused;
	h->mtu = mtu;
	h->mtu_until = p->now + cfg->pmtu_s;
	return SLR_R_drop_pmtu_learned;
}

/* The hop whose tunnel header an ICMP error quotes, if it quotes one of ours. */
static __always_inline struct hop *quoted_hop(struct pkt *p, struct quote *q, struct flow_key_v6 *quoted)
{
	struct slr_addr to;
	struct hop *h;
	__u32 *n, index;

	if (q->proto != IPPROTO_IPIP && q->proto != IPPROTO_IPV6)
		return NULL;
	if (p->family == AF_V4)
		to = mapped_v4(((struct flow_key_v4 *)quoted)->client);
	else
		__builtin_memcpy(&to, quoted->client, 16);
	n = map_lookup(&hop_by_addr, &to);
	if (!n)
		return NULL;
	index = *n;
	h = map_lookup(&hops, &index);
	return h && is_our_header(h, p, quoted) ? h : NULL;
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
	swap_keys(&p->k6, quoted);
	p->proto = proto;
	p->quiet = 1;
	f = find_flow(p);
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

/* An echo request to a virtual address. */
static __always_inline int echo_request(struct xdp_md *ctx, struct pkt *p, struct subnet *sn)
{
	if (is_martian(p))
		return SLR_R_drop_martian;
	if (sn->flags & SUBNET_ECHO_FORWARD)
		return forward_by_ring(p, sn, SLR_R_fwd_echo);
	if (sn->flags & SUBNET_ECHO_DROP || p->frag != FRAG_NONE)
		return SLR_R_drop_echo; /* a fragment cannot be answered: the rest of the data is elsewhere */
	return answer_echo(ctx, p);
}

/* p is an ICMP message, of its family's kind or not. */
separate int icmp(struct xdp_md *ctx, struct pkt *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct flow_key_v6 quoted = {};
	bool error, echo, size;
	struct quote q = {};
	struct subnet *sn;
	__be16 *ports;
	struct hop *h;
	__u32 mtu = 0;
	__u8 *head;
	int err = 0;
	__u64 l4;

	if (!p)
		return SLR_R_unset;
	l4 = p->l4 & OFFSET_MAX;
	head = data + l4;
	sn = find_subnet(p);
	if (p->family == AF_V4 ? p->proto != IPPROTO_ICMP : p->proto != IPPROTO_ICMPV6) {
		if (!sn)
			return SLR_R_pass_not_ours;
		return sn->flags & SUBNET_PORTS ? SLR_R_pass_not_served : SLR_R_drop_protocol;
	}
	if (head + 8 > (__u8 *)end || l4 + 8 > p->l3 + p->len)
		return sn ? SLR_R_drop_truncated_l4 : SLR_R_pass_not_ours;
	if (p->family == AF_V4) {
		echo = head[0] == ICMP4_ECHO_REQUEST;
		error = head[0] == ICMP4_UNREACHABLE || head[0] == ICMP4_TIME_EXCEEDED || head[0] == ICMP4_PARAMETER;
		size = head[0] == ICMP4_UNREACHABLE && head[1] == ICMP4_FRAG_NEEDED;
		mtu = bpf_ntohs(*(__be16 *)(head + 6));
		if (error)
			err = read_quote_v4(data, end, l4 + 8, &q, (struct flow_key_v4 *)&quoted);
	} else {
		echo = head[0] == ICMP6_ECHO_REQUEST;
		error = head[0] >= ICMP6_UNREACHABLE && head[0] <= ICMP6_PARAMETER;
		size = head[0] == ICMP6_TOO_BIG;
		mtu = bpf_ntohl(*(__be32 *)(head + 4));
		if (error)
			err = read_quote_v6(data, end, l4 + 8, &q, &quoted);
	}
	if (error && !err) {
		h = quoted_hop(p, &q, &quoted);
		if (h)
			return tunnel_error(p, h, &q, size, mtu);
	}
	if (!sn)
		return SLR_R_pass_not_ours;
	if (echo)
		return echo_request(ctx, p, sn);
	if (!error)
		return SLR_R_drop_icmp_type;
	ports = data + (q.l4 & OFFSET_MAX);
	if (err || q.l4 > OFFSET_MAX || (void *)(ports + 2) > end || q.l4 + 4 > p->l3 + p->len ||
	    (q.proto != IPPROTO_TCP && q.proto != IPPROTO_UDP))
		return SLR_R_drop_icmp_quote;
	return follow_quote(p, sn, q.proto, ports, &quoted);
}
