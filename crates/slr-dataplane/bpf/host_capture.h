/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* host_capture.h - whose packet a tunnel carried, for whoever captures: read from the frame as it came. */
#pragma once

#include "capture.h"
#include "host_packet.h"

#define CAPTURE_AT 0x1ff /* no content begins further in; also the verifier's bound */
#define CAPTURE_HEAD 768 /* and the headers that are read there end before this */

/* Is this packet looked at? Then its frame is kept as it came. */
separate int look_at(struct xdp_md *ctx)
{
	return is_chosen() && capture_before(ctx, CAPTURE_HEAD);
}

/* One IP header at `at`, into the note. Returns the offset behind it, and its protocol in *proto. */
static __always_inline __u32 note_header(struct capture_note *note, __u32 at, __u8 *proto)
{
	__u8 *ip = note->bytes + (at & CAPTURE_AT);

	if (*proto == IPPROTO_IPIP) {
		note->client = mapped_v4(*(__be32 *)(ip + 12));
		note->vaddr = mapped_v4(*(__be32 *)(ip + 16));
		*proto = ip[9];
		return at + (ip[0] & 0xf) * 4;
	}
	__builtin_memcpy(&note->client, ip + 8, 16);
	__builtin_memcpy(&note->vaddr, ip + 24, 16);
	*proto = ip[6];
	return at + sizeof(struct ipv6hdr);
}

/* The innermost datagram's addresses, and its port if it has one. A packet that is no tunnel's has `proto` 0. */
separate int note_content(__u64 content, int carried, __u32 why)
{
	struct capture_note *note = capture_note();
	__u32 at = content;
	__u8 proto = carried;

	if (!note)
		return 0;
	note->record.reason = why;
	note->record.out_ifindex = note->record.ifindex;
	for (int i = 0; i < SLR_CHAIN_HEADERS && is_tunnel(proto) && at && at <= CAPTURE_AT &&
			at + sizeof(struct ipv6hdr) <= note->record.before_kept;
	     i++)
		at = note_header(note, at, &proto);
	if ((proto == IPPROTO_TCP || proto == IPPROTO_UDP) && at && at <= CAPTURE_AT && at + 4 <= note->record.before_kept)
		note->vport = *(__be16 *)(note->bytes + (at & CAPTURE_AT) + 2);
	return 0;
}
