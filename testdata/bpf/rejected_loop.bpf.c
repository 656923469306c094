/* A loop that may end, but not in a million steps.
 * expect: V038 or V039, with the loop's lines and what changes in a round */
#include "bpf.h"

SEC("socket")
int wait(struct __sk_buff *skb)
{
	volatile __u64 rounds = 0;

	while (rounds < 0x100000000ULL)
		rounds += 1;
	return skb->len;
}

LICENSE("GPL");
