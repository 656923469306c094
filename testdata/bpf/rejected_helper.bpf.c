/* A helper that this program type does not have.
 * expect: V028, with the helper's name */
#include "bpf.h"

static long (*const bpf_redirect)(__u32 ifindex, __u64 flags) = (void *)BPF_FUNC_redirect;

SEC("socket")
int forward(struct __sk_buff *skb)
{
	return bpf_redirect(skb->ifindex, 0);
}

LICENSE("GPL");
