/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* limit.h - token buckets. Credit is in millionths of a token, so that a microsecond's refill is one multiplication. Two
 * CPUs may update one bucket at once and lose a token or two: a limit needs no more. */
#pragma once

#include "base.h"

#define TOKEN 1000000ULL
#define REFILL_US_MAX 60000000ULL /* an idle bucket is full after a minute at the latest; also keeps the product in range */

static __always_inline __u64 credit_of(struct bucket *b, __u64 gap_us, __u32 per_s, __u32 burst)
{
	__u64 credit;

	if (gap_us > REFILL_US_MAX)
		gap_us = REFILL_US_MAX;
	credit = b->credit + gap_us * per_s;
	return credit > burst * TOKEN ? burst * TOKEN : credit;
}

/* Would take_token() give one? Nothing is written. */
static __always_inline bool has_token(struct bucket *b, __u64 now_ns, __u32 per_s, __u32 burst)
{
	return credit_of(b, (now_ns - b->stamp_ns) / 1000, per_s, burst) >= TOKEN;
}

static __always_inline bool take_token(struct bucket *b, __u64 now_ns, __u32 per_s, __u32 burst)
{
	__u64 gap_us = (now_ns - b->stamp_ns) / 1000;
	__u64 credit = credit_of(b, gap_us, per_s, burst);

	if (gap_us)
		b->stamp_ns = now_ns;
	if (credit < TOKEN) {
		b->credit = credit;
		return false;
	}
	b->credit = credit - TOKEN;
	return true;
}
