/* Subprograms in `.text`, called from two programs and from each other.
 * expect: triple_plus_one(len 100) = 301
 * expect: fold(len 100) = 1013 */
#include "bpf.h"

static NOINLINE int plus(int left, int right)
{
	OPAQUE(left);
	return left + right;
}

static NOINLINE int times(int value, int factor)
{
	OPAQUE(value);
	return value * factor;
}

/* Five arguments, and a callee that calls on. */
static NOINLINE int fold_five(int a, int b, int c, int d, int e)
{
	return plus(times(a, b), plus(c, times(d, e)));
}

SEC("socket")
int triple_plus_one(struct __sk_buff *skb)
{
	return plus(times(skb->len, 3), 1);
}

SEC("socket")
int fold(struct __sk_buff *skb)
{
	return fold_five(skb->len, 10, 1, 3, 4);
}

LICENSE("GPL");
