/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* packet.h - from bytes to `struct pkt`: what the rest of a program knows about a packet. Every parser checks bounds
 * before it reads and returns 0 or the reason to stop with. Used by the router; the host has its own, smaller view. */
#pragma once

#include "base.h"
#include "frame.h"

#define FRAG_NONE 0
#define FRAG_FIRST 1
#define FRAG_LATER 2

#define IP_DF 0x4000
#define IP_MF 0x2000
#define IP_OFFSET 0x1fff

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define CAME_NEIGHBOUR (1 << 0) /* a neighbour has sent it, which believes that a host here has the flow */
#define CAME_FINAL (1 << 1) /* it was searched for */
#define CAME_END (1 << 2) /* a chain ends here that found no host */

#define OFFSET_MAX 0x1ff /* no header that we read starts further in; also the verifier's bound */

struct pkt {
	union {
		struct flow_key_v4 k4;
		struct flow_key_v6 k6;
	};
	__u64 l3; /* offset of the client's IP header: the length of the link header, tags included */
	__u64 l4; /* offset of its transport header */
	__u32 len; /* of the datagram, IP header included */
	__u32 seq; /* TCP, host order */
	union {
		__be32 frag_id; /* of a fragment */
		__u32 older; /* of what is none: the hops to try after `hop`, the first of them in the low 16 bits */
	};
	__u32 now; /* the clock */
	__u8 family; /* AF_V4, AF_V6; 0 until known */
	__u8 proto;
	__u8 tos;
	__u8 tcp_flags;
	__u8 frag; /* FRAG_* */
	__u8 df; /* may not be fragmented (always, for IPv6) */
	__u8 quiet; /* an ICMP error: draws no other (RFC 1122 3.2.2, RFC 4443 2.4 (e)) */
	__u8 mark; /* SLR_MARK_*: through the hosts of `older` as well; 0: to `hop` alone */
	/* The decision. */
	__u16 hop;
	__u16 hop_gen;
	__u16 entropy;
	__u16 subnet;
	__u16 second; /* the slot's second choice, or 0 */
	__u16 first; /* the hop that it goes to before `hop`, or 0 */
	__u8 flow_flags; /* FLOW_*: of the pin that the packet makes */
	__u8 came; /* CAME_*: in whose tunnel; 0: in none, or a parent's */
	__u8 to_end; /* UDP: its chain ends at this router, which asks others */
};

static __always_inline int parse_tcp(struct pkt *p, void *data, void *end, __u32 room)
{
	struct tcphdr *th = data + p->l4;

	if ((void *)(th + 1) > end || room < sizeof(*th) || th->doff < 5)
		return SLR_R_drop_truncated_l4;
	if (p->frag == FRAG_NONE && th->doff * 4 > room)
		return SLR_R_drop_truncated_l4;
	p->tcp_flags = ((__u8 *)th)[13];
	p->seq = bpf_ntohl(th->seq);
	return 0;
}

static __always_inline int parse_udp(struct pkt *p, void *data, void *end, __u32 room)
{
	struct udphdr *uh = data + p->l4;
	__u32 len;

	if ((void *)(uh + 1) > end || room < sizeof(*uh))
		return SLR_R_drop_truncated_l4;
	len = bpf_ntohs(uh->len);
	if (len < sizeof(*uh) || (p->frag == FRAG_NONE && len > room))
		return SLR_R_drop_truncated_l4;
	return 0;
}

/* Ports into the key; `room` is what the datagram has from its transport header on. */
static __always_inline int parse_l4(struct pkt *p, void *data, void *end, __u32 room, __be16 *ports)
{
	__be16 *at = data + p->l4;
	int err;

	ports[0] = ports[1] = 0; /* what has no ports hashes and compares without */
	if (p->proto == IPPROTO_TCP)
		err = parse_tcp(p, data, end, room);
	else if (p->proto == IPPROTO_UDP)
		err = parse_udp(p, data, end, room);
	else
		return 0;
	if (err)
		return err;
	if ((void *)(at + 2) > end)
		return SLR_R_drop_truncated_l4;
	ports[0] = at[0];
	ports[1] = at[1];
	if (!at[0] || !at[1])
		return SLR_R_drop_port_zero;
	return 0;
}

static __always_inline int parse_v4(struct pkt *p, void *data, void *end, __u64 off)
{
	struct iphdr *ip = data + off;
	__u32 header, frag;

	if ((void *)(ip + 1) > end)
		return SLR_R_pass_truncated;
	p->family = AF_V4;
	p->l3 = off;
	p->k4.client = ip->saddr;
	p->k4.vaddr = ip->daddr;
	p->k4.proto = p->proto = ip->protocol;
	p->tos = ip->tos;
	p->len = bpf_ntohs(ip->tot_len);
	frag = bpf_ntohs(ip->frag_off);
	p->df = !!(frag & IP_DF);
	p->frag = FRAG_NONE;
	header = ip->ihl * 4;
	if (ip->version != 4 || header < sizeof(*ip) || p->len < header || data + off + p->len > end)
		return SLR_R_drop_malformed_ip;
	p->l4 = off + header;
	if (unlikely(frag & (IP_MF | IP_OFFSET))) {
		p->frag = frag & IP_OFFSET ? FRAG_LATER : FRAG_FIRST;
		p->frag_id = ip->id;
		if (p->frag == FRAG_LATER)
			return 0;
	}
	return parse_l4(p, data, end, p->len - header, &p->k4.client_port);
}

struct ext_header {
	__u8 next;
	__u8 len;
	__be16 frag;
	__be32 frag_id;
};

/* Walk the extension headers from p->l4 (RFC 8200 4.1); leaves the upper protocol in p->proto. */
separate int skip_ext_headers(struct xdp_md *ctx, struct pkt *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 off;
	__u8 next;

	if (!p)
		return SLR_R_unset;
	off = p->l4;
	next = p->proto;

	for (int i = 0; i <= SLR_EXT_HEADERS_MAX; i++) {
		struct ext_header *ext;

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT) {
			p->l4 = off;
			p->proto = next;
			return 0;
		}
		off &= OFFSET_MAX;
		ext = data + off;
		if (i == SLR_EXT_HEADERS_MAX || (void *)(ext + 1) > end || off + sizeof(*ext) > p->l3 + p->len)
			return SLR_R_drop_ext_headers;
		if (next == IPPROTO_FRAGMENT) {
			p->frag_id = ext->frag_id;
			if (ext->frag & bpf_htons(0xfff8))
				p->frag = FRAG_LATER;
			else if (ext->frag & bpf_htons(1))
				p->frag = FRAG_FIRST;
			off += sizeof(*ext);
		} else {
			off += (ext->len + 1) * 8;
		}
		next = ext->next;
		if (off > OFFSET_MAX || off > p->l3 + p->len)
			return SLR_R_drop_ext_headers;
		if (p->frag == FRAG_LATER) {
			p->l4 = off;
			p->proto = next;
			return 0;
		}
	}
	return SLR_R_drop_ext_headers;
}

static __always_inline int parse_v6(struct xdp_md *ctx, struct pkt *p, void *data, void *end, __u64 off)
{
	struct ipv6hdr *ip = data + off;
	int err;

	if ((void *)(ip + 1) > end)
		return SLR_R_pass_truncated;
	p->family = AF_V6;
	p->l3 = off;
	__builtin_memcpy(p->k6.client, &ip->saddr, 16);
	__builtin_memcpy(p->k6.vaddr, &ip->daddr, 16);
	p->proto = ip->nexthdr;
	p->tos = ip->priority << 4 | ip->flow_lbl[0] >> 4;
	p->len = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	p->df = 1;
	p->frag = FRAG_NONE;
	if (ip->version != 6 || data + off + p->len > end)
		return SLR_R_drop_malformed_ip;
	p->l4 = off + sizeof(*ip);
	if (unlikely(p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP)) {
		err = skip_ext_headers(ctx, p);
		if (err)
			return err;
		data = (void *)(long)ctx->data;
		end = (void *)(long)ctx->data_end;
	}
	p->k6.proto = p->proto;
	if (p->frag == FRAG_LATER)
		return 0;
	p->l4 &= OFFSET_MAX;
	return parse_l4(p, data, end, p->l3 + p->len - p->l4, &p->k6.client_port);
}
