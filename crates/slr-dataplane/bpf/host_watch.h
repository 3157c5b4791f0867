/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* host_watch.h - which flows a sweep (host_sweep.h) has to visit: those that speak. A TCP socket gets its storage with the
 * first segment that leaves, be it an acknowledgement; after that a packet costs one look-up in its own socket. */
#pragma once

#include "host_maps.h"

/* The first flow after a silence wakes the daemon, which sweeps from then on. */
static __always_inline void wake_sweeper(void)
{
	__u32 zero = 0, *sleeps = bpf_map_lookup_elem(&sweeper_sleeps, &zero);

	if (sleeps && *(volatile __u32 *)sleeps && __sync_lock_test_and_set(sleeps, 0))
		bpf_ringbuf_output(&wakes, &zero, sizeof(zero), BPF_RB_FORCE_WAKEUP);
}

static __always_inline bool is_watched(__u32 subnet)
{
	struct stall_limit *limit = bpf_map_lookup_elem(&stall_limits, &subnet);

	return limit && limit->floor_us;
}

/* A segment leaves from a virtual address. */
static __always_inline void watch_tcp(struct __sk_buff *skb, __u32 subnet)
{
	struct bpf_sock *sk = skb->sk;

	if (!sk || likely(bpf_sk_storage_get(&watched, sk, NULL, 0)) || !is_watched(subnet))
		return;
	/* Not of what is no full socket: a handshake, the rest of an ended connection. */
	if (bpf_sk_storage_get(&watched, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE))
		wake_sweeper();
}

/* RFC 6298 2.3, with the gaps between arrivals for round trips. */
static __always_inline void note_gap(__u32 *mean_us, __u32 *dev_us, __u64 gap_ns)
{
	__u64 long_us = gap_ns / 1000;
	__u32 gap = long_us > SLR_WATCH_IDLE_MS * 1000 ? SLR_WATCH_IDLE_MS * 1000 : long_us, off;

	if (!*mean_us) {
		*mean_us = gap;
		*dev_us = gap / 2;
		return;
	}
	off = gap > *mean_us ? gap - *mean_us : *mean_us - gap;
	*dev_us = *dev_us - *dev_us / 4 + off / 4;
	*mean_us = *mean_us - *mean_us / 8 + gap / 8;
}

/* A client's datagram is about to be delivered. Once it has been answered before, this is a conversation. */
static __always_inline void hear_datagram(struct claim *flow)
{
	__u64 now = bpf_ktime_get_ns();
	struct talk *known = bpf_map_lookup_elem(&udp_talks, flow), begun = { .heard_ns = now, .arrivals = 1 };

	if (known) {
		note_gap(&known->gap_us, &known->gap_dev_us, now - known->heard_ns);
		known->heard_ns = now;
		known->unanswered = 0;
		known->arrivals++;
		wake_sweeper();
	} else if (bpf_map_lookup_elem(&udp_answered, flow)) {
		bpf_map_update_elem(&udp_talks, flow, &begun, BPF_ANY);
		wake_sweeper();
	}
}

/* A datagram leaves in such a conversation. */
static __always_inline void speak_datagram(struct claim *flow, __u64 now)
{
	struct talk *known = bpf_map_lookup_elem(&udp_talks, flow);

	if (!known)
		return;
	known->sent_ns = now;
	known->unanswered++;
	wake_sweeper();
}
