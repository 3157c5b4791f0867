// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* host.bpf.c - a server's data plane: the end of the tunnel.
 *
 * slr_host (XDP): a tunnel packet from a registered source ends here: the client's datagram goes to the stack, a chain
 * goes on, a keepalive is answered. Every packet ends with one counted reason; what is no tunnel packet for our tunnel
 * address passes untouched.
 * slr_host_capture (XDP): the same, while somebody captures packets.
 * slr_host_egress (tc): counts what leaves from virtual addresses, lowers the MSS of its SYNs.
 * slr_udp_* (cgroup): wildcard UDP sockets answer from the address that the client spoke to.
 * slr_sweep_* (iterators): flows that have stalled.
 */
#include "host_packet.h"
#include "host_chain.h"
#include "host_keepalive.h"
#include "host_egress.h"
#include "host_udp.h"
#include "host_sweep.h"
#include "host_capture.h"

struct abi_anchor abi_anchor SEC(".data.abi");

/* Content for one of our subnets: off with the header, on to the stack. */
static __always_inline int deliver(struct xdp_md *ctx, struct tunnel *t)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	bool v6 = t->proto == IPPROTO_IPV6;

	t->content &= 0x1ff; /* again, for the verifier: a function that it verifies on its own had t */
	if (combine_ecn(data, end, t->content, t->tos, v6))
		return SLR_H_drop_ecn;
	if (pull(ctx, t->l3, t->content - t->l3, type_of(t->proto)))
		return SLR_H_drop_malformed_outer;
	return SLR_H_deliver;
}

static __always_inline int receive(struct xdp_md *ctx, struct tunnel *t)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct host_config *cfg = get_config();
	__be16 type;
	__u64 off;
	int what;

	if (!cfg)
		return SLR_H_unset;
	off = parse_link(data, end, &type);
	if (!off)
		return SLR_H_pass_truncated;
	if (type == bpf_htons(ETH_P_IP))
		what = open_v4(cfg, t, data, end, off);
	else if (type == bpf_htons(ETH_P_IPV6))
		what = open_v6(ctx, cfg, t, data, end, off);
	else
		return SLR_H_pass_not_ip;
	if (what)
		return what;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	t->content &= 0x1ff;
	what = t->proto == IPPROTO_IPIP ? inspect_v4(cfg, t, data, end) : inspect_v6(cfg, t, data, end);
	if (likely(!what)) {
		if (unlikely(t->mark))
			ask_socket(ctx, t);
		what = deliver(ctx, t);
	} else if (what == CONTENT_TUNNEL) {
		what = chain(ctx, t);
	} else if (what == CONTENT_FOR_US) {
		what = keepalive(ctx, t);
	}
	return what;
}

#define REASON(n, name, verdict, text) [n] = SLR_##verdict,
static const __u8 verdict_of[SLR_H_NUM] = {
#include "host_reasons.def"
};
#undef REASON

/* The one place where a reason becomes a verdict, and is counted. */
static __always_inline int conclude(struct xdp_md *ctx, struct tunnel *t, __u32 why)
{
	if (why >= SLR_H_NUM)
		return XDP_ABORTED;
	if (likely(why == SLR_H_deliver || why == SLR_H_deliver_chain)) {
		count_received(t->subnet, t->len);
		count(why, t->len);
		return XDP_PASS;
	}
	count(why, ctx->data_end - ctx->data);
	switch (verdict_of[why]) {
	case SLR_FORWARD:
	case SLR_REPLY:
		return XDP_TX;
	case SLR_PASS:
		return XDP_PASS;
	default:
		return XDP_DROP;
	}
}

SEC("xdp")
int slr_host(struct xdp_md *ctx)
{
	struct tunnel t = {}; /* whole, for functions that are verified on their own: kernel 6.1 insists */
	int why = receive(ctx, &t);

	return conclude(ctx, &t, why);
}

/* Attached while somebody captures. Whether a packet is looked at is nothing that the verifier knows: it follows receive() once. */
SEC("xdp")
int slr_host_capture(struct xdp_md *ctx)
{
	int looked_at = look_at(ctx), why, action;
	struct tunnel t;

	t.content = 0;
	t.proto = 0;
	why = receive(ctx, &t);
	action = conclude(ctx, &t, why);
	if (unlikely(looked_at))
		note_outcome(ctx, why, action);
	return action;
}

char _license[] SEC("license") = "Dual BSD/GPL";
