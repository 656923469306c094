/* Counting in a hash map: create on first sight, add later, delete on request.
 * expect: count adds 1 to counts[protocol] and returns the count before
 * expect: forget deletes counts[protocol] and returns 1 if it was there, else 0 */
#include "bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 4);
} counts SEC(".maps");

static inline __u32 protocol_of(struct __sk_buff *skb)
{
	return load_byte(skb, ETH_HLEN + offsetof(struct iphdr, protocol));
}

SEC("socket")
int count(struct __sk_buff *skb)
{
	__u32 protocol = protocol_of(skb);
	__u64 *seen = bpf_map_lookup_elem(&counts, &protocol);
	__u64 one = 1;

	if (seen) {
		__u64 before = *seen;

		__sync_fetch_and_add(seen, 1);
		return before;
	}
	bpf_map_update_elem(&counts, &protocol, &one, BPF_NOEXIST);
	return 0;
}

SEC("socket")
int forget(struct __sk_buff *skb)
{
	__u32 protocol = protocol_of(skb);

	return bpf_map_delete_elem(&counts, &protocol) == 0;
}

LICENSE("GPL");
