/* The classic: the result of a lookup used without a test, in a program that looks careful.
 * expect: V001, with the line of the lookup */
#include "bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 16);
} packets SEC(".maps");

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u32 key = ctx->ingress_ifindex;
	__u64 *value = bpf_map_lookup_elem(&packets, &key);

	*value += 1;
	return XDP_PASS;
}

LICENSE("GPL");
