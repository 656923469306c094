/* Uses the result of a lookup without asking whether there was one. No verifier accepts it.
 * expect: refused, and in a sandbox the run ends with a fault while the map is empty */
#include "bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 4);
} empty SEC(".maps");

SEC("socket")
int null_value(struct __sk_buff *skb)
{
	__u32 key = skb->len;
	__u64 *value = bpf_map_lookup_elem(&empty, &key);

	return *value;
}

LICENSE("GPL");
