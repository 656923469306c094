/* No license: it stays missing.
 * expect: license none */
#include "bpf.h"

SEC("socket")
int unlicensed(struct __sk_buff *skb)
{
	return skb->len;
}
