/* A definition with a field that no loader knows.
 * expect: error O010 naming map `odd` and field `max_entires` */
#include "bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entires, 1);
} odd SEC(".maps");

SEC("socket")
int unknown_field(struct __sk_buff *skb)
{
	return skb->len;
}

LICENSE("GPL");
