/* Every attribute that a `.maps` definition knows.
 * expect: maps every hash key 16 value 24 entries 100 flags 0x5 numa 0 pinned by name
 * expect: bloom bloom_filter key 0 value 4 entries 8 extra 3
 * expect: ring ringbuf entries 4096
 * expect: sized array key 4 value 12 entries 2
 * expect: pages arena entries 100 flags 0x400 extra 0x100000000000, a number that no array can have */
#include "bpf.h"

/* Newer than the headers of the compiler's machine may be. */
#define BPF_MAP_TYPE_ARENA 33

struct flow {
	__u64 from;
	__u32 ports[2];
};

typedef struct {
	const volatile __u8 tag;
	union {
		__u16 small;
		__u64 large;
	};
	struct flow *next;
} sample;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct flow);
	__type(value, const sample);
	__uint(max_entries, 100);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE);
	__uint(numa_node, 0);
	__uint(pinning, 1);
} every SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__type(value, __u32);
	__uint(max_entries, 8);
	__uint(map_extra, 3);
} bloom SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(key_size, sizeof(int));
	__type(value, __u32[3]);
	__uint(value_size, 12);
	__uint(max_entries, 2);
} sized SEC(".maps");

typedef struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 100);
	enum { PAGES_AT = 1ull << 44 } map_extra;
} pages_definition;

pages_definition pages SEC(".maps");

SEC("socket")
int attributes(struct __sk_buff *skb)
{
	return skb->len;
}

LICENSE("GPL");
