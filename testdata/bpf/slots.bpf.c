/* A prog array that declares two programs, one of which the verifier refuses, and users of two types.
 * expect: jumps prog_array 3 entries, slot 0 holds refused, slot 2 holds fine, slot 1 holds nothing */
#include "bpf.h"

SEC("socket/refused")
int refused(struct __sk_buff *skb)
{
	return *(int *)(long)skb->len;
}

SEC("socket/fine")
int fine(struct __sk_buff *skb)
{
	return skb->len;
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 3);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct __sk_buff *));
} jumps SEC(".maps") = {
	.values = { [0] = &refused, [2] = &fine },
};

SEC("socket")
int first_user(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &jumps, 2);
	return 0;
}

SEC("tc")
int second_user(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &jumps, 2);
	return 0;
}

LICENSE("GPL");
