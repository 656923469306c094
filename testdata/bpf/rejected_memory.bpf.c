/* An array of 4 TiB.
 * expect: M003, with the memory it would need */
#include "bpf.h"

struct page {
	__u8 bytes[4096];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct page);
	__uint(max_entries, 1 << 30);
} pages SEC(".maps");

SEC("socket")
int keep(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct page *page = bpf_map_lookup_elem(&pages, &key);

	if (page)
		page->bytes[0] = 1;
	return skb->len;
}

LICENSE("GPL");
