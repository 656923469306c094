// Exceptions: thrown by a program, by functions below it, by a program that was tail-called.
#include "bpf.h"

extern void bpf_throw(__u64 cookie) SEC(".ksyms");

int seen[2];

int throws_always(struct __sk_buff *skb);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, int(struct __sk_buff *));
} programs SEC(".maps") = {
	.values = { [0] = &throws_always },
};

NOINLINE int handler(__u64 cookie)
{
	seen[0] += 1;
	return (int)cookie + 5;
}

NOINLINE int deep(struct __sk_buff *skb)
{
	volatile int filler = 3;

	if (skb->len > 20)
		bpf_throw(skb->len);
	return filler;
}

NOINLINE int deeper(struct __sk_buff *skb)
{
	volatile int answer = deep(skb);

	seen[1] += 1;
	return answer;
}

NOINLINE int calls_another(struct __sk_buff *skb)
{
	volatile int answer = 1;

	bpf_tail_call(skb, &programs, 0);
	return answer;
}

SEC("tc")
int throws_always(struct __sk_buff *skb)
{
	(void)skb;
	bpf_throw(64);
	return 0;
}

SEC("tc")
int throws_below(struct __sk_buff *skb)
{
	return deeper(skb) + 1;
}

SEC("tc")
__attribute__((btf_decl_tag("exception_callback:handler")))
int throws_to_its_handler(struct __sk_buff *skb)
{
	return deeper(skb) + 1;
}

SEC("tc")
__attribute__((btf_decl_tag("exception_callback:handler")))
int goes_on_after_another(struct __sk_buff *skb)
{
	return calls_another(skb) + 1000;
}

SEC("tc")
__attribute__((btf_decl_tag("exception_callback:handler")))
int gives_way_to_another(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &programs, 0);
	return 1;
}

LICENSE("GPL");
