/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* advert.h - a client's answer to an augmented echo request (docs/wire.md): it carries what a host says of its flows. What is
 * well formed, the packet's own, authentic and new goes to the daemon; nothing else costs more than it takes to find out. */
#pragma once

#include "flows.h"
#include "siphash.h"

/* An echo reply with an advertisement. Everything before `advert` is of an ordinary one. */
struct echo_advert {
	struct icmp_header header;
	__u8 ordinary[SLR_ADVERT_ORDINARY];
	struct flow_advert advert;
};

_Static_assert(sizeof(struct echo_advert) == 344, "on the wire");

/* Where the parts that are hashed begin and end, in words of 8 bytes. */
#define WORD_OF(field) (offsetof(struct flow_advert, field) / 8)
#define NODE_WORDS (SLR_ADVERT_NODE_LEN / 8)
#define KEY_INPUT_LEN ((NODE_WORDS + 2 + 2 + 1) * 8) /* node, server, virtual prefix; its length and family */

/* Does an echo reply carry an advertisement? */
static __always_inline bool is_advert(struct xdp_md *ctx, struct pkt *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct echo_advert *e = data + (p->l4 & OFFSET_MAX);

	if ((void *)&e->advert.version > end || p->l4 + offsetof(struct echo_advert, advert.version) > p->l3 + p->len)
		return false;
	return !e->header.code && e->advert.magic == bpf_htonl(SLR_ADVERT_MAGIC);
}

/* The mask of a 64-bit half of an address, in network order. `bits`: of the prefix, from this half on. */
static __always_inline __u64 half_mask(int bits)
{
	if (bits <= 0)
		return 0;
	return bits >= 64 ? ~0ULL : bpf_cpu_to_be64(~0ULL << (64 - bits));
}

static __always_inline bool is_bounded(struct pkt *p, struct flow_advert *a)
{
	return a->version == SLR_ADVERT_VERSION && a->family == p->family && a->count &&
	       a->count <= SLR_ADVERT_FLOWS_MAX && a->prefix_len <= (p->family == AF_V4 ? 32 : 128) &&
	       a->mask == MASK_ALL && a->tunnel == SLR_ADVERT_TUNNEL_IPIP && !a->tunnel_port;
}

/* Is it of the client that sent the packet, and of the address that it was sent to? */
static __always_inline bool is_of_ends(struct pkt *p, struct flow_advert *a)
{
	if (p->family == AF_V4) {
		struct slr_addr client = mapped_v4(p->k4.client), vaddr = mapped_v4(p->k4.vaddr);

		return same_v6(a->client.word, client.word) && same_v6(a->vaddr.word, vaddr.word);
	}
	return same_v6(a->client.word, p->k6.client) && same_v6(a->vaddr.word, p->k6.vaddr);
}

/* The key of the host that the advertisement names, for the subnet that it names. */
static __always_inline void key_of(struct flow_advert *a, const __u64 *master, __u64 *key)
{
	int bits = a->family == AF_V4 ? 96 + a->prefix_len : a->prefix_len;
	const __u64 *word = (const __u64 *)a;
	struct siphash s;

	siphash_begin(&s, master);
	for (int i = 0; i < NODE_WORDS; i++)
		siphash_word(&s, word[WORD_OF(node) + i]);
	siphash_word(&s, word[WORD_OF(server)]);
	siphash_word(&s, word[WORD_OF(server) + 1]);
	siphash_word(&s, word[WORD_OF(vaddr)] & half_mask(bits));
	siphash_word(&s, word[WORD_OF(vaddr) + 1] & half_mask(bits - 64));
	siphash_word(&s, a->prefix_len | (__u64)a->family << 8);
	siphash_end(&s, KEY_INPUT_LEN, key);
}

/* Is it signed with that key? Without a branch that depends on how much of the MAC is right. */
static __always_inline bool is_authentic(struct flow_advert *a, const __u64 *key)
{
	const __u64 *word = (const __u64 *)a;
	struct siphash s;
	__u64 mac[2];

	siphash_begin(&s, key);
	for (unsigned long i = 0; i < WORD_OF(mac); i++)
		siphash_word(&s, word[i]);
	siphash_end(&s, offsetof(struct flow_advert, mac), mac);
	return !((mac[0] ^ word[WORD_OF(mac)]) | (mac[1] ^ word[WORD_OF(mac) + 1]));
}

/* What is authentic is taken once, and at a bounded rate. */
static __always_inline int admit_advert(struct pkt *p, struct flow_advert *a)
{
	const __u64 *word = (const __u64 *)a;
	__u64 mac[2] = { word[WORD_OF(mac)], word[WORD_OF(mac) + 1] };
	__u32 zero = 0;
	struct bucket *b = map_lookup(&advert_bucket, &zero);

	if (bpf_map_update_elem(&adverts_seen, mac, &zero, BPF_NOEXIST))
		return SLR_R_drop_advert_replayed;
	if (!b || !take_of_prefix(&advert_buckets, p, SLR_ADVERTS_PREFIX_PER_S, SLR_ADVERTS_PREFIX_BURST) ||
	    !take_token(b, bpf_ktime_get_ns(), SLR_ADVERTS_PER_S, SLR_ADVERTS_BURST))
		return SLR_R_drop_advert_limit;
	return 0;
}

/* To the daemon. `len`: of the datagram, which is one of two constants. */
static __always_inline int queue_advert(struct xdp_md *ctx, struct pkt *p, __u32 len)
{
	struct advert_record *r = bpf_ringbuf_reserve(&adverts, sizeof(*r), 0);
	long failed;

	if (!r)
		return SLR_R_drop_advert_limit;
	r->len = len;
	r->family = p->family;
	if (p->family == AF_V4)
		failed = bpf_xdp_load_bytes(ctx, p->l3 & 0x1f, r->datagram, SLR_ADVERT_LEN_V4);
	else
		failed = bpf_xdp_load_bytes(ctx, p->l3 & 0x1f, r->datagram, SLR_ADVERT_LEN_V6);
	if (failed) {
		bpf_ringbuf_discard(r, 0);
		return SLR_R_drop_advert_length;
	}
	bpf_ringbuf_submit(r, 0);
	return SLR_R_drop_advert_taken;
}

/* p is an echo reply with an advertisement. */
separate int advert(struct xdp_md *ctx, struct pkt *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct advert_master *master;
	struct echo_advert *e;
	__u32 len, epoch;
	__u64 key[2];
	int err;

	if (!p)
		return SLR_R_unset;
	if (p->frag)
		return SLR_R_drop_advert_fragment;
	e = data + (p->l4 & OFFSET_MAX);
	asm volatile("" : "+r"(e)); /* or clang makes it anew where it is used, and to the verifier that is another, unchecked pointer */
	len = p->family == AF_V4 ? SLR_ADVERT_LEN_V4 : SLR_ADVERT_LEN_V6;
	if (p->len != len || p->l4 + sizeof(*e) != p->l3 + len || (void *)(e + 1) > end)
		return SLR_R_drop_advert_length;
	if (!is_bounded(p, &e->advert))
		return SLR_R_drop_advert_form;
	if (!is_of_ends(p, &e->advert))
		return SLR_R_drop_advert_ends;
	epoch = bpf_ntohl(e->advert.epoch);
	master = map_lookup(&advert_masters, &epoch);
	if (!master)
		return SLR_R_drop_advert_epoch;
	key_of(&e->advert, master->key, key);
	if (!is_authentic(&e->advert, key))
		return SLR_R_drop_advert_mac;
	err = admit_advert(p, &e->advert);
	return err ? err : queue_advert(ctx, p, len);
}
