/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* host_sweep.h - finds the flows that have stalled: something is due from the client, and nothing has come for longer than the flow's
 * round trip explains. The daemon reads an iterator every few milliseconds while there are watched flows; what it reads are the
 * stalls, and nothing of the flows that go on.
 *
 * What the stack keeps is enough for TCP: no packet is looked at. Feedback is any segment (`segs_in`), outstanding is what the stack
 * still has to have acknowledged (`packets_out`), an arrival is new data (`rcv_nxt`). A sweep sees them change or stand still.
 */
#pragma once

#include "host_watch.h"

#define NS_PER_US 1000ULL
#define NS_PER_MS 1000000ULL

/* The kernel's types, as far as they are read; where the fields are is found out when the program is loaded (CO-RE). */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct in6_addr_k {
	__be32 word[4];
};
struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};
struct sock {
	struct sock_common __sk_common;
};
struct tcp_options_received {
	__u32 ts_recent;
};
struct tcp_sock {
	__u32 srtt_us; /* eight times */
	__u32 packets_out;
	__u32 snd_una;
	__u32 snd_nxt;
	__u32 rcv_nxt;
	__u32 segs_in;
	__u32 tsoffset;
	struct tcp_options_received rx_opt;
};
struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
};
struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct sock *sk;
	void *value;
};
struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
};
#pragma clang attribute pop

enum { STATE_ESTABLISHED = 1, STATE_FIN_WAIT1 = 4, STATE_CLOSE_WAIT = 8, STATE_LAST_ACK = 9, STATE_CLOSING = 11 };

/* Of the sweep under way; one daemon sweeps. */
static __u32 visited;

/* Whether there was room: if not, the kernel hands over what is written and shows the same flow again, so nothing may be remembered of what
 * was not told. */
static __always_inline bool tell_stall(struct bpf_iter_meta *meta, struct stall *s)
{
	return !bpf_seq_write(meta->seq, s, sizeof(*s));
}

static __always_inline int end_sweep(struct bpf_iter_meta *meta)
{
	struct stall s = { .kind = STALL_SWEPT, .quiet_us = visited };

	visited = 0;
	tell_stall(meta, &s);
	return 0;
}

/* Whose flow it is, from the server's side. */
static __always_inline void flow_of(struct sock *sk, struct claim *flow)
{
	flow->proto = IPPROTO_TCP;
	flow->client_port = sk->__sk_common.skc_dport;
	flow->vport = bpf_htons(sk->__sk_common.skc_num);
	if (sk->__sk_common.skc_family == FAMILY_INET) {
		flow->client = mapped_v4(sk->__sk_common.skc_daddr);
		flow->vaddr = mapped_v4(sk->__sk_common.skc_rcv_saddr);
	} else { /* an IPv4 client of a dual-stack socket is mapped already */
		bpf_probe_read_kernel(&flow->client, sizeof(flow->client), &sk->__sk_common.skc_v6_daddr);
		bpf_probe_read_kernel(&flow->vaddr, sizeof(flow->vaddr), &sk->__sk_common.skc_v6_rcv_saddr);
	}
}

/* The subnet's floor in nanoseconds; 0: not watched, or not ours any more. */
static __always_inline __u64 floor_of(struct slr_addr *vaddr)
{
	struct host_config *cfg = get_config();
	struct stall_limit *limit;
	__u32 subnet;

	if (!cfg)
		return 0;
	subnet = is_v4(vaddr) ? subnet_of_v4(cfg, vaddr->word[3]) : subnet_of_v6(cfg, vaddr);
	limit = bpf_map_lookup_elem(&stall_limits, &subnet);
	return limit ? limit->floor_us * NS_PER_US : 0;
}

/* How long a client may say nothing that owes us something. */
static __always_inline __u64 patience(__u64 floor_ns, __u32 srtt_us)
{
	__u64 rtts = SLR_STALL_RTTS * srtt_us * NS_PER_US;

	return rtts > floor_ns ? rtts : floor_ns;
}

static __always_inline __u64 usual_gap(__u32 gap_us, __u32 dev_us)
{
	return (gap_us + 4ULL * dev_us) * NS_PER_US;
}

/* Takes in what has changed since the last sweep. */
static __always_inline void observe(struct watch *w, struct tcp_sock *tp, __u64 now)
{
	bool heard = tp->segs_in != w->segs_in || !w->active_ns;

	if (heard)
		w->segs_in = tp->segs_in;
	if (heard || !tp->packets_out)
		w->heard_ns = now;
	if (heard || tp->packets_out)
		w->active_ns = now;
	if (tp->rcv_nxt != w->rcv_nxt) {
		/* What comes within two sweeps came at once: the segments of one message. */
		if (w->arrived_ns && now - w->arrived_ns > SLR_BURST_MS * NS_PER_MS)
			note_gap(&w->gap_us, &w->gap_dev_us, now - w->arrived_ns);
		w->arrivals++;
		w->rcv_nxt = tp->rcv_nxt;
		w->snd_nxt_then = w->snd_nxt;
		w->arrived_ns = now;
	}
	w->snd_nxt = tp->snd_nxt;
}

/* Is what was told of it no more? Who owes an answer is heard with any segment. Who was expected to go on is not by an acknowledgement, which is
 * what a nudge draws: else one that pauses would be asked for as long as it does. */
static __always_inline bool is_over(struct watch *w)
{
	return w->told_ns && (w->told == STALL_RECEIVING ? w->arrived_ns : w->heard_ns) > w->told_ns;
}

/* Is there something new to tell? What a client owes is told again and again, to a daemon that began meanwhile; what it only was expected to say,
 * once. */
static __always_inline bool is_told(struct watch *w, __u32 kind, __u64 now)
{
	return w->told_ns && w->told == kind &&
	       (kind == STALL_RECEIVING || now - w->told_ns < SLR_STALL_AGAIN_MS * NS_PER_MS);
}

/* STALL_* of a flow. */
static __always_inline __u32 judge(struct watch *w, struct tcp_sock *tp, __u64 now, __u64 floor_ns, __u64 *quiet_ns)
{
	__u64 most = patience(floor_ns, tp->srtt_us >> 3);
	bool unanswered = tp->snd_nxt == w->snd_nxt_then, regular = w->gap_dev_us * 2ULL < w->gap_us;

	if (tp->packets_out) {
		*quiet_ns = now - w->heard_ns;
		if (tp->packets_out == 1)
			most += SLR_STALL_LONE_MS * NS_PER_MS;
		return *quiet_ns > most ? STALL_SENDING : STALL_NONE;
	}
	/* Nothing is owed. Is more to be expected? In the middle of an upload, and of a client that asks at even distances. */
	if (!(unanswered && w->arrivals >= SLR_UPLOAD_ARRIVALS) && !(regular && w->arrivals >= SLR_REGULAR_ARRIVALS))
		return STALL_NONE;
	*quiet_ns = now - w->arrived_ns;
	most += usual_gap(w->gap_us, w->gap_dev_us);
	return *quiet_ns > most ? STALL_RECEIVING : STALL_NONE;
}

static __always_inline void fill(struct stall *s, struct tcp_sock *tp, __u64 now)
{
	s->srtt_us = tp->srtt_us >> 3;
	s->snd_una = tp->snd_una;
	s->rcv_nxt = tp->rcv_nxt;
	s->ts_val = now / NS_PER_MS + tp->tsoffset;
	s->ts_recent = tp->rx_opt.ts_recent;
}

SEC("iter/bpf_sk_storage_map")
int slr_sweep_tcp(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;
	struct watch *w = ctx->value;
	struct stall s = {};
	struct tcp_sock *tp;
	__u64 now, floor_ns, quiet_ns = 0;
	__u8 state;

	if (!sk || !w)
		return end_sweep(ctx->meta);
	tp = bpf_skc_to_tcp_sock(sk);
	state = sk->__sk_common.skc_state;
	now = bpf_ktime_get_ns();
	flow_of(sk, &s.flow);
	floor_ns = floor_of(&s.flow.vaddr);
	if (!tp || !floor_ns || !(1U << state & (1 << STATE_ESTABLISHED | 1 << STATE_FIN_WAIT1 | 1 << STATE_CLOSE_WAIT |
						 1 << STATE_LAST_ACK | 1 << STATE_CLOSING))) {
		bpf_sk_storage_delete(&watched, sk);
		return 0;
	}
	visited++;
	observe(w, tp, now);
	if (is_over(w)) {
		s.kind = STALL_OVER;
		if (tell_stall(ctx->meta, &s))
			w->told_ns = 0;
		return 0;
	}
	s.kind = judge(w, tp, now, floor_ns, &quiet_ns);
	if (s.kind && !is_told(w, s.kind, now)) {
		s.quiet_us = quiet_ns / NS_PER_US;
		fill(&s, tp, now);
		if (tell_stall(ctx->meta, &s)) {
			w->told_ns = now;
			w->told = s.kind;
		}
	} else if (now - w->active_ns > SLR_WATCH_IDLE_MS * NS_PER_MS) {
		bpf_sk_storage_delete(&watched, sk);
	}
	return 0;
}

SEC("iter/bpf_map_elem")
int slr_sweep_udp(struct bpf_iter__bpf_map_elem *ctx)
{
	struct claim *flow = ctx->key;
	struct talk *t = ctx->value;
	struct stall s = { .kind = STALL_DATAGRAMS };
	__u64 now = bpf_ktime_get_ns(), floor_ns, quiet_ns;

	if (!flow || !t)
		return end_sweep(ctx->meta);
	quiet_ns = now - t->heard_ns;
	if (now - t->sent_ns > SLR_WATCH_IDLE_MS * NS_PER_MS && quiet_ns > SLR_WATCH_IDLE_MS * NS_PER_MS)
		return 0;
	visited++;
	s.flow = *flow;
	if (t->told_ns && t->heard_ns > t->told_ns) {
		s.kind = STALL_OVER;
		if (tell_stall(ctx->meta, &s))
			t->told_ns = 0;
		return 0;
	}
	if (t->unanswered < SLR_UDP_UNANSWERED || (t->told_ns && now - t->told_ns < SLR_STALL_AGAIN_MS * NS_PER_MS))
		return 0;
	floor_ns = floor_of(&s.flow.vaddr);
	if (!floor_ns || quiet_ns < 2 * floor_ns + usual_gap(t->gap_us, t->gap_dev_us))
		return 0;
	s.quiet_us = quiet_ns / NS_PER_US;
	if (tell_stall(ctx->meta, &s))
		t->told_ns = now;
	return 0;
}
