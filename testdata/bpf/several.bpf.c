/* Several programs in one section and two legacy maps whose names are not in the order of the file.
 * expect: maps zebra array key 4 value 4 entries 1, then ant hash key 8 value 16 entries 2
 * expect: programs first second third in `socket1`, fourth in `socket2`
 * expect: first(len 100) = 1, second = 100, third = 3 if ant is empty, fourth = 0 */
#include "bpf.h"

struct legacy_map SEC("maps") zebra = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(__u32),
	.max_entries = 1,
};

struct legacy_map SEC("maps") ant = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = sizeof(__u64),
	.value_size = 16,
	.max_entries = 2,
	.map_flags = BPF_F_NO_PREALLOC,
};

SEC("socket1")
int first(struct __sk_buff *skb)
{
	return skb->len > 14 ? 1 : 2;
}

SEC("socket1")
int second(struct __sk_buff *skb)
{
	return skb->len;
}

SEC("socket1")
int third(struct __sk_buff *skb)
{
	__u64 key = skb->len;

	return bpf_map_lookup_elem(&ant, &key) ? 4 : 3;
}

SEC("socket2")
int fourth(struct __sk_buff *skb)
{
	__u32 key = 0;
	__u32 *value = bpf_map_lookup_elem(&zebra, &key);

	(void)skb;
	return value ? *value : 5;
}

LICENSE("GPL");
