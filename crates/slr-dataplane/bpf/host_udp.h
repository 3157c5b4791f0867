/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* host_udp.h - UDP servers that are bound to the wildcard address and do not set their source answer from the interface's
 * address, which the client does not know. Here they answer from the virtual address that the client spoke to.
 *
 * On ingress we remember (socket, client) and (cgroup, client) -> virtual address; when the socket sends to that client with no source set,
 * it gets this one. A server that opens a connected socket per client has it bound to the address while it connects;
 * if it is bound to a port already (as socat's UDP-LISTEN does), the kernel refuses, and egress puts the source right.
 * One client port that talks to two virtual addresses of one socket is answered from the one it used last.
 */
#pragma once

#include <linux/types.h>

#include "host_watch.h"

#define TYPE_DGRAM 2

struct sockaddr_v4 {
	__u16 family;
	__be16 port;
	__be32 addr;
	__u8 zero[8];
};

struct sockaddr_v6 {
	__u16 family;
	__be16 port;
	__be32 flowinfo;
	__be32 addr[4];
	__u32 scope;
};

/* Programs on a cgroup see the sockets of every network namespace in it. */
static __always_inline bool is_foreign(struct bpf_sock_addr *ctx)
{
	struct host_config *cfg = get_config();

	return !cfg || (cfg->netns_cookie && bpf_get_netns_cookie(ctx) != cfg->netns_cookie);
}

static __always_inline void remember(struct udp_peer *key, const struct slr_addr *virtual)
{
	struct slr_addr *known = bpf_map_lookup_elem(&udp_peers, key);

	if (!known || !same_v6(known->word, virtual->word))
		bpf_map_update_elem(&udp_peers, key, virtual, BPF_ANY);
}

/* The client asks one of the host's own addresses now: answers leave from there again. Nothing is written where nothing was
 * remembered, which is the case for nearly every datagram of an ordinary service. */
static __always_inline void forget(struct udp_peer *key)
{
	if (bpf_map_lookup_elem(&udp_peers, key))
		bpf_map_delete_elem(&udp_peers, key);
}

static __always_inline void hear(struct udp_peer *from, struct slr_addr *virtual, __be16 port)
{
	struct claim flow = { .client = from->client, .vaddr = *virtual, .client_port = from->client_port, .vport = port,
			      .proto = IPPROTO_UDP };

	hear_datagram(&flow);
}

SEC("cgroup_skb/ingress")
int slr_udp_seen(struct __sk_buff *skb)
{
	struct host_config *cfg = get_config();
	struct slr_addr virtual = {};
	struct udp_peer key = {};
	struct udphdr udp;
	__u32 l4, subnet;
	bool served;

	if (!cfg)
		return 1;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) || ip.protocol != IPPROTO_UDP)
			return 1;
		subnet = subnet_of_v4(cfg, ip.daddr);
		l4 = ip.ihl * 4;
		virtual = mapped_v4(ip.daddr);
		key.client = mapped_v4(ip.saddr);
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)) || ip.nexthdr != IPPROTO_UDP)
			return 1;
		subnet = subnet_of_v6(cfg, &ip.daddr);
		l4 = sizeof(ip);
		__builtin_memcpy(&virtual, &ip.daddr, 16);
		__builtin_memcpy(&key.client, &ip.saddr, 16);
	} else {
		return 1;
	}
	if (bpf_skb_load_bytes(skb, l4, &udp, sizeof(udp)))
		return 1;
	served = subnet != NOT_SERVED;
	key.client_port = udp.source;
	if (served && is_watched(subnet))
		hear(&key, &virtual, udp.dest);
	key.owner = bpf_get_socket_cookie(skb);
	if (key.owner && served)
		remember(&key, &virtual);
	else if (key.owner)
		forget(&key);
	key.owner_kind = UDP_OWNER_CGROUP;
	key.owner = bpf_skb_cgroup_id(skb);
	if (key.owner && served)
		remember(&key, &virtual);
	else if (key.owner)
		forget(&key);
	return 1;
}

/* The address for datagrams of this socket to that client. */
static __always_inline struct slr_addr *source_for(struct bpf_sock_addr *ctx, struct udp_peer *key)
{
	key->client_port = ctx->user_port;
	key->owner = bpf_get_socket_cookie(ctx);
	key->owner_kind = UDP_OWNER_SOCKET;
	return bpf_map_lookup_elem(&udp_peers, key);
}

/* Also for a dual-stack socket that answers an IPv4 client. */
SEC("cgroup/sendmsg4")
int slr_udp_send4(struct bpf_sock_addr *ctx)
{
	struct udp_peer key = {};
	struct slr_addr *source;

	if (ctx->msg_src_ip4 || is_foreign(ctx))
		return 1;
	key.client = mapped_v4(ctx->user_ip4);
	source = source_for(ctx, &key);
	if (source)
		ctx->msg_src_ip4 = source->word[3];
	return 1;
}

SEC("cgroup/sendmsg6")
int slr_udp_send6(struct bpf_sock_addr *ctx)
{
	struct udp_peer key = {};
	struct slr_addr *source;

	if (ctx->msg_src_ip6[0] | ctx->msg_src_ip6[1] | ctx->msg_src_ip6[2] | ctx->msg_src_ip6[3])
		return 1;
	if (is_foreign(ctx))
		return 1;
	for (int i = 0; i < 4; i++)
		key.client.word[i] = ctx->user_ip6[i];
	source = source_for(ctx, &key);
	if (!source || is_v4(source))
		return 1;
	ctx->msg_src_ip6[0] = source->word[0];
	ctx->msg_src_ip6[1] = source->word[1];
	ctx->msg_src_ip6[2] = source->word[2];
	ctx->msg_src_ip6[3] = source->word[3];
	return 1;
}

/* A socket connects: to a client that spoke to this socket, or to another of its service (a cgroup)? Asking the whole
 * machine would let a forged datagram "from" the resolver capture the resolver's clients. */
static __always_inline struct slr_addr *source_to_bind(struct bpf_sock_addr *ctx, struct udp_peer *key)
{
	struct slr_addr *source = source_for(ctx, key);
	__u64 socket = key->owner;

	if (source)
		return source;
	key->owner_kind = UDP_OWNER_CGROUP;
	key->owner = bpf_get_current_cgroup_id();
	source = bpf_map_lookup_elem(&udp_peers, key);
	key->owner_kind = UDP_OWNER_SOCKET;
	key->owner = socket;
	return source;
}

/* The socket has a port and cannot be bound to an address any more: leave a note for egress. */
static __always_inline void note_source(struct bpf_sock_addr *ctx, struct udp_peer *key, struct slr_addr *source)
{
	struct udp_source *note;

	if (!ctx->sk)
		return;
	note = bpf_sk_storage_get(&udp_connected, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!note)
		return;
	note->client = key->client;
	note->client_port = key->client_port;
	note->source = *source;
}

SEC("cgroup/connect4")
int slr_udp_connect4(struct bpf_sock_addr *ctx)
{
	struct sockaddr_v4 to = { .family = FAMILY_INET };
	struct udp_peer key = {};
	struct slr_addr *source;

	if (ctx->type != TYPE_DGRAM || ctx->protocol != IPPROTO_UDP || is_foreign(ctx))
		return 1;
	if (ctx->sk && ctx->sk->src_ip4)
		return 1;
	key.client = mapped_v4(ctx->user_ip4);
	source = source_to_bind(ctx, &key);
	if (!source)
		return 1;
	to.addr = source->word[3];
	if (bpf_bind(ctx, (struct sockaddr *)&to, sizeof(to)))
		note_source(ctx, &key, source);
	return 1;
}

/* IPv4 clients of a dual-stack socket come here too, as mapped addresses, which is how we keep them. */
SEC("cgroup/connect6")
int slr_udp_connect6(struct bpf_sock_addr *ctx)
{
	struct sockaddr_v6 to = { .family = FAMILY_INET6 };
	struct udp_peer key = {};
	struct slr_addr *source;

	if (ctx->type != TYPE_DGRAM || ctx->protocol != IPPROTO_UDP || is_foreign(ctx))
		return 1;
	if (ctx->sk && (ctx->sk->src_ip6[0] | ctx->sk->src_ip6[1] | ctx->sk->src_ip6[2] | ctx->sk->src_ip6[3]))
		return 1;
	for (int i = 0; i < 4; i++)
		key.client.word[i] = ctx->user_ip6[i];
	source = source_to_bind(ctx, &key);
	if (!source)
		return 1;
	__builtin_memcpy(to.addr, source, 16);
	if (bpf_bind(ctx, (struct sockaddr *)&to, sizeof(to)))
		note_source(ctx, &key, source);
	return 1;
}
