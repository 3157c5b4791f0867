// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* pass.bpf.c - does nothing: the zero that benchmarks subtract, and what the far end of a veth needs. */
#include "base.h"

SEC("xdp")
int slr_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
