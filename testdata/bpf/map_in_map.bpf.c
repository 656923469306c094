/* Maps of maps and a prog array as `.maps` definitions, with and without declared initial values.
 * expect: maps inner outer_array outer_hash jumps
 * expect: outer_array array_of_maps 2 entries, inner array key 4 value 8 entries 1, slot 1 holds inner
 * expect: outer_hash hash_of_maps 3 entries, inner hash key 8 value 4 entries 16
 * expect: jumps prog_array 2 entries, slot 1 holds leaf */
#include "bpf.h"

struct inner_array {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
};

struct inner_array inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct inner_array);
} outer_array SEC(".maps") = {
	.values = { [1] = &inner },
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 3);
	__uint(key_size, 4);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_HASH);
		__uint(key_size, 8);
		__uint(value_size, 4);
		__uint(max_entries, 16);
	});
} outer_hash SEC(".maps");

SEC("socket/leaf")
int leaf(struct __sk_buff *skb)
{
	return skb->len;
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct __sk_buff *));
} jumps SEC(".maps") = {
	.values = { [1] = &leaf },
};

SEC("socket")
int jump(struct __sk_buff *skb)
{
	__u32 key = 0;

	if (bpf_map_lookup_elem(&outer_array, &key) || bpf_map_lookup_elem(&outer_hash, &key))
		return 1;
	bpf_tail_call(skb, &jumps, 1);
	return 2;
}

LICENSE("GPL");
