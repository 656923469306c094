/* Two programs that take the verifier long and that it accepts in the end: it walks through every round of a loop. The body is
 * long, so that what takes time is walking and not keeping a state for each round.
 * expect: programs slow_one slow_two */
#include "bpf.h"

#define ONCE(sum) (sum) = ((sum) * 31) ^ ((sum) >> 3);
#define TEN(sum) ONCE(sum) ONCE(sum) ONCE(sum) ONCE(sum) ONCE(sum) ONCE(sum) ONCE(sum) ONCE(sum) ONCE(sum) ONCE(sum)

static __always_inline int rounds(struct __sk_buff *skb)
{
	__u32 sum = skb->len;

	for (int round = 0; round < 2000; round++) {
		TEN(sum) TEN(sum) TEN(sum) TEN(sum) TEN(sum) TEN(sum) TEN(sum) TEN(sum) TEN(sum) TEN(sum)
	}
	return sum;
}

SEC("socket")
int slow_one(struct __sk_buff *skb)
{
	return rounds(skb);
}

SEC("socket")
int slow_two(struct __sk_buff *skb)
{
	return rounds(skb);
}

LICENSE("GPL");
