/* A loop without end: a counter that stays odd is never zero. No verifier accepts it.
 * expect: refused, and under a budget the run ends with "budget used up" */
#include "bpf.h"

SEC("socket")
int endless(struct __sk_buff *skb)
{
	volatile __u64 odd = skb->len | 1;

	while (odd)
		odd += 2;
	return 0;
}

LICENSE("GPL");
