/* A trie of prefixes without the flag that all of them need.
 * expect: M001, with the flag's name */
#include "bpf.h"

struct prefix {
	__u32 length;
	__u8 address[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct prefix);
	__type(value, __u32);
	__uint(max_entries, 1024);
} routes SEC(".maps");

SEC("socket")
int route(struct __sk_buff *skb)
{
	struct prefix prefix = {.length = 32};
	__u32 *found = bpf_map_lookup_elem(&routes, &prefix);

	return found ? skb->len : 0;
}

LICENSE("GPL");
