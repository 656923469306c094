/* A kernel function that no kernel has.
 * expect: refused, with the function's name */
#include "bpf.h"

extern void bpf_no_such_function(struct xdp_md *ctx) __attribute__((section(".ksyms")));

SEC("xdp")
int call(struct xdp_md *ctx)
{
	bpf_no_such_function(ctx);
	return XDP_PASS;
}

LICENSE("GPL");
