/* A 24-byte definition whose last word nobody can interpret.
 * expect: error O011 at `maps` offset 0x14 */
#include "bpf.h"

struct odd_map {
	struct legacy_map known;
	__u32 tail;
};

struct odd_map SEC("maps") odd = {
	.known = {
		.type = BPF_MAP_TYPE_ARRAY,
		.key_size = sizeof(__u32),
		.value_size = sizeof(__u64),
		.max_entries = 1,
	},
	.tail = 7,
};

SEC("socket")
int tail(struct __sk_buff *skb)
{
	__u32 key = skb->len;

	return bpf_map_lookup_elem(&odd, &key) != 0;
}

LICENSE("GPL");
