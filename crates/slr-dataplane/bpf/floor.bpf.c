// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* floor.bpf.c - the least that any tunnelling balancer does: one exact-match lookup, the same outer header, out. What the
 * benchmarks divide by. It parses nothing it does not need and checks no more than the verifier asks. slr_floor is IPv4
 * in IPv4, slr_floor_v6 the same for IPv6 in IPv6. */
#include "base.h"

struct floor_value {
	__be32 src;
	__be32 dst;
	__u32 csum;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct flow_key_v4);
	__type(value, struct floor_value);
	__uint(max_entries, 1 << 20);
} floor_flows SEC(".maps");

struct floor_value_v6 {
	__be32 src[4];
	__be32 dst[4];
	__be32 first; /* version, traffic class, flow label */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct flow_key_v6);
	__type(value, struct floor_value_v6);
	__uint(max_entries, 1 << 20);
} floor_flows_v6 SEC(".maps");

SEC("xdp")
int slr_floor(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + ETH_HLEN;
	__be16 *ports = (void *)(ip + 1);
	struct flow_key_v4 key = {};
	struct floor_value *v;
	__be16 eth[7];
	__u32 sum, len;

	if ((void *)(ports + 2) > end)
		return XDP_PASS;
	key.client = ip->saddr;
	key.vaddr = ip->daddr;
	key.proto = ip->protocol;
	key.client_port = ports[0];
	key.vport = ports[1];
	len = ip->tot_len;
	v = bpf_map_lookup_elem(&floor_flows, &key);
	if (!v)
		return XDP_PASS;
	__builtin_memcpy(eth, data, sizeof(eth));
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*ip)))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	ip = data + ETH_HLEN;
	if ((void *)(ip + 1) > end)
		return XDP_DROP;
	__builtin_memcpy(data, &eth[3], 6);
	__builtin_memcpy(data + 6, eth, 6);
	*(__be16 *)(data + 12) = eth[6];
	*(__be16 *)ip = bpf_htons(0x4500);
	ip->tot_len = bpf_htons(bpf_ntohs(len) + sizeof(*ip));
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = SLR_TTL;
	ip->protocol = IPPROTO_IPIP;
	ip->saddr = v->src;
	ip->daddr = v->dst;
	sum = v->csum + ip->tot_len;
	ip->check = csum_fold(sum);
	return XDP_TX;
}

SEC("xdp")
int slr_floor_v6(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipv6hdr *ip = data + ETH_HLEN;
	__be16 *ports = (void *)(ip + 1);
	struct flow_key_v6 key = {};
	struct floor_value_v6 *v;
	__be16 eth[7];
	__u32 len;

	if ((void *)(ports + 2) > end)
		return XDP_PASS;
	__builtin_memcpy(key.client, &ip->saddr, 16);
	__builtin_memcpy(key.vaddr, &ip->daddr, 16);
	key.proto = ip->nexthdr;
	key.client_port = ports[0];
	key.vport = ports[1];
	len = ip->payload_len;
	v = bpf_map_lookup_elem(&floor_flows_v6, &key);
	if (!v)
		return XDP_PASS;
	__builtin_memcpy(eth, data, sizeof(eth));
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*ip)))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	ip = data + ETH_HLEN;
	if ((void *)(ip + 1) > end)
		return XDP_DROP;
	__builtin_memcpy(data, &eth[3], 6);
	__builtin_memcpy(data + 6, eth, 6);
	*(__be16 *)(data + 12) = eth[6];
	*(__be32 *)ip = v->first;
	ip->payload_len = bpf_htons(bpf_ntohs(len) + sizeof(*ip));
	ip->nexthdr = IPPROTO_IPV6;
	ip->hop_limit = SLR_TTL;
	__builtin_memcpy(&ip->saddr, v->src, 16);
	__builtin_memcpy(&ip->daddr, v->dst, 16);
	return XDP_TX;
}

char _license[] SEC("license") = "Dual BSD/GPL";
