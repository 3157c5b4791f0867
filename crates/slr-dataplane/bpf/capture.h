/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* capture.h - packets as they came and as they left, with their reason, for whoever asked. Both objects have a second entry
 * program that does this. It and the maps below are loaded by whoever captures, over the daemon's tables, and are on the
 * interfaces only so long: nothing else pays for them. What a capture may cost is bounded by share, rate and ring; nothing waits
 * for the reader, and what has no room is counted. Maps named `capture...` are of one capture and are never pinned. */
#pragma once

#include "frame.h"
#include "limit.h"

/* Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct capture_filter);
	__uint(max_entries, 1);
} capture_filter SEC(".maps");

/* Written here, read by whoever captures. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SLR_CAPTURE_BYTES);
} capture_ring SEC(".maps");

/* One for all CPUs: the rate that was asked for is that of the capture. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct bucket);
	__uint(max_entries, 1);
} capture_bucket SEC(".maps");

/* CAPTURE_*: what became of packets that were to be looked at. Written here, read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, CAPTURE_NUM);
} capture_counts SEC(".maps");

/* The packet that a CPU is at. The record and the bytes behind it go to the ring in one piece. Not in abi.h: user space never sees
 * it. */
struct capture_note {
	struct slr_addr client; /* zero if the frame has no address */
	struct slr_addr vaddr;
	struct slr_addr sender; /* of its outermost header: the client, or who sent the tunnel packet */
	__be16 vport;
	__u16 pad[3];
	struct capture_record record;
	__u8 bytes[2 * SLR_CAPTURE_SNAP_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct capture_note);
	__uint(max_entries, 1);
} capture_scratch SEC(".maps");

static __always_inline struct capture_note *capture_note(void)
{
	__u32 zero = 0;

	return map_lookup(&capture_scratch, &zero);
}

static __always_inline struct capture_filter *get_capture_filter(void)
{
	__u32 zero = 0;

	return map_lookup(&capture_filter, &zero);
}

static __always_inline void count_capture(__u32 what)
{
	__u64 *count = map_lookup(&capture_counts, &what);

	if (count)
		(*count)++;
}

/* How many packets of a CPU go by before the next that is looked at: a cache line for each CPU. (CPUs beyond share lines, which makes
 * their distances a little more random.) Not a per-CPU map: its look-up was half of what a packet paid that is not looked at. */
static struct {
	__s32 left;
	__u32 pad[15];
} capture_turns[SLR_CAPTURE_CPUS] SEC(".bss.capture");

/* Is this packet looked at? One that is not pays for no call: a random number for each was measured at a third of a packet's own cost.
 * The distance is even between nothing and twice the mean. */
static __always_inline bool is_chosen(void)
{
	__s32 *left = &capture_turns[bpf_get_smp_processor_id() % SLR_CAPTURE_CPUS].left;
	struct capture_filter *f;

	if (likely(--*left >= 0))
		return false;
	f = get_capture_filter();
	*left = f && f->one_in > 1 ? bpf_get_prandom_u32() % (2 * f->one_in - 1) : 0;
	return f;
}

/* Computed where it stands: the verifier lets no half of a packet's address be kept on the stack. */
static __always_inline __u32 frame_len(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 len = end - data;

	asm volatile("" : "+r"(len));
	return len;
}

/* Up to `room` bytes of the frame to `at` in the note's bytes; how many. 0: none could be read. */
static __always_inline __u32 copy_frame(struct xdp_md *ctx, struct capture_note *note, __u32 at, __u32 len, __u32 room)
{
	if (room > SLR_CAPTURE_SNAP_MAX)
		room = SLR_CAPTURE_SNAP_MAX;
	if (len > room)
		len = room;
	if (at > SLR_CAPTURE_SNAP_MAX)
		return 0;
	return load_bytes(ctx, 0, note->bytes + at, len, SLR_CAPTURE_SNAP_MAX) ? 0 : len;
}

/* Keeps the frame as it came: `head` bytes of it at least. Returns whether there is somebody who captures, and may: beyond the rate
 * nobody pays for frames that have no room, so it is not known whether they are asked for. */
separate int capture_before(struct xdp_md *ctx, __u32 head)
{
	struct capture_filter *f = get_capture_filter();
	struct capture_note *note = capture_note();
	__u32 zero = 0, len = frame_len(ctx);
	struct bucket *b = map_lookup(&capture_bucket, &zero);
	__u64 now_ns = bpf_ktime_get_ns();

	if (!f || !note || !b || now_ns > f->until_ns)
		return false;
	if (!has_token(b, now_ns, f->per_s, f->burst)) {
		count_capture(CAPTURE_LIMITED);
		return false;
	}
	__builtin_memset(note, 0, offsetof(struct capture_note, bytes));
	note->record.at_ns = now_ns;
	note->record.ifindex = ctx->ingress_ifindex;
	note->record.before_len = len;
	note->record.before_kept = copy_frame(ctx, note, 0, len, f->snap > head ? f->snap : head);
	return note->record.before_kept > 0;
}

static __always_inline bool same_addr(const struct slr_addr *a, const struct slr_addr *b, const struct slr_addr *mask)
{
	__u32 differs = 0;

	for (int i = 0; i < 4; i++)
		differs |= (a->word[i] ^ b->word[i]) & mask->word[i];
	return !differs;
}

#define CAPTURE_AT 0x1ff /* no header that is read begins further in; also the verifier's bound */
#define CAPTURE_HEADERS 9 /* behind the outermost that are read: a chain that is too deep, or extension headers */

static __always_inline bool is_ip(__u8 proto)
{
	return proto == IPPROTO_IPIP || proto == IPPROTO_IPV6;
}

static __always_inline bool is_extension(__u8 proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_FRAGMENT || proto == IPPROTO_DSTOPTS;
}

/* The header at `at`, an IP header's addresses into the note; `proto`: what it is, then what follows. Returns the offset behind it. 0:
 * nothing that follows can be read. Content that is of another version than its tunnel header says has no addresses; a frame has them where
 * the program looks for them. */
static __always_inline __u32 note_header(struct capture_note *note, __u32 at, __u8 *proto, bool inner)
{
	__u8 *head = note->bytes + (at & CAPTURE_AT), is = *proto;
	__u32 len = is == IPPROTO_IPIP ? sizeof(struct iphdr) : is == IPPROTO_IPV6 ? sizeof(struct ipv6hdr) : 8;

	if (at > CAPTURE_AT || at + len > note->record.before_kept)
		return 0;
	if (is == IPPROTO_IPIP) {
		if (inner && head[0] >> 4 != 4)
			return 0;
		note->client = mapped_v4(*(__be32 *)(head + 12));
		note->vaddr = mapped_v4(*(__be32 *)(head + 16));
		*proto = head[9];
		if ((head[0] & 0xf) < 5 || *(__be16 *)(head + 6) & bpf_htons(0x1fff))
			return 0;
		return at + (head[0] & 0xf) * 4;
	}
	if (is == IPPROTO_IPV6) {
		if (inner && head[0] >> 4 != 6)
			return 0;
		/* Words: clang knows of no alignment, and would copy byte by byte. */
		for (int i = 0; i < 4; i++) {
			note->client.word[i] = ((__be32 *)(head + 8))[i];
			note->vaddr.word[i] = ((__be32 *)(head + 24))[i];
		}
		*proto = head[6];
		return at + len;
	}
	*proto = head[0];
	if (is == IPPROTO_FRAGMENT)
		return *(__be16 *)(head + 2) & bpf_htons(0xfff8) ? 0 : at + len;
	return at + (head[1] + 1) * 8;
}

/* Whose packet it is, into the note: the addresses of the innermost datagram that can be read, and its port if it has one. From the frame
 * as it came: what ended the packet may have been anywhere on the way through its headers. */
separate int note_frame(void)
{
	struct capture_note *note = capture_note();
	__u32 at = ETH_HLEN;
	__be16 type;
	__u8 proto;

	if (!note)
		return 0;
	type = *(__be16 *)(note->bytes + at - 2);
	for (int i = 0; i < SLR_VLAN_TAGS_MAX && is_vlan(type); i++) {
		at += 4;
		type = *(__be16 *)(note->bytes + at - 2);
	}
	if (type != bpf_htons(ETH_P_IP) && type != bpf_htons(ETH_P_IPV6))
		return 0;
	proto = type == bpf_htons(ETH_P_IP) ? IPPROTO_IPIP : IPPROTO_IPV6;
	at = note_header(note, at, &proto, false);
	note->sender = note->client;
	for (int i = 0; i < CAPTURE_HEADERS && at && (is_ip(proto) || is_extension(proto)); i++)
		at = note_header(note, at, &proto, true);
	if ((proto == IPPROTO_TCP || proto == IPPROTO_UDP) && at && at <= CAPTURE_AT && at + 4 <= note->record.before_kept)
		note->vport = *(__be16 *)(note->bytes + (at & CAPTURE_AT) + 2);
	return 0;
}

/* Is the packet of the note what is asked for? A tunnel packet that was dropped is its sender's too: perhaps for what only that one did. */
static __always_inline bool is_asked_for(struct capture_filter *f, struct capture_note *note, int action)
{
	static const struct slr_addr whole = { { ~0U, ~0U, ~0U, ~0U } };
	__u32 why = note->record.reason;

	if (why >= SLR_REASONS_MAX || !(f->reasons[why / 64] >> (why % 64) & 1))
		return false;
	if (f->hop && f->hop != note->record.hop)
		return false;
	if (f->vport && f->vport != note->vport)
		return false;
	if (f->vaddr.word[3] | f->vaddr.word[2] | f->vaddr.word[1] | f->vaddr.word[0] &&
	    !same_addr(&f->vaddr, &note->vaddr, &whole))
		return false;
	return same_addr(&f->client, &note->client, &f->client_mask) ||
	       (action == XDP_DROP && same_addr(&f->client, &note->sender, &f->client_mask));
}

/* Has the frame that goes on or back other bytes than the one that came? */
static __always_inline bool has_changed(int action, struct capture_note *note, __u32 len)
{
	return action == XDP_TX || action == XDP_REDIRECT || (action == XDP_PASS && len != note->record.before_len);
}

/* The frame as it leaves, and all of it to whoever captures, if it is asked for. The note has the rest. Returns nothing of use. */
separate int capture_after(struct xdp_md *ctx, int action)
{
	struct capture_filter *f = get_capture_filter();
	struct capture_note *note = capture_note();
	__u32 zero = 0, len = frame_len(ctx), kept;
	struct bucket *b = map_lookup(&capture_bucket, &zero);

	if (!f || !note || !b || !is_asked_for(f, note, action))
		return 0;
	if (!take_token(b, note->record.at_ns, f->per_s, f->burst)) {
		count_capture(CAPTURE_LIMITED);
		return 0;
	}
	kept = note->record.before_kept;
	if (kept > f->snap)
		kept = f->snap;
	note->record.before_kept = kept;
	note->record.verdict = action;
	if (has_changed(action, note, len)) {
		note->record.after_len = len;
		note->record.after_kept = copy_frame(ctx, note, kept, len, f->snap);
		kept += note->record.after_kept;
	}
	if (kept > sizeof(note->bytes))
		return 0;
	/* The reader comes by itself: to wake it would be an interrupt on this CPU for each captured packet. */
	if (bpf_ringbuf_output(&capture_ring, &note->record, sizeof(note->record) + kept, BPF_RB_NO_WAKEUP))
		count_capture(CAPTURE_LOST);
	else
		count_capture(CAPTURE_WRITTEN);
	return 0;
}
