/* sockex1 with a definition that BTF describes.
 * expect: maps my_map array key 4 value 8 entries 256 */
#include "bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, long);
	__uint(max_entries, 256);
} my_map SEC(".maps");

#define SOCKEX1_SECTION "socket"
#include "sockex1.h"
