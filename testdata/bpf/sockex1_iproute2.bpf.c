/* sockex1 with iproute2's 36-byte definition.
 * expect: maps my_map array key 4 value 8 entries 256 id 7 pinning global */
#include "bpf.h"

struct iproute2_map {
	__u32 type;
	__u32 size_key;
	__u32 size_value;
	__u32 max_elem;
	__u32 flags;
	__u32 id;
	__u32 pinning;
	__u32 inner_id;
	__u32 inner_idx;
};

struct iproute2_map SEC("maps") my_map = {
	.type = BPF_MAP_TYPE_ARRAY,
	.size_key = sizeof(__u32),
	.size_value = sizeof(long),
	.max_elem = 256,
	.id = 7,
	.pinning = 2,
};

#define SOCKEX1_SECTION "socket1"
#include "sockex1.h"
