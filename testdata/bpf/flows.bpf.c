/* Maps whose keys and values have names and types: what the command line shows and takes.
 *
 * expect: maps flows counts levels waiting, all of them usable by a caller; `sees` answers 0. */
#include "bpf.h"

enum verdict {
	DROP,
	PASS,
	REDIRECT,
};

struct flow_key {
	__u32 source;
	__u16 port;
	__u16 protocol;
};

struct flow {
	__u64 packets;
	__s32 balance;
	enum verdict verdict;
	char device[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct flow_key);
	__type(value, struct flow);
	__uint(max_entries, 4);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 8);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u8);
	__uint(max_entries, 16);
} levels SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(value_size, 4);
	__uint(max_entries, 2);
} waiting SEC(".maps");

SEC("tc")
int sees(struct __sk_buff *skb)
{
	__u32 key = 0;

	(void)skb;
	return bpf_map_lookup_elem(&levels, &key) ? 0 : 1;
}

LICENSE("GPL");
