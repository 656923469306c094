/* A program at each place of the network stack where packets come by: counts them, changes some, drops some.
 * expect: accepted by the kernel; what they answer, `crates/cli/tests/suite/replays.rs` says */
#include "bpf.h"

#include <linux/in.h>
#include <linux/pkt_cls.h>

/* How many packets each program saw: XDP, tc in, tc out, cgroup out. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

static __attribute__((always_inline)) void count(__u32 place)
{
	__u64 *packets = bpf_map_lookup_elem(&seen, &place);

	if (packets)
		__sync_fetch_and_add(packets, 1);
}

/* The IPv4 header behind `at`, if it is one. */
static __attribute__((always_inline)) struct iphdr *ipv4(void *at, void *end)
{
	struct iphdr *header = at;

	if ((void *)(header + 1) > end || header->version != 4)
		return 0;
	return header;
}

/* Drops datagrams, and marks what it lets pass. */
SEC("xdp")
int no_datagrams(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	struct iphdr *header = ipv4(data + sizeof(struct ethhdr), end);

	count(0);
	if (!header)
		return XDP_ABORTED;
	if (header->protocol == IPPROTO_UDP)
		return XDP_DROP;
	header->tos = 4;
	return XDP_PASS;
}

SEC("tc/ingress")
int incoming(struct __sk_buff *skb)
{
	count(1);
	return skb->pkt_type == PACKET_OUTGOING ? TC_ACT_SHOT : TC_ACT_OK;
}

SEC("tc/egress")
int outgoing(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *header = ipv4(data + sizeof(struct ethhdr), end);

	count(2);
	if (!header)
		return TC_ACT_SHOT;
	return header->protocol == IPPROTO_ICMP ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

SEC("cgroup_skb/egress")
int leaving(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *header = ipv4(data, end);

	count(3);
	return header && header->protocol != IPPROTO_TCP;
}

LICENSE("GPL");
