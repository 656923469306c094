/* Variables in an arena: clang puts them into a section of their own, `.addr_space.1`.
 *
 * expect: `first` starts with 7 and `second` with 0; each run adds `first` to `second`. */
#include "bpf.h"

#define ARENA __attribute__((address_space(1)))

struct {
	__uint(type, 33 /* BPF_MAP_TYPE_ARENA */);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 10 /* pages */);
} arena SEC(".maps");

__u64 ARENA first = 7;
__u64 ARENA second = 0;

SEC("syscall")
int add(void)
{
	/* Names the arena, so that the program has one. */
	asm volatile("" : : "r"(&arena));
	second += first;
	return 0;
}

LICENSE("GPL");
