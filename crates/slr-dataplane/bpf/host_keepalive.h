/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* host_keepalive.h - keepalives at a host: what a tunnel may carry for the host's own tunnel address. */
#pragma once

#include "host_packet.h"
#include "keepalive.h"

/* Content for our own tunnel address: a keepalive, or nothing that belongs into a tunnel. */
separate int keepalive(struct xdp_md *ctx, struct tunnel *t)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 at, l3, header;
	bool v6, plain;
	__be16 *port;
	__u8 upper;

	if (!t)
		return SLR_H_unset;
	at = t->content & 0x1ff;
	l3 = t->l3 & 0x1f;
	v6 = t->proto == IPPROTO_IPV6;
	if (data + at + sizeof(struct ipv6hdr) > end) /* as long as any whole keepalive */
		return SLR_H_drop_keepalive;
	if (v6) {
		struct ipv6hdr *ip = data + at;

		header = sizeof(*ip);
		upper = ip->nexthdr;
		plain = true;
	} else {
		struct iphdr *ip = data + at;

		header = sizeof(*ip);
		upper = ip->protocol;
		plain = ip->ihl == 5 && !(ip->frag_off & bpf_htons(IP_MF_OFFSET));
	}
	if (upper != IPPROTO_UDP || !plain)
		return SLR_H_drop_not_served;
	port = data + at + header;
	if ((void *)(port + 2) > end || port[1] != bpf_htons(SLR_KEEPALIVE_PORT))
		return SLR_H_drop_not_served;
	if (!(t->peer & TUNNEL_ROUTER))
		return SLR_H_drop_keepalive;
	if (!is_request(data, end, at + header, at + t->len))
		return SLR_H_drop_keepalive;
	if (pull(ctx, t->l3, at - t->l3, type_of(t->proto)) || turn_round(ctx, l3, v6))
		return SLR_H_drop_keepalive;
	t->len = reply_len(v6);
	return SLR_H_reply_keepalive;
}
