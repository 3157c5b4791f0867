// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)
/* load.bpf.c - both ends of a throughput benchmark: packets of many flows into one end of a veth pair, and a count of what
 * the program on the other end sends back. Run in the kernel on live frames; nothing of it carries traffic. */
#include "base.h"

/* Frames are recycled: what a tunnel header overwrote of the last round, the Ethernet header, is written anew. */
struct load_settings {
	__u8 eth[14];
	__u16 flows; /* client ports from first_port on; a power of two */
	__u16 first_port;
	__u16 pad;
	__u32 ifindex; /* where to send */
	__u32 next; /* the generator's own: flow of the next frame */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct load_settings);
	__uint(max_entries, 1);
} load_config SEC(".maps");

/* Frames that came back: 0 with a tunnel header, 1 without. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct counter);
	__uint(max_entries, 2);
} load_sunk SEC(".maps");

/* Packets of one flow after the other, as a client begins them or goes on. */
struct load_flows {
	__u8 eth[14];
	__u8 tcp_flags;
	__u8 pad;
	__u32 seq;
	__u32 ifindex; /* where to send */
	__u32 next; /* the generator's own: the next frame's flow */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct load_flows);
	__uint(max_entries, 1);
} load_flows_config SEC(".maps");

/* A flow's number is its client: so many a client address, and what is left over is the port. */
#define FLOWS_PER_CLIENT 64
#define CLIENTS 0x64400000 /* 100.64.0.0; the last word of an IPv6 address */
#define FIRST_PORT 32768

static __always_inline void set_client_port(void *data, void *end, __u64 l4, __be16 port)
{
	__be16 *at = data + l4;

	if ((void *)(at + 1) <= end)
		*at = port;
}

SEC("xdp")
int slr_generate(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 zero = 0;
	struct load_settings *cfg = bpf_map_lookup_elem(&load_config, &zero);
	__be16 port;

	if (!cfg || data + ETH_HLEN > end)
		return XDP_ABORTED;
	for (int i = 0; i < ETH_HLEN; i++)
		((__u8 *)data)[i] = cfg->eth[i];
	port = bpf_htons(cfg->first_port + (cfg->next++ & (cfg->flows - 1)));
	if (*(__be16 *)(data + 12) == bpf_htons(ETH_P_IP))
		set_client_port(data, end, ETH_HLEN + sizeof(struct iphdr), port);
	else
		set_client_port(data, end, ETH_HLEN + sizeof(struct ipv6hdr), port);
	return bpf_redirect(cfg->ifindex, 0);
}

struct load_tcp {
	__be16 source, dest;
	__be32 seq, ack_seq;
	__u8 offset, flags;
};

SEC("xdp")
int slr_generate_flows(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 zero = 0, flow;
	struct load_flows *cfg = bpf_map_lookup_elem(&load_flows_config, &zero);
	struct load_tcp *tcp;
	__be32 *client;

	if (!cfg || data + ETH_HLEN > end)
		return XDP_ABORTED;
	for (int i = 0; i < ETH_HLEN; i++)
		((__u8 *)data)[i] = cfg->eth[i];
	if (*(__be16 *)(data + 12) == bpf_htons(ETH_P_IP)) {
		client = data + ETH_HLEN + 12; /* the source address */
		tcp = data + ETH_HLEN + sizeof(struct iphdr);
	} else {
		client = data + ETH_HLEN + 20; /* its last word */
		tcp = data + ETH_HLEN + sizeof(struct ipv6hdr);
	}
	if ((void *)(client + 1) > end || (void *)(tcp + 1) > end)
		return XDP_ABORTED;
	flow = cfg->next++;
	*client = bpf_htonl(CLIENTS + flow / FLOWS_PER_CLIENT);
	tcp->source = bpf_htons(FIRST_PORT + flow % FLOWS_PER_CLIENT);
	tcp->seq = bpf_htonl(cfg->seq);
	tcp->flags = cfg->tcp_flags;
	return bpf_redirect(cfg->ifindex, 0);
}

/* The same packet again and again. */
SEC("xdp")
int slr_repeat(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 zero = 0;
	struct load_settings *cfg = bpf_map_lookup_elem(&load_config, &zero);

	if (!cfg || data + ETH_HLEN > end)
		return XDP_ABORTED;
	for (int i = 0; i < ETH_HLEN; i++)
		((__u8 *)data)[i] = cfg->eth[i];
	return bpf_redirect(cfg->ifindex, 0);
}

/* Sends back what it gets: what the veth pair, the generator and the sink cost by themselves. */
SEC("xdp")
int slr_reflect(struct xdp_md *ctx)
{
	return XDP_TX;
}

SEC("xdp")
int slr_sink(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + ETH_HLEN;
	struct ipv6hdr *ip6 = data + ETH_HLEN;
	__u32 plain = 1;
	struct counter *c;

	if ((void *)(ip6 + 1) > end)
		return XDP_DROP;
	if (ip->version == 4)
		plain = ip->protocol != IPPROTO_IPIP && ip->protocol != IPPROTO_IPV6;
	else
		plain = ip6->nexthdr != IPPROTO_IPIP && ip6->nexthdr != IPPROTO_IPV6;
	c = bpf_map_lookup_elem(&load_sunk, &plain);
	if (c) {
		c->packets++;
		c->bytes += end - data;
	}
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
