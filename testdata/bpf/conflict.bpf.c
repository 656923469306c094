/* A definition that says two sizes for its key.
 * expect: error O010 naming map `twice` and `key_size` */
#include "bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(key_size, 8);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} twice SEC(".maps");

SEC("socket")
int conflict(struct __sk_buff *skb)
{
	return skb->len;
}

LICENSE("GPL");
