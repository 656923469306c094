/* sockex1 with the 28-byte definition of the kernel's samples since 2016.
 * expect: maps my_map array key 4 value 8 entries 256 */
#include "bpf.h"

struct samples_map {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 map_flags;
	__u32 inner_map_idx;
	__u32 numa_node;
};

struct samples_map SEC("maps") my_map = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(long),
	.max_entries = 256,
};

#define SOCKEX1_SECTION "socket1"
#include "sockex1.h"
