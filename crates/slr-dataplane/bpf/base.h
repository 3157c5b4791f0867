/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* base.h - what every program needs: kernel types by their UAPI headers, endianness, small arithmetic. No vmlinux.h, so
 * that a build does not depend on the build machine's kernel. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "abi.h"

#define AF_V4 4
#define AF_V6 6

/* ICMP by hand: <linux/icmp.h> draws in libc's headers. RFC 792, RFC 4443. */
#define ICMP4_UNREACHABLE 3
#define ICMP4_FRAG_NEEDED 4 /* a code of the above */
#define ICMP4_TIME_EXCEEDED 11
#define ICMP4_PARAMETER 12
#define ICMP4_ECHO_REQUEST 8
#define ICMP4_ECHO_REPLY 0
#define ICMP6_UNREACHABLE 1
#define ICMP6_TOO_BIG 2
#define ICMP6_PARAMETER 4
#define ICMP6_ECHO_REQUEST 128
#define ICMP6_ECHO_REPLY 129

struct icmp_header {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	union {
		struct {
			__be16 unused;
			__be16 mtu;
		} v4; /* frag-needed, RFC 1191 */
		__be32 mtu6; /* packet too big */
	};
};

/* A function that the verifier checks once, on its own, and not again for every state it is called in: whatever is off
 * the express lane. Its pointers may be null for all the verifier knows. (Global functions, kernel 5.6; pointers to
 * memory as arguments, 5.12.) */
#define separate __attribute__((noinline))

/* A look-up that keeps its own call site. clang merges the calls of two branches into one that takes either map; the
 * verifier then inlines neither, and every packet pays for an indirect call (measured: 30 ns and more under retpolines).
 * The empty assembly differs from site to site, so the branches differ too. */
#define map_lookup(map, key)                                                                                           \
	({                                                                                                             \
		void *found_ = bpf_map_lookup_elem(map, key);                                                          \
		asm volatile("" : "+r"(found_) : "i"(__COUNTER__));                                                    \
		found_;                                                                                                \
	})

/* Copies 1 to `most` bytes of a frame. Kernel 6.1 learns from no comparison with 0 that a length is at least 1, but from an addition. */
static __always_inline long load_bytes(struct xdp_md *ctx, __u32 from, void *to, __u32 len, __u32 most)
{
	__u32 beyond_one = len - 1;

	if (beyond_one >= most)
		return -1;
	asm volatile("" : "+r"(beyond_one)); /* or clang undoes it */
	return bpf_xdp_load_bytes(ctx, from, to, beyond_one + 1);
}

/* Fold a sum of 16-bit words to the checksum field (RFC 1071). */
static __always_inline __u16 csum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* RFC 1624, eqn. 3: the checksum field after a 16-bit word went from `from` to `to`. */
static __always_inline __u16 csum_replace(__u16 csum, __u16 from, __u16 to)
{
	return csum_fold((__u32)(__u16)~csum + (__u16)~from + to);
}

static __always_inline bool same_v6(const __be32 *a, const __be32 *b)
{
	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]));
}

static __always_inline struct slr_addr mapped_v4(__be32 addr)
{
	return (struct slr_addr){ { 0, 0, bpf_htonl(0xffff), addr } };
}
