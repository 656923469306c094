/* Frames that come in, counted by XDP, and packets that go out, counted by traffic control: the sections name no interface.
 * expect: map seen, programs in and out accepted; slot 0 counts what comes in, slot 1 what goes out */
#include "bpf.h"

#define GO_ON -1

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

static __attribute__((always_inline)) void count(__u32 slot)
{
	__u64 *value = bpf_map_lookup_elem(&seen, &slot);

	if (value)
		__sync_fetch_and_add(value, 1);
}

SEC("xdp")
int in(struct xdp_md *context)
{
	(void)context;
	count(0);
	return XDP_PASS;
}

SEC("tcx/egress")
int out(struct __sk_buff *skb)
{
	(void)skb;
	count(1);
	return GO_ON;
}

LICENSE("GPL");
