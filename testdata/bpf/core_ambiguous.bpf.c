// Fields of a type that core_target_twins.bpf.c has twice.
#include "bpf.h"

struct twin {
	int left;
	int same;
} __attribute__((preserve_access_index));

SEC("socket")
int agreed(struct twin *twin)
{
	return twin->same;
}

SEC("socket")
int disputed(struct twin *twin)
{
	return twin->left;
}

LICENSE("GPL");
