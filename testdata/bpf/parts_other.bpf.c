/* Nobody's other half: `seen` is smaller than `parts_main.bpf.c` thinks. */
#include "parts.h"

__u32 seen;

SEC("socket")
int other(struct __sk_buff *skb)
{
	return ++seen + skb->len;
}

LICENSE("GPL");
