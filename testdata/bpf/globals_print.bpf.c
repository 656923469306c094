/* A string that the compiler puts into .rodata for the helper that prints it.
 *
 * expect: the answer is the number of bytes that the helper printed: "len 60 of socket\n" for a frame of 60 bytes. */
#include "bpf.h"

static long (*const bpf_trace_printk)(const char *format, __u32 format_size, ...) = (void *)BPF_FUNC_trace_printk;

SEC("socket")
int print(struct __sk_buff *skb)
{
	static const char format[] = "len %u of socket\n";

	return bpf_trace_printk(format, sizeof(format), skb->len);
}

LICENSE("GPL");
