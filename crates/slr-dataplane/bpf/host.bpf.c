// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* host.bpf.c - placeholder until the host's programs land. */
#include "base.h"

SEC("xdp")
int slr_host(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
