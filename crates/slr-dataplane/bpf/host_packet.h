/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* host_packet.h - what a host knows about a tunnel packet: where the header ends, who sent it, what it carries. Parsers
 * check bounds before they read and return 0 or the reason to stop with. */
#pragma once

#include "frame.h"
#include "host_maps.h"

#define IP_MF_OFFSET 0x3fff /* any fragment has one of these bits */

/* Not reasons, but what the content of a tunnel packet can be besides a datagram to deliver. */
#define CONTENT_TUNNEL (-1)
#define CONTENT_FOR_US (-2)

struct tunnel {
	__u64 l3; /* offset of the tunnel header: the length of the link header, tags included */
	__u64 content; /* offset of what it carries */
	__u64 end; /* offset at which the tunnel packet ends; the frame may be padded */
	__u64 len; /* of the datagram carried */
	__u32 peer; /* TUNNEL_* of its source */
	__u32 subnet; /* of the datagram's destination */
	__u8 proto; /* what it carries: IPPROTO_IPIP or IPPROTO_IPV6 */
	__u8 tos;
	__u8 mark; /* SLR_MARK_*, or 0: as the sender wrote it into the tunnel header */
};

/* Have we a tunnel address of this family? */
static __always_inline bool is_set(const __be32 *v6)
{
	return v6[0] | v6[1] | v6[2] | v6[3];
}

static __always_inline bool is_tunnel(__u8 proto)
{
	return proto == IPPROTO_IPIP || proto == IPPROTO_IPV6;
}

static __always_inline __be16 type_of(__u8 proto)
{
	return proto == IPPROTO_IPIP ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
}

static __always_inline int open_v4(struct host_config *cfg, struct tunnel *t, void *data, void *end, __u64 off)
{
	struct iphdr *ip = data + off;
	__u32 header, len;

	if ((void *)(ip + 1) > end)
		return SLR_H_pass_truncated;
	if (likely(!is_tunnel(ip->protocol)) || ip->daddr != cfg->tunnel_v4 || !ip->daddr)
		return SLR_H_pass_not_tunnel;
	t->peer = sender_v4(cfg, ip->saddr);
	if (!t->peer)
		return SLR_H_drop_stranger;
	header = ip->ihl * 4;
	len = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || header < sizeof(*ip) || len < header || off + len > (__u64)(end - data))
		return SLR_H_drop_malformed_outer;
	if (ip->frag_off & bpf_htons(IP_MF_OFFSET))
		return SLR_H_drop_tunnel_fragment;
	t->l3 = off;
	t->content = off + header;
	t->end = off + len;
	t->proto = ip->protocol;
	t->tos = ip->tos;
	t->mark = bpf_ntohs(ip->id) <= SLR_MARK_FINAL ? bpf_ntohs(ip->id) : 0;
	return 0;
}

/* Headers between ours and the content: RFC 2473 4.1.1 lets the sender put a limit of nesting there, and Linux does.
 * Leaves the content's offset and type; a fragment's are those of its first piece. */
separate int skip_options(struct xdp_md *ctx, struct tunnel *t)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	bool fragment = false;
	__u64 off;
	__u8 next;

	if (!t)
		return SLR_H_unset;
	off = t->content;
	next = t->proto;
	for (int i = 0; i < SLR_EXT_HEADERS_MAX; i++) {
		__u8 *ext;

		if (next != IPPROTO_DSTOPTS && next != IPPROTO_HOPOPTS && next != IPPROTO_FRAGMENT)
			break;
		off &= 0x1ff; /* no header that we read starts further in */
		ext = data + off;
		if ((void *)(ext + 8) > end)
			return SLR_H_pass_not_tunnel;
		if (next == IPPROTO_FRAGMENT) {
			fragment |= ext[2] | (ext[3] & 0xf9);
			off += 8;
		} else {
			off += (ext[1] + 1) * 8;
		}
		next = ext[0];
		if (off > 0x1ff)
			return SLR_H_pass_not_tunnel;
	}
	if (!is_tunnel(next))
		return SLR_H_pass_not_tunnel;
	t->content = off;
	t->proto = next;
	return fragment ? SLR_H_drop_tunnel_fragment : 0;
}

static __always_inline int open_v6(struct xdp_md *ctx, struct host_config *cfg, struct tunnel *t, void *data, void *end,
				   __u64 off)
{
	struct ipv6hdr *ip = data + off;
	__u64 frame = end - data;
	bool malformed;
	int err = 0;

	if ((void *)(ip + 1) > end)
		return SLR_H_pass_truncated;
	t->proto = ip->nexthdr;
	if (t->proto == IPPROTO_TCP || t->proto == IPPROTO_UDP || !is_set(cfg->tunnel_v6) ||
	    !same_v6((__be32 *)&ip->daddr, cfg->tunnel_v6))
		return SLR_H_pass_not_tunnel;
	t->l3 = off;
	t->content = off + sizeof(*ip);
	t->end = t->content + bpf_ntohs(ip->payload_len);
	t->tos = ip->priority << 4 | ip->flow_lbl[0] >> 4;
	t->mark = ip->flow_lbl[0] & 0xf;
	malformed = ip->version != 6 || t->end > frame;
	t->peer = sender_v6(cfg, &ip->saddr);
	if (unlikely(!is_tunnel(t->proto))) {
		err = skip_options(ctx, t);
		if (err && err != SLR_H_drop_tunnel_fragment)
			return err;
	}
	if (!t->peer)
		return SLR_H_drop_stranger;
	return malformed || t->content > t->end ? SLR_H_drop_malformed_outer : err;
}

/* The datagram inside: whole, for a virtual subnet of ours, not from one. */
static __always_inline int inspect_v4(struct host_config *cfg, struct tunnel *t, void *data, void *end)
{
	struct iphdr *ip = data + t->content;

	if ((void *)(ip + 1) > end)
		return SLR_H_drop_malformed_inner;
	t->len = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || ip->ihl < 5 || t->len < ip->ihl * 4u || t->content + t->len > t->end)
		return SLR_H_drop_malformed_inner;
	if (unlikely(is_tunnel(ip->protocol)))
		return CONTENT_TUNNEL;
	t->subnet = subnet_of_v4(cfg, ip->daddr);
	if (unlikely(t->subnet == NOT_SERVED))
		return ip->daddr == cfg->tunnel_v4 ? CONTENT_FOR_US : SLR_H_drop_not_served;
	return subnet_of_v4(cfg, ip->saddr) == NOT_SERVED ? 0 : SLR_H_drop_spoofed_source;
}

static __always_inline int inspect_v6(struct host_config *cfg, struct tunnel *t, void *data, void *end)
{
	struct ipv6hdr *ip = data + t->content;

	if ((void *)(ip + 1) > end)
		return SLR_H_drop_malformed_inner;
	t->len = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	if (ip->version != 6 || t->content + t->len > t->end)
		return SLR_H_drop_malformed_inner;
	if (unlikely(is_tunnel(ip->nexthdr)))
		return CONTENT_TUNNEL;
	t->subnet = subnet_of_v6(cfg, &ip->daddr);
	if (unlikely(t->subnet == NOT_SERVED))
		return same_v6((__be32 *)&ip->daddr, cfg->tunnel_v6) ? CONTENT_FOR_US : SLR_H_drop_not_served;
	return subnet_of_v6(cfg, &ip->saddr) == NOT_SERVED ? 0 : SLR_H_drop_spoofed_source;
}
