/* Tables of functions for interfaces of the kernel: one that a link would put to use, one that is switched off, one that no
 * kernel has. The struct has fewer members than the kernel's, in another order.
 * expect: maps halving nothing imagined, all programs but `never` accepted by the kernel */
#include "bpf.h"

struct sock;

struct tcp_congestion_ops___ours {
	char name[16];
	__u32 flags;
	__u32 (*undo_cwnd)(struct sock *sk);
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	void (*set_state)(struct sock *sk, __u8 state);
	void *owner;
};

struct imagined_ops {
	int (*never)(int number);
};

SEC("struct_ops")
__u32 half(__u64 *context)
{
	(void)context;
	return 2;
}

SEC("struct_ops/anything")
__u32 keep(__u64 *context)
{
	(void)context;
	return 4;
}

SEC("struct_ops")
void stay(__u64 *context)
{
	(void)context;
}

SEC("struct_ops")
int never(__u64 *context)
{
	(void)context;
	return 0;
}

SEC(".struct_ops.link")
struct tcp_congestion_ops___ours halving = {
	.ssthresh = (void *)half,
	.undo_cwnd = (void *)keep,
	.cong_avoid = (void *)stay,
	.name = "twinbpf_halving",
};

SEC("?.struct_ops")
struct tcp_congestion_ops___ours nothing = {
	.name = "twinbpf_nothing",
};

SEC("?.struct_ops.link")
struct imagined_ops imagined = {
	.never = (void *)never,
};

LICENSE("GPL");
