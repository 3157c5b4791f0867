/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* place.h - where a flow that nobody remembers goes: subnet by longest prefix, class by client, ring by service, slot by
 * hash, hop by slot. Reads no packet, only `struct pkt`. */
#pragma once

#include "packet.h"
#include "router_maps.h"

static __always_inline struct router_config *get_config(void)
{
	__u32 zero = 0;

	return map_lookup(&settings, &zero);
}

/* The subnet that the destination is in; p->subnet is its id. */
static __always_inline struct subnet *find_subnet(struct pkt *p)
{
	__u32 *id, n;

	if (p->family == AF_V4) {
		struct prefix_v4 key = { .len = 32, .addr = p->k4.vaddr };

		id = map_lookup(&prefixes_v4, &key);
	} else {
		struct prefix_v6 key = { .len = 128 };

		__builtin_memcpy(key.addr, p->k6.vaddr, 16);
		id = map_lookup(&prefixes_v6, &key);
	}
	if (!id)
		return NULL;
	n = *id;
	p->subnet = n;
	return map_lookup(&subnets, &n);
}

/* The same where stack is dearer than time: the id, or -1. A BPF program has 512 bytes for all calls together. */
separate int subnet_of(struct pkt *p)
{
	return p && find_subnet(p) ? p->subnet : -1;
}

static __always_inline struct subnet *find_subnet_apart(struct pkt *p)
{
	int id = subnet_of(p);
	__u32 n = id;

	return id < 0 ? NULL : map_lookup(&subnets, &n);
}

separate int find_class(struct pkt *p)
{
	struct class_key key = { .len = 32 + 128 };
	__u32 *class;

	if (!p)
		return 0;
	key.subnet = bpf_htonl(p->subnet);
	if (p->family == AF_V4)
		key.client = mapped_v4(p->k4.client);
	else
		__builtin_memcpy(&key.client, p->k6.client, 16);
	class = map_lookup(&classes, &key);
	return class ? *class : 0;
}

/* A source that no client can have: this network, loopback, multicast, broadcast; unspecified, loopback, multicast. An
 * answer to it would go astray, and a flow from it does not exist. */
static __always_inline bool is_martian(struct pkt *p)
{
	if (p->family == AF_V4) {
		__u8 first = bpf_ntohl(p->k4.client) >> 24;

		return first == 0 || first == 127 || first >= 224;
	}
	if (!p->k6.client[0] && !p->k6.client[1] && !p->k6.client[2])
		return bpf_ntohl(p->k6.client[3]) <= 1;
	return bpf_ntohl(p->k6.client[0]) >> 24 == 0xff;
}

/* The route of a (class, protocol, port); port and protocol 0: of whatever of that class has none. */
static __always_inline bool route_of(struct service_key *key, struct service *out)
{
	struct service *s = map_lookup(&services, key);

	if (s)
		*out = *s;
	return s;
}

/* The route of this packet: ring and key mask. The first that exists decides, also if its ring has no host:
 *   1. the client's class, this protocol and port
 *   2. this protocol and port
 *   3. the client's class, whatever has no route by port
 *   4. whatever has none of these: the subnet's own
 * The port comes before the class, because it says who can answer at all; a class only says who shall. Where a subnet serves
 * listed ports only, 3 and 4 are for ICMP, which has no port: what has no route by port is not served, and this is false. */
static __always_inline bool find_service(struct pkt *p, struct subnet *sn, struct service *out)
{
	struct service_key key = { .subnet = p->subnet };
	__u16 class = 0;

	if (likely(!(sn->flags & (SUBNET_PORTS | SUBNET_CLASSES | SUBNET_ROUTES))))
		goto own;
	if (sn->flags & SUBNET_CLASSES)
		class = find_class(p);
	if (p->proto == IPPROTO_TCP || p->proto == IPPROTO_UDP) {
		key.port = p->family == AF_V4 ? p->k4.vport : p->k6.vport;
		key.proto = p->proto;
		key.class = class;
		if (class && route_of(&key, out))
			return true;
		key.class = 0;
		if (route_of(&key, out))
			return true;
		if (sn->flags & SUBNET_PORTS)
			return false;
		key.port = 0;
		key.proto = 0;
	}
	key.class = class;
	if (class && route_of(&key, out))
		return true;
own:
	out->ring = sn->ring;
	out->mask = sn->mask;
	return true;
}

#define MIX 0x9e3779b97f4a7c15ULL

static __always_inline __u64 mix(__u64 h, __u64 word)
{
	h = (h ^ word) * MIX;
	return h ^ (h >> 32);
}

static __always_inline __u64 mix_v6(__u64 h, const __be32 *a)
{
	h = mix(h, (__u64)bpf_ntohl(a[0]) << 32 | bpf_ntohl(a[1]));
	return mix(h, (__u64)bpf_ntohl(a[2]) << 32 | bpf_ntohl(a[3]));
}

/* Placement hash, over host-order fields. The same bytes give the same slot in every member of a cluster: docs/wire.md,
 * src/hash.rs. */
static __always_inline __u64 hash_begin(__u64 seed, __u32 mask, __u32 proto)
{
	return seed ^ (mask & (MASK_CLIENT_PORT | MASK_VPORT) ? proto : 0);
}

static __always_inline __u64 hash_end(__u64 h, __u32 mask, __be16 client_port, __be16 vport)
{
	__u64 client = mask & MASK_CLIENT_PORT ? bpf_ntohs(client_port) : 0;

	return mix(mix(h, client << 16 | (mask & MASK_VPORT ? bpf_ntohs(vport) : 0)), 0);
}

static __always_inline __u64 hash_v4(struct flow_key_v4 *k, __u64 seed, __u32 mask)
{
	__u64 client = mask & MASK_CLIENT ? bpf_ntohl(k->client) : 0;
	__u64 vaddr = mask & MASK_VADDR ? bpf_ntohl(k->vaddr) : 0;

	return hash_end(mix(hash_begin(seed, mask, k->proto), client << 32 | vaddr), mask, k->client_port, k->vport);
}

static __always_inline __u64 hash_v6(struct flow_key_v6 *k, __u64 seed, __u32 mask)
{
	__u64 h = hash_begin(seed, mask, k->proto);

	if (mask & MASK_CLIENT)
		h = mix_v6(h, k->client);
	if (mask & MASK_VADDR)
		h = mix_v6(h, k->vaddr);
	return hash_end(h, mask, k->client_port, k->vport);
}

static __always_inline __u64 flow_hash(struct pkt *p, __u64 seed, __u32 mask)
{
	return p->family == AF_V4 ? hash_v4(&p->k4, seed, mask) : hash_v6(&p->k6, seed, mask);
}

/* The first packet of a TCP connection. */
static __always_inline bool is_first_syn(struct pkt *p)
{
	return p->proto == IPPROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
}

/* Pick the hop of the flow's slot into p. The newest usable host of the slot's memory serves while the ring still points
 * to one that just went down; then the slot's second choice, which is no one for a connection that it never had. A new
 * connection passes by hosts in doubt, unless all are. */
static __always_inline int pick(struct pkt *p, __u32 ring, __u64 hash)
{
	bool is_new = is_first_syn(p), is_orphan = p->proto == IPPROTO_TCP && !is_new;
	__u32 slot;
	ring_desc *at = map_lookup(&rings, &ring), desc;
	ring_slot *lanes;
	__u16 doubted = 0, doubted_gen = 0;
	__u64 lane;

	if (!at)
		return SLR_R_drop_no_active_host;
	desc = *(volatile ring_desc *)at; /* once: offset and length of the same generation */
	if (!(__u32)desc)
		return SLR_R_drop_no_active_host;
	slot = (desc >> 32) + ((hash >> 32) * (__u32)desc >> 32);
	lanes = map_lookup(&slots, &slot);
	if (!lanes)
		return SLR_R_drop_no_active_host;
	lane = *lanes;
	p->second = lane >> 48;
	for (int i = 0; i <= SLR_CHAIN_MAX; i++, lane >>= 16) {
		__u32 n = lane & 0xffff;
		struct hop *h = map_lookup(&hops, &n);

		if (i == SLR_CHAIN_MAX && is_orphan)
			break;

		if (n && h && (h->flags & HOP_UP)) {
			if (is_new && h->flags & HOP_DOUBTED) {
				if (!doubted) {
					doubted = n;
					doubted_gen = h->gen;
				}
				continue;
			}
			p->hop = n;
			p->hop_gen = h->gen;
			if (p->second == n)
				p->second = 0;
			if (p->frag)
				return 0;
			p->older = lane >> 16;
			if (p->proto == IPPROTO_UDP) /* the second choice has moved in, who never had it */
				p->older &= 0xffffffffULL >> 16 * i;
			return 0;
		}
	}
	if (doubted) {
		p->hop = doubted;
		p->hop_gen = doubted_gen;
		if (p->second == doubted)
			p->second = 0;
		return 0;
	}
	return SLR_R_drop_hop_unusable;
}

/* Not of a listed service: the kernel's, unless the subnet lists nothing. */
static __always_inline int unserved(struct subnet *sn, int otherwise)
{
	return sn->flags & SUBNET_PORTS ? SLR_R_pass_not_served : otherwise;
}

/* A packet that has no further way: ours to drop only if it was meant for us. What a subnet does not list is the kernel's. */
separate int refuse(struct pkt *p, int reason)
{
	struct subnet *sn;

	if (!p || !p->family || reason == SLR_R_pass_truncated)
		return SLR_R_pass_truncated;
	sn = find_subnet_apart(p);
	if (!sn)
		return SLR_R_pass_not_ours;
	return reason == SLR_R_drop_protocol ? unserved(sn, reason) : reason;
}
