/* An array of definitions under one name.
 * expect: error O010 naming map `many` */
#include "bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} many[2] SEC(".maps");

SEC("socket")
int map_array(struct __sk_buff *skb)
{
	return skb->len;
}

LICENSE("GPL");
