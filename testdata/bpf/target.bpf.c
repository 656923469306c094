/* A program with a function that another program replaces, one that replaces it, and one that watches it.
 * expect: `count` accepted by the kernel; the others with it as their target, as `crates/twinbpf/tests/targets.rs` says */
#include "bpf.h"

NOINLINE int answer(int number)
{
	volatile int result = number + 1;

	return result;
}

SEC("socket")
int count(struct __sk_buff *skb)
{
	return answer(skb->len & 0xff);
}

SEC("?freplace/answer")
int replacement(int number)
{
	return number + 1000;
}

__u64 seen = 0;

SEC("?fentry/answer")
int watch(const __u64 *arguments)
{
	seen = arguments[0];
	return 0;
}

SEC("?freplace/anser")
int misspelt(int number)
{
	return number;
}

LICENSE("GPL");
