/* Two programs that take the verifier long and that it accepts in the end: it walks through every round of a loop.
 * expect: programs slow_one slow_two */
#include "bpf.h"

static __always_inline int rounds(struct __sk_buff *skb, __u32 seed)
{
	__u32 sum = seed;

	for (int round = 0; round < 240000; round++)
		sum = sum * 31 + skb->len;
	return sum;
}

SEC("socket")
int slow_one(struct __sk_buff *skb)
{
	return rounds(skb, 1);
}

SEC("socket")
int slow_two(struct __sk_buff *skb)
{
	return rounds(skb, 2);
}

LICENSE("GPL");
