/* What the two halves of a program share: tests link `parts_main.bpf.o` and `parts_rest.bpf.o` into one. */
#pragma once

#include "bpf.h"

struct tally {
	__u64 packets;
	__u64 bytes;
};

/* Field accesses survive a change of the layout. */
struct sk_buff {
	unsigned int len;
} __attribute__((preserve_access_index));
