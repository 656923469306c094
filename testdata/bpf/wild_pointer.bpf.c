/* Accesses to addresses made out of numbers. No verifier accepts them.
 * expect: refused, and in a sandbox the run ends with a fault */
#include "bpf.h"

SEC("socket")
int read_wild(struct __sk_buff *skb)
{
	__u64 address = 0xdeadbeef0000ull + skb->len;

	OPAQUE(address);
	return *(volatile __u32 *)address;
}

SEC("socket")
int write_wild(struct __sk_buff *skb)
{
	__u64 address = 0xdeadbeef0000ull + skb->len;

	OPAQUE(address);
	*(volatile __u32 *)address = 1;
	return 0;
}

LICENSE("GPL");
