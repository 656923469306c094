/* What helpers on maps cost: each program does one operation on one kind of map 64 times.
 *
 * expect: every program answers how many of its 64 operations did what they should: 64, once its map has been filled with
 * expect: the keys 0 to 63. */
#include "bpf.h"

static void *(*const bpf_ringbuf_reserve)(void *ring, __u64 size, __u64 flags) = (void *)BPF_FUNC_ringbuf_reserve;
static void (*const bpf_ringbuf_submit)(void *data, __u64 flags) = (void *)BPF_FUNC_ringbuf_submit;

#define UNUSED __attribute__((unused))
#define TIMES 64

struct prefix {
	__u32 length;
	__u32 address;
};

#define MAP(name, kind, key_type, more) \
	struct { \
		__uint(type, kind); \
		__type(key, key_type); \
		__type(value, __u64); \
		__uint(max_entries, 1024); \
		__uint(map_flags, more); \
	} name SEC(".maps")

MAP(array, BPF_MAP_TYPE_ARRAY, __u32, 0);
MAP(hash, BPF_MAP_TYPE_HASH, __u32, 0);
MAP(lru, BPF_MAP_TYPE_LRU_HASH, __u32, 0);
MAP(cpu_array, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, 0);
MAP(cpu_hash, BPF_MAP_TYPE_PERCPU_HASH, __u32, 0);
MAP(trie, BPF_MAP_TYPE_LPM_TRIE, struct prefix, BPF_F_NO_PREALLOC);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} ring SEC(".maps");

#define PREFIX(index) { .length = 32, .address = index }

#define COUNT_LOOKUPS(name, key_type, key_value) \
	SEC("tc") \
	int lookup_##name(struct __sk_buff *context UNUSED) \
	{ \
		__u32 good = 0; \
\
		for (__u32 index = 0; index < TIMES; index++) { \
			OPAQUE(index); \
			key_type key = key_value; \
			__u64 *value = bpf_map_lookup_elem(&name, &key); \
\
			if (value) \
				good++; \
		} \
		return good; \
	}

#define COUNT_UPDATES(name, key_type, key_value) \
	SEC("tc") \
	int update_##name(struct __sk_buff *context UNUSED) \
	{ \
		__u32 good = 0; \
\
		for (__u32 index = 0; index < TIMES; index++) { \
			OPAQUE(index); \
			key_type key = key_value; \
			__u64 value = index; \
\
			if (!bpf_map_update_elem(&name, &key, &value, 0)) \
				good++; \
		} \
		return good; \
	}

COUNT_LOOKUPS(array, __u32, index)
COUNT_LOOKUPS(hash, __u32, index)
COUNT_LOOKUPS(lru, __u32, index)
COUNT_LOOKUPS(cpu_array, __u32, index)
COUNT_LOOKUPS(cpu_hash, __u32, index)
COUNT_LOOKUPS(trie, struct prefix, PREFIX(index))
COUNT_UPDATES(hash, __u32, index)
COUNT_UPDATES(lru, __u32, index)
COUNT_UPDATES(cpu_hash, __u32, index)
COUNT_UPDATES(trie, struct prefix, PREFIX(index))

/* Records of 16 bytes; whoever measures reads them before the ring is full. */
SEC("tc")
int records(struct __sk_buff *context UNUSED)
{
	__u32 good = 0;

	for (__u32 index = 0; index < TIMES; index++) {
		__u64 *record = bpf_ringbuf_reserve(&ring, 16, 0);

		if (!record)
			continue;
		record[0] = index;
		record[1] = 0;
		/* BPF_RB_NO_WAKEUP */
		bpf_ringbuf_submit(record, 1);
		good++;
	}
	return good;
}

LICENSE("GPL");
