/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* siphash.h - SipHash-2-4 with 128 bits (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012, and its reference
 * implementation), of inputs whose length is a constant multiple of 8. Words are as they lie in memory, little endian. */
#pragma once

#include "base.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words are read as little endian: swap them where they are read and written"
#endif

struct siphash {
	__u64 v0, v1, v2, v3;
};

static __always_inline __u64 rotate_left(__u64 x, int bits)
{
	return x << bits | x >> (64 - bits);
}

static __always_inline void siphash_round(struct siphash *s)
{
	s->v0 += s->v1;
	s->v1 = rotate_left(s->v1, 13) ^ s->v0;
	s->v0 = rotate_left(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotate_left(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotate_left(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotate_left(s->v1, 17) ^ s->v2;
	s->v2 = rotate_left(s->v2, 32);
}

static __always_inline void siphash_begin(struct siphash *s, const __u64 *key)
{
	s->v0 = key[0] ^ 0x736f6d6570736575ULL;
	s->v1 = key[1] ^ 0x646f72616e646f6dULL ^ 0xee; /* 0xee: of 128 bits */
	s->v2 = key[0] ^ 0x6c7967656e657261ULL;
	s->v3 = key[1] ^ 0x7465646279746573ULL;
}

static __always_inline void siphash_word(struct siphash *s, __u64 word)
{
	s->v3 ^= word;
	siphash_round(s);
	siphash_round(s);
	s->v0 ^= word;
}

/* `len`: of all words, in bytes. */
static __always_inline void siphash_end(struct siphash *s, __u64 len, __u64 *digest)
{
	siphash_word(s, len << 56);
	s->v2 ^= 0xee;
	for (int i = 0; i < 4; i++)
		siphash_round(s);
	digest[0] = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
	s->v1 ^= 0xdd;
	for (int i = 0; i < 4; i++)
		siphash_round(s);
	digest[1] = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}
