/* sockex1 with the 20-byte definition.
 * expect: maps my_map array key 4 value 8 entries 256 */
#include "bpf.h"

struct legacy_map SEC("maps") my_map = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(__u32),
	.value_size = sizeof(long),
	.max_entries = 256,
};

#define SOCKEX1_SECTION "socket1"
#include "sockex1.h"
