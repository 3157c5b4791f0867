/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* host_capture.h - what a host's program notes for whoever captures. */
#pragma once

#include "capture.h"

#define CAPTURE_HEAD 768 /* the headers that note_frame() reads end before this */

/* Is this packet looked at? Then its frame is kept as it came. */
separate int look_at(struct xdp_md *ctx)
{
	return is_chosen() && capture_before(ctx, CAPTURE_HEAD);
}

/* What became of the packet. Returns nothing of use. */
separate int note_outcome(struct xdp_md *ctx, __u32 why, int action)
{
	struct capture_note *note = capture_note();

	if (!note)
		return 0;
	note->record.reason = why;
	note->record.out_ifindex = note->record.ifindex;
	note_frame();
	return capture_after(ctx, action);
}
