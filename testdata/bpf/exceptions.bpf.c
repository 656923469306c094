/* A program with a handler for the exceptions it may throw: nothing calls the handler, a declaration tag names it.
 *
 * expect: the handler is part of the program; without it the kernel refuses the program. */
#include "bpf.h"

__attribute__((weak)) extern void bpf_throw(__u64 cookie) SEC(".ksyms");

NOINLINE int answer(__u64 cookie)
{
	return (int)cookie + 1;
}

SEC("tc")
__attribute__((btf_decl_tag("exception_callback:answer")))
int throws(struct __sk_buff *skb)
{
	if (skb->len > 100)
		bpf_throw(skb->len);
	return 0;
}

LICENSE("GPL");
